"""The parts of a manifest that a protocol tells apart: which rows they are, and manifests of their own to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agewise.data.crops import parts
from agewise.data.manifest import ManifestError, described, metadata, open_manifest
from agewise.data.replacing import replacing
from agewise.evaluation.protocols.settings import Protocol

Rows = NDArray[np.int64]


def lay_out(protocol: Protocol, manifest: Path, folder: Path) -> dict[str, dict[str, Path]]:
    """Writes what a recipe needs to train by a protocol of parts: by round, then train, valid (holdout) and test.

    The one round of a holdout has the protocol's name; the rounds of folds are called after the fold that is tested.
    """
    of_row = parts_of(manifest, protocol.column)
    rounds: dict[str, dict[str, NDArray[np.bool_]]] = {}
    if protocol.kind == "holdout":
        chosen = {"valid": of_row == protocol.select, "test": of_row == protocol.test}
        rounds[protocol.name] = {"train": ~chosen["valid"] & ~chosen["test"], **chosen}
    elif protocol.kind == "folds":
        names = folds_of(protocol, manifest)
        rounds = {name: {"train": np.isin(of_row, names) & (of_row != name), "test": of_row == name} for name in names}
    else:
        raise ManifestError(f"{protocol.name}: nothing is trained by it; there are parts in holdout and folds")
    return {
        name: {
            part: subset(manifest, np.flatnonzero(mask), folder / f"{protocol.name}.{name}.{part}.parquet")
            for part, mask in chosen.items()
        }
        for name, chosen in rounds.items()
    }


def parts_of(manifest: Path, column: str) -> NDArray[np.str_]:
    """The part of each row (N,) as text. Raises ManifestError where a row has none."""
    found = open_manifest(manifest, need=[column]).read(columns=[column])[column]
    if not len(found) or found.null_count:
        raise ManifestError(f"{manifest}: {found.null_count} of {len(found)} rows have no {column}")
    return np.array([str(part) for part in found.to_pylist()])


def folds_of(protocol: Protocol, manifest: Path) -> list[str]:
    """The folds of a manifest by name, numbers as numbers. Raises ManifestError unless each is there, and two are."""
    of_row = parts_of(manifest, protocol.column)
    there = sorted(set(of_row.tolist()), key=lambda name: (len(name) if name.isdecimal() else 99, name))
    if any(fold not in there for fold in protocol.folds) or len(there) < 2:
        wanted = ", ".join(protocol.folds) or "two folds at least"
        raise ManifestError(f"{manifest}: column {protocol.column} has {', '.join(there[:9])}; {wanted} is needed")
    return protocol.folds or there


def subset(manifest: Path, rows: Rows, target: Path) -> Path:
    """Writes those rows of a manifest, in their order, with all columns."""
    schema = described(open_manifest(manifest).schema_arrow.empty_table(), metadata(manifest)).schema
    first = 0
    with replacing(target) as path, pq.ParquetWriter(path, schema) as writer:
        for part in parts(manifest):
            inside = rows[(rows >= first) & (rows < first + len(part))] - first
            chosen = part.take(pa.array(inside))
            moved = target.parent.resolve() != manifest.parent.resolve()
            if moved and any(image and not image["bytes"] for image in chosen["image"].to_pylist()):
                raise ManifestError(f"{target}: some pictures of {manifest} are files beside it; write into its folder")
            writer.write_table(chosen.cast(schema))
            first += len(part)
    return target
