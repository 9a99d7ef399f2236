"""Manifests as WebDataset tar shards: `000000007.jpg` and `000000007.json`, a pair a face.

The JSON is the row without the picture's bytes. Beside the shards stands their index, `NAME.json`: the rows of each,
the columns with their types, and what was said of the manifest, so that reading (`unpacking`) gives the same manifest
again.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from agewise.data.manifest import ManifestError, faults, metadata, open_manifest
from agewise.data.rejects import most_for, write_rejects
from agewise.data.replacing import replacing
from agewise.data.tars.sample_rows import Index, check_packable, files_of, is_picture

Progress = Callable[[int, int], None]

_Face = tuple[str, dict[str, bytes]]
"""The name of a row's files, and their contents by suffix."""

_BATCH = 50
"""Rows held while packing: pictures may be whole photos."""


@dataclass(frozen=True, slots=True)
class Packed:
    """How many shards and faces were written, and the rejects: (row, reason)."""

    shards: int
    rows: int
    rejects: list[tuple[str, str]]


def pack(
    manifest: Path,
    folder: Path,
    name: str = "",
    *,
    rows: int = 1000,
    most: int = 1 << 30,
    progress: Progress = lambda _done, _total: None,
) -> Packed:
    """Writes a manifest as shards `NAME-000000.tar` ... of up to `rows` faces and `most` bytes, and then their index.

    Pictures that are named by a path are put in. Rejects are written beside as `NAME.rejects.csv`. The same manifest
    gives the same bytes. Raises ManifestError where a column or a name cannot be packed, or there are shards already.
    """
    file = open_manifest(manifest, need=["image"])
    check_packable(file.schema_arrow, manifest)
    said = metadata(manifest)
    named = name or manifest.stem
    _check_place(folder, named, rows, most)
    rejects: list[tuple[str, str]] = []
    waiting = _packable(manifest, rejects, progress)
    shards: dict[str, int] = {}
    try:
        first = next(waiting, None)
        while first is not None:
            place = folder / f"{named}-{len(shards):06d}.tar"
            with replacing(place) as partial:
                shards[place.name] = 0
                shards[place.name], first = _fill(partial, first, waiting, rows, most)
        if not shards:
            raise ManifestError(f"{manifest}: no row could be packed{most_for(rejects)}")
        write_rejects(folder / f"{named}.rejects.csv", rejects, "sample")
        with replacing(folder / f"{named}.json") as partial:
            partial.write_text(Index(shards, file.schema_arrow, said).text(), encoding="utf-8")
    except BaseException:  # an interrupt too: without their index the shards say nothing
        for shard in shards:
            (folder / shard).unlink(missing_ok=True)
        raise
    return Packed(len(shards), sum(shards.values()), rejects)


def _check_place(folder: Path, name: str, rows: int, most: int) -> None:
    if rows < 1 or most < 1:
        raise ManifestError(f"shards of {rows} faces and {most} bytes; at least 1 of both is needed")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise ManifestError(f"shards cannot be named {name!r}; letters, digits, dots, _ and - are allowed")
    taken = [*folder.glob(f"{name}-[0-9]*.tar"), *folder.glob(f"{name}.json")]
    if taken:
        raise ManifestError(f"{min(taken)} exists; delete {name}*, or give another folder or name")


def _packable(manifest: Path, rejects: list[tuple[str, str]], progress: Progress) -> Iterator[_Face]:
    """Each row's number and files; a row that cannot be packed goes to the rejects."""
    file = open_manifest(manifest)
    pictures = [column.name for column in file.schema_arrow if is_picture(column.type)]
    row, count = 0, file.metadata.num_rows
    for batch in file.iter_batches(_BATCH):
        table = pa.Table.from_batches([batch])
        bad = dict(faults(table))
        for here, values in enumerate(table.to_pylist()):
            made = bad[here] if here in bad else files_of(values, pictures, manifest.parent)
            if isinstance(made, str):
                rejects.append((f"row {row}", made))
            else:
                yield f"{row:09d}", made
            row += 1
        progress(row, count)


def _fill(path: Path, first: _Face, others: Iterator[_Face], rows: int, most: int) -> tuple[int, _Face | None]:
    """Writes a shard; returns how many faces it took, and the first one of the next. Nothing in it tells the time."""
    face: _Face | None = first
    count = size = 0
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        while face is not None and count < rows and (not count or size + _bytes(face) <= most):
            name, files = face
            for suffix, data in files.items():
                member = tarfile.TarInfo(f"{name}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            count, size = count + 1, size + _bytes(face)
            face = next(others, None)
    return count, face


def _bytes(face: _Face) -> int:
    return sum(map(len, face[1].values()))
