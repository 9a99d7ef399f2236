"""Rows of a manifest by the value of a column, as a manifest of their own: one part of a split, one sex, kept ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from agewise.data.crops import parts
from agewise.data.manifest import ManifestError, open_manifest
from agewise.data.replacing import replacing


@dataclass(frozen=True, slots=True)
class Selected:
    """How many rows went in, and how many came out."""

    rows: int
    kept: int


def select(
    manifest: Path,
    target: Path,
    column: str,
    values: Sequence[str | None],
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Selected:
    """Writes the rows whose `column`, as text, is one of `values` (None: is null); what is said of it all is kept.

    A part is read at a time. Raises ManifestError: no such column, no row with one of the values (and which there are),
    pictures stored as relative paths that would not be found from another folder, or the target is the source.
    """
    if target.exists() and target.resolve() == manifest.resolve():
        raise ManifestError(f"{target} is the source; give the manifest another name")
    file = open_manifest(manifest, need=["image", column])
    total, done, kept = file.metadata.num_rows, 0, 0
    found: Counter[str | None] = Counter()
    with replacing(target) as partial, pq.ParquetWriter(partial, file.schema_arrow) as writer:
        for table in parts(manifest):
            texts = [None if value is None else str(value) for value in table[column].to_pylist()]
            found.update(texts)
            chosen = table.filter(pa.array([text in values for text in texts], pa.bool_()))
            check_paths(chosen, manifest, target)
            writer.write_table(chosen.cast(file.schema_arrow), row_group_size=1000)
            done, kept = done + len(table), kept + len(chosen)
            progress(done, total)
        missing = [value for value in values if not found[value]]
        if missing:
            there = ", ".join(f"{_said(value)} ({count})" for value, count in found.most_common(12)) or "no row"
            raise ManifestError(f"{manifest}: no row whose {column} is {_said(missing[0])}; it has {there}")
    return Selected(total, kept)


def _said(value: str | None) -> str:
    return "null" if value is None else value


def check_paths(rows: pa.Table, manifest: Path, target: Path) -> None:
    """Raises ManifestError where pictures are relative paths, and the target lies in another folder."""
    if manifest.resolve().parent == target.resolve().parent:
        return
    for image in rows["image"].to_pylist():
        if image and not image["bytes"] and image["path"] and not Path(image["path"]).is_absolute():
            raise ManifestError(f"{target}: its pictures are paths from {manifest.parent}; write it to that folder")
