"""A copy of a manifest whose crops are all corrupted by one kind at one severity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from agewise.data.crops import parts, read_batches
from agewise.data.manifest import IMAGE, ManifestError, fingerprint, metadata, open_manifest
from agewise.data.replacing import check_place
from agewise.data.shards import Shards
from agewise.evaluation.corruptions import LEAST_SIDE, cell_rng, corrupt
from agewise.evaluation.corruptions.profiles import Picture, Profile
from agewise.evaluation.robustness.checks import clean_crops

Progress = Callable[[int, int], None]


def corrupt_manifest(
    manifest: Path,
    target: Path,
    kind: str,
    severity: int,
    *,
    profile: Profile = "paper",
    seed: int = 0,
    progress: Progress = lambda _done, _total: None,
) -> list[tuple[int, str]]:
    """Writes the manifest with every crop corrupted; returns the rows, now without a picture, that could not be.

    Crops are stored as PNG, so that the corruption is all that changes; everything else is kept, in its order. Row r is
    drawn from `cell_rng(seed, str(r), kind, severity)`. Metadata `corruption` says what was done to which file. A call
    after a kill goes on where the first one stopped; a finished target of the same call is not made again.
    """
    corrupt(np.zeros((LEAST_SIDE, LEAST_SIDE, 3), np.uint8), kind, severity, 0, profile)  # refuses what there is not
    said = clean_crops(manifest)
    check_place(target)
    if target.exists() and target.resolve() == manifest.resolve():
        raise ManifestError(f"{target} is the manifest that is read; give the new one another name")
    plan = {"kind": kind, "severity": severity, "profile": profile, "seed": seed, "stored": "PNG"}
    plan |= {"manifest": manifest.name, "content": fingerprint(manifest)}
    if target.exists():
        if metadata(target).get("corruption") != plan:
            raise ManifestError(
                f"{target} is there and was not made so from this manifest; delete it, or write another"
            )
        return [(row, reason) for row, reason in metadata(target)["uncorrupted"]]
    shards, first, total = Shards(target, plan), 0, open_manifest(manifest).metadata.num_rows
    for index, part in enumerate(parts(manifest)):
        if not shards.done(index):
            changed, left = _corrupted(part, manifest.parent, first, kind, severity, profile, seed)
            shards.write(index, changed, [[str(row), reason] for row, reason in left])
        first += len(part)
        progress(first, total)
    notes = [(int(row), reason) for row, reason in shards.notes()]
    shards.join({**said, "step": "corrupt", "corruption": plan, "uncorrupted": notes})
    return notes


def _corrupted(
    part: pa.Table, folder: Path, first: int, kind: str, severity: int, profile: Profile, seed: int
) -> tuple[pa.Table, list[tuple[int, str]]]:
    """A part, whose first row is row `first`, with corrupted pictures, and the rows that have none, with reasons."""
    images: list[dict[str, Any] | None] = []
    left: list[tuple[int, str]] = []
    for row, read in enumerate(read_batches(part, folder, 1), first):  # one at a time: sizes may differ
        if not read.reasons[0] and read.crops.shape[1] < LEAST_SIDE:
            read.reasons[0] = f"the crop has {read.crops.shape[1]} pixels a side; {LEAST_SIDE} are needed"
        if reason := read.reasons[0]:
            images.append(None)
            left.append((row, reason))
            continue
        changed = corrupt(read.crops[0], kind, severity, cell_rng(seed, str(row), kind, severity), profile)
        images.append({"bytes": _png(changed), "path": read.rows["image"][0].as_py()["path"]})
    place = part.schema.get_field_index("image")
    return part.set_column(place, pa.field("image", IMAGE), pa.array(images, IMAGE)), left


def _png(pixels: Picture) -> bytes:
    _, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return bytes(data)
