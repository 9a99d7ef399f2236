"""Corrupted faces: a corrupted copy of a manifest, or only what a model predicts for each kind and severity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agewise.ages import Predictor
from agewise.data.crops import Batch, parts, read_batches
from agewise.data.manifest import (
    IMAGE,
    ManifestError,
    check_frame,
    described,
    fingerprint,
    metadata,
    numbers,
    open_manifest,
    read_manifest,
    write_manifest,
)
from agewise.data.replacing import check_place, replacing
from agewise.data.shards import Shards
from agewise.evaluation.corruptions import CORRUPTIONS, EXTRAS, LEAST_SIDE, SEVERITIES, cell_rng, corrupt
from agewise.evaluation.corruptions.profiles import Picture, Profile
from agewise.evaluation.groups import Labels
from agewise.evaluation.predictions import LABELS, asked
from agewise.evaluation.robustness.processes import opened_alone, work_here
from agewise.teachers.annotation.cluster import check_address, work_on_ray
from agewise.teachers.annotation.plan import Run

CLEAN = "clean"
"""The kind, of severity 0, that changes nothing."""

STEP = "robustness"
PREDICTED = ("row", "mean", "low", "high", "error")
"""Columns of a cell: row of the manifest, years (mean, and bounds of the 90 % interval), and why there are none."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Walk:
    """What makes one cell after the other: row k of `crops` is row `rows[k]` of the manifest in `folder`."""

    crops: Path
    folder: Path
    rows: NDArray[np.int64]
    batch: int
    profile: Profile
    seed: int
    cells: Path
    said: Mapping[str, Any]

    def write(self, predictor: Predictor, kind: str, severity: int) -> None:
        """Writes one cell; the clean one has the manifest's columns too."""
        made: list[pa.Table] = []
        first = 0
        for part in parts(self.crops):
            for read in read_batches(part, self.folder, self.batch):
                rows = self.rows[first : first + len(read.rows)]
                made.append(self._predicted(read, rows, predictor, kind, severity))
                first += len(rows)
        said = {**self.said, "kind": kind, "severity": severity}
        write_manifest(pa.concat_tables(made), cell_path(self.cells, kind, severity), said)

    def _predicted(
        self, read: Batch, rows: NDArray[np.int64], predictor: Predictor, kind: str, severity: int
    ) -> pa.Table:
        small = len(read.crops) > 0 and read.crops.shape[1] < LEAST_SIDE
        why = f"the crop has {read.crops.shape[1]} pixels a side; {LEAST_SIDE} are needed"
        reasons = [reason or (why if small else None) for reason in read.reasons]
        failed = np.array([reason is not None for reason in reasons], dtype=bool)
        years = np.zeros((3, len(rows)))
        if not failed.all():
            keys = rows[~failed].tolist()
            crops = [self._changed(crop, key, kind, severity) for crop, key in zip(read.crops, keys, strict=True)]
            ages = asked(predictor, f"{kind} {severity}: rows {keys[0]}..{keys[-1]}", np.stack(crops))
            years[:, ~failed] = np.stack([ages.mean, *ages.interval().T])
        made = [rows, *(pa.array(values, mask=failed) for values in years), pa.array(reasons, pa.string())]
        columns = dict(zip(PREDICTED, made, strict=True))
        if kind == CLEAN:
            columns = {**{name: read.rows[name] for name in _kept(read.rows.schema)}, **columns}
        return pa.table(columns)

    def _changed(self, crop: Picture, row: int, kind: str, severity: int) -> Picture:
        if kind == CLEAN:
            return crop
        return corrupt(crop, kind, severity, cell_rng(self.seed, str(row), kind, severity), self.profile)


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of a walk: a `cluster.Job`, each of whose parts is a cell."""

    walk: Walk
    cells: tuple[tuple[str, int], ...]

    def left(self) -> int:
        """Cells that are not there."""
        return len(self._missing((0, len(self.cells))))

    def count(self, share: Run) -> int:
        """Cells of a share."""
        return share[1] - share[0]

    def do(self, predictor: Predictor, share: Run) -> None:
        """Makes the cells of a share that are not there."""
        for cell in self._missing(share):
            self.walk.write(predictor, *cell)

    def _missing(self, share: Run) -> list[tuple[str, int]]:
        walk = self.walk
        return [cell for cell in self.cells[slice(*share)] if not made_so(cell_path(walk.cells, *cell), walk.said)]


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
    said = _cropped(manifest)
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


def predict_cells(
    open_predictor: Callable[[], Predictor],
    manifest: Path,
    folder: Path,
    *,
    name: str,
    kinds: Sequence[str] = tuple(CORRUPTIONS),
    severities: Sequence[int] = SEVERITIES,
    profile: Profile = "paper",
    seed: int = 0,
    limit: int | None = None,
    batch: int = 64,
    workers: int = 1,
    address: str | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Path:
    """Writes `folder`/cells/KIND.SEVERITY.parquet, the clean cell too, and returns that folder; pictures are not kept.

    Each of `workers` processes opens the predictor, called `name`, and makes whole cells, so their number changes
    nothing; with several, `open_predictor` must pickle. With an `address` they are the workers of a Ray cluster (as of
    `annotate_on_ray`; 0 is as many as it has cores for), and either finishes what the other began. `limit` faces of a
    known age, evenly spread over the file, are taken. A call after a kill makes the cells that are missing; other kinds
    may be added later.

    Raises:
        ManifestError: no usable manifest of crops, no age known in it, or cells there of another model or plan.
        ValueError: no such kind, severity or profile, or the predictor fails.
        ClusterError: Ray is not installed, does not answer, or its workers cannot work.
    """
    _check(kinds, severities, profile, limit, batch, workers if address is None else workers or 1)
    if address is not None:
        check_address(address)
        manifest, folder = manifest.absolute(), folder.absolute()  # the same for workers elsewhere
    given = _cropped(manifest)
    check_place(cell_path(folder / "cells", CLEAN, 0))
    rows, total = _chosen(manifest, limit)
    said = {"step": STEP, "name": name, "manifest": manifest.name, "content": fingerprint(manifest), "rows": total}
    said |= {"frame": given["frame"], "limit": limit, "profile": profile, "seed": seed}
    cells = folder / "cells"
    chosen = [kind for kind in (*CORRUPTIONS, *EXTRAS) if kind in kinds]
    wanted = [(CLEAN, 0), *((kind, severity) for kind in chosen for severity in sorted(set(severities)))]
    missing = [cell for cell in wanted if not made_so(cell_path(cells, *cell), said)]
    done = len(wanted) - len(missing)
    if not missing:
        return cells
    picked = manifest if limit is None else _picked(manifest, rows, folder / "crops.parquet", said)
    walk = Walk(picked, manifest.parent, rows, batch, profile, seed, cells, said)
    grid, shares = Grid(walk, tuple(missing)), [(cell, cell + 1) for cell in range(len(missing))]
    work = partial(work_here, processes=min(workers, len(missing)))
    if address is not None:
        work = partial(work_on_ray, address=address, workers=workers, cores=1)
        open_predictor = partial(opened_alone, open_predictor)
    for count in work(grid, shares, open_predictor):
        done += count
        progress(done, len(wanted))
    if picked != manifest:
        picked.unlink()  # pictures of people do not stay in a folder of results
    return cells


def _check(
    kinds: Sequence[str], severities: Sequence[int], profile: Profile, limit: int | None, batch: int, workers: int
) -> None:
    probe = np.zeros((LEAST_SIDE, LEAST_SIDE, 3), np.uint8)
    for kind in kinds or [""]:
        for severity in severities or [0]:
            corrupt(probe, kind, severity, 0, profile)  # refuses what there is not
    for what, given in {"limit": limit, "batch": batch, "number of workers": workers}.items():
        if given is not None and given < 1:
            raise ValueError(f"the {what} is {given}; at least 1 is needed")


def _cropped(manifest: Path) -> dict[str, Any]:
    """What a manifest of clean crops says of itself; raises ManifestError where it is none."""
    if not open_manifest(manifest, need=["image"]).metadata.num_rows:
        raise ManifestError(f"{manifest}: no row in it")
    said = metadata(manifest)
    if "frame" not in said:
        check_frame(manifest, "aligned")  # says in its one line what is missing
    if "corruption" in said:
        kind, severity = said["corruption"]["kind"], said["corruption"]["severity"]
        raise ManifestError(f"{manifest}: its crops are corrupted already ({kind} {severity}); give the clean manifest")
    return said


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


def _chosen(manifest: Path, limit: int | None) -> tuple[NDArray[np.int64], int]:
    """The rows to predict, in order, and how many there are; raises ManifestError where no age is known."""
    table = read_manifest(manifest, (*LABELS, *PREDICTED))
    if clash := sorted(set(table.column_names) & set(PREDICTED)):
        raise ManifestError(f"{manifest}: column {', '.join(clash)} would be overwritten by the predictions; rename it")
    known = np.flatnonzero(known_ages(table)[1])
    if not len(known):
        raise ManifestError(
            f"{manifest}: no row has a known age (column age, or age_low and age_high) to score against"
        )
    if limit is None:
        return np.arange(len(table)), len(table)
    count = min(limit, len(known))
    return known[np.arange(count) * len(known) // count], len(table)


def known_ages(table: pa.Table) -> tuple[Labels, NDArray[np.bool_]]:
    """What is known of the faces, exact ages where there is one, and of which."""
    age = ~np.isnan(numbers(table, "age"))
    if age.any():
        return "age", age
    return "group", ~np.isnan(numbers(table, "age_low") + numbers(table, "age_high"))


def _picked(manifest: Path, rows: NDArray[np.int64], target: Path, said: Mapping[str, Any]) -> Path:
    """Copies the chosen rows beside the results, so that no cell walks over all of a large file."""
    if target.exists() and metadata(target) == {**metadata(target), **said}:
        return target
    schema = open_manifest(manifest).schema_arrow
    first = 0
    with replacing(target) as path:
        kept = described(schema.remove_metadata().empty_table(), dict(said)).schema
        with pq.ParquetWriter(path, kept) as writer:
            for part in parts(manifest):
                inside = rows[(rows >= first) & (rows < first + len(part))] - first
                if len(inside):
                    writer.write_table(part.take(pa.array(inside)).cast(kept))
                first += len(part)
    return target


def _kept(schema: pa.Schema) -> list[str]:
    """Columns that are no picture, no distribution and nothing that a cell has itself."""
    return [f.name for f in schema if not pa.types.is_struct(f.type) and f.name not in {"age_probs", *PREDICTED}]


def cell_path(cells: Path, kind: str, severity: int) -> Path:
    return cells / f"{kind}.{severity}.parquet"


def made_so(path: Path, said: Mapping[str, Any]) -> bool:
    """Whether that cell is there; one of another model, manifest or plan is refused."""
    if not path.exists():
        return False
    earlier, free = metadata(path), {"schema", "kind", "severity"}
    changed = sorted(key for key in {*earlier, *said} - free if earlier.get(key) != said.get(key))
    if changed:
        raise ManifestError(f"{path} was made with another {', '.join(changed)}; delete it, or give another folder")
    return True
