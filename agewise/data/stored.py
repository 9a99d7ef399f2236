"""A manifest's pictures by row, in any order and in bounded memory: few are held, many are read from a file.

Training draws faces at random. Parquet cannot serve that: a picture costs its row group. Of 23,551 crops of 20 kB one
took 6 ms so, 156 us from a mapped Arrow file, and 4 us from a file that holds nothing but pictures, one behind the
other. So the pictures of a large manifest are copied once into such a file, beside the manifest or in the folder
AGEWISE_CACHE. It is read with pread, not mapped: the system keeps what it can in its cache, and no process grows.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agewise.data.manifest import ManifestError, open_manifest
from agewise.data.replacing import replacing

HELD = 1 << 30
"""Bytes of pictures up to which they are held in memory, and there is no file."""

_BATCH = 50
"""Rows decoded at a time: pictures may be whole photos."""
_MAGIC = b"agewise1"
_NONE, _BYTES, _PATH = b"n", b"b", b"p"
"""The first byte of an entry says what follows: nothing, a picture, or where it lies."""


class Pictures:
    """The pictures of one column: `pictures[row]` is an encoded file's bytes, b"" where the row has none.

    Forked processes share one, and it can be sent to spawned ones.
    """

    def __init__(self, folder: Path, offsets: NDArray[np.int64], read: Callable[[int, int], bytes]) -> None:
        """folder: where relative paths start; entry k is `read(offsets[k], its length)`."""
        self.folder, self.offsets, self.read = folder, offsets, read

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> bytes:
        """Raises IndexError beyond the last row; a file that a path names and that is not there is b""."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} pictures")
        start = int(self.offsets[row])
        entry = self.read(start, int(self.offsets[row + 1]) - start)
        if entry[:1] != _PATH:
            return entry[1:]
        path = self.folder / os.fsdecode(entry[1:])
        return path.read_bytes() if path.is_file() else b""


def open_pictures(manifest: Path, column: str = "image", held: int = HELD) -> Pictures:
    """The pictures of a manifest; beyond `held` bytes of them, from a file that is written when it is not there yet.

    Raises ManifestError where the manifest has no such column, or the file cannot be written.
    """
    file = open_manifest(manifest, need=[column])
    folder, size = manifest if manifest.is_dir() else manifest.parent, _size(file, column)
    if size <= held:
        memory = io.BytesIO()
        offsets = _write(file, column, memory, held)
        if offsets is not None:
            return Pictures(folder, offsets, _Memory(memory.getvalue()))
    place, state = place_of(manifest, column), _state(manifest, column)
    if _stored_offsets(place, state) is None:
        try:
            _lay_out(file, column, place, state)
        except OSError as error:
            needs = f"its pictures ({size / 1e9:.1f} GB) cannot be written to {place.parent} ({error.strerror})"
            raise ManifestError(f"{manifest}: {needs}; set AGEWISE_CACHE to a folder with room") from error
    return _opened(folder, place, state)


def place_of(manifest: Path, column: str = "image") -> Path:
    """Where the pictures of a large manifest are laid out."""
    name = f"{manifest.name}.{column}.pictures"
    cache = os.environ.get("AGEWISE_CACHE")
    if not cache:
        return manifest.with_name(name)
    whole = hashlib.sha256(os.fsencode(manifest.resolve())).hexdigest()[:12]  # many folders have a train.parquet
    return Path(cache) / f"{whole}-{name}"


def _size(file: pq.ParquetFile, column: str) -> int:
    """Bytes of a column as Parquet counts them; repeated values count once, so that there may be more."""
    groups = (file.metadata.row_group(n) for n in range(file.num_row_groups))
    chunks = (group.column(n) for group in groups for n in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.startswith(f"{column}."))


def _state(manifest: Path, column: str) -> dict[str, Any]:
    """What must be the same for the file to be of this manifest: after any change it is written anew."""
    files = manifest.glob("*.parquet") if manifest.is_dir() else [manifest]
    states = [file.stat() for file in files]
    return {
        "column": column,
        "size": sum(state.st_size for state in states),
        "time": max(state.st_mtime_ns for state in states),
    }


def _entries(file: pq.ParquetFile, column: str) -> Iterator[bytes]:
    for batch in file.iter_batches(_BATCH, columns=[column]):
        for image in batch.column(0).to_pylist():
            data, path = (image or {}).get("bytes"), (image or {}).get("path")
            yield _BYTES + data if data else _PATH + os.fsencode(path) if path else _NONE


def _write(file: pq.ParquetFile, column: str, sink: IO[bytes], most: int | None = None) -> NDArray[np.int64] | None:
    """Writes all entries and returns where each begins, and the last ends; None where there are more than `most`."""
    offsets = np.zeros(file.metadata.num_rows + 1, dtype="<i8")
    for row, entry in enumerate(_entries(file, column)):
        offsets[row + 1] = offsets[row] + sink.write(entry)
        if most is not None and offsets[row + 1] > most:
            return None
    return offsets


def _lay_out(file: pq.ParquetFile, column: str, place: Path, state: dict[str, Any]) -> None:
    """Entries, offsets, what it was made of, and how to find these from the end."""
    with replacing(place) as partial, partial.open("wb") as stream:
        offsets = _write(file, column, stream)
        assert offsets is not None  # without a limit
        said = json.dumps(state).encode()
        stream.write(offsets.tobytes() + said + len(offsets).to_bytes(8, "little"))
        stream.write(len(said).to_bytes(8, "little") + _MAGIC)


def _stored_offsets(place: Path, state: dict[str, Any]) -> NDArray[np.int64] | None:
    """The offsets of the entries in that file; None where it is absent, damaged, or of another state."""
    if not place.is_file():
        return None
    with place.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, end - 24))
        tail = stream.read(24)
        count, length = int.from_bytes(tail[:8], "little"), int.from_bytes(tail[8:16], "little")
        start = end - 24 - length - 8 * count
        if len(tail) < 24 or tail[16:] != _MAGIC or start < 0:
            return None
        stream.seek(start)
        offsets = np.frombuffer(stream.read(8 * count), "<i8")
        known = stream.read(length) == json.dumps(state).encode()
    return offsets if known and count and offsets[-1] == start else None


def _opened(folder: Path, place: Path, state: dict[str, Any]) -> Pictures:
    offsets = _stored_offsets(place, state)
    if offsets is None:
        raise ManifestError(f"{place}: was changed while it was in use; start again")
    return Pictures(folder, offsets, _File(place))


class _Memory:
    """Entries in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __call__(self, start: int, length: int) -> bytes:
        return self.data[start : start + length]


class _File:
    """Entries in a file; it stays open, so that one which replaces it changes nothing here."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.handle = os.open(place, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self.handle)

    def __call__(self, start: int, length: int) -> bytes:
        return os.pread(self.handle, length, start)

    def __reduce__(self) -> tuple[type[_File], tuple[Path]]:
        return _File, (self.place,)
