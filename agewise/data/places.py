"""Where a file or folder lies: on the local disk, or on any filesystem that pyarrow or fsspec reach by a URI."""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import fs

from agewise.data.replacing import replacing

OBJECTS = frozenset({"abfs", "gcs", "s3"})
"""Filesystems without a rename, where an object is there when its writer has closed it, whole, or not at all."""

_BLOCK = 1 << 20
_HELD = 1 << 26
"""Bytes of a file that are held in memory before it is sent away; beyond, they wait on the local disk."""


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder. name: as a person knows it; path: as its filesystem does."""

    name: str
    path: str
    system: fs.FileSystem

    @property
    def local(self) -> Path | None:
        """The place on the local disk; None where it is elsewhere."""
        return Path(self.path) if isinstance(self.system, fs.LocalFileSystem) else None

    def __truediv__(self, name: str) -> Place:
        """A file in this folder; an absolute local path stays what it is."""
        local = self.local
        if local is not None:
            return Place(str(Path(self.name) / name), str(local / name), self.system)
        return Place(f"{self.name.rstrip('/')}/{name}", posixpath.join(self.path, name), self.system)

    @property
    def parent(self) -> Place:
        """The folder in which this lies."""
        local = self.local
        if local is not None:
            return Place(str(Path(self.name).parent), str(local.parent), self.system)
        return Place(posixpath.dirname(self.name.rstrip("/")), posixpath.dirname(self.path), self.system)

    @property
    def everywhere(self) -> str:
        """What names it in another process too: an absolute path or a URI."""
        return self.name if self.local is None else self.path

    def __str__(self) -> str:
        return self.name

    def is_file(self) -> bool:
        """Whether a file is there."""
        return bool(self._info().type == fs.FileType.File)

    def is_folder(self) -> bool:
        """Whether a folder is there."""
        return bool(self._info().type == fs.FileType.Directory)

    def _info(self) -> fs.FileInfo:
        return self.system.get_file_info(self.path)

    def names(self) -> list[str]:
        """The names in this folder, in order; none where there is no folder."""
        found = self.system.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in found)

    def state(self) -> tuple[int, int]:
        """Bytes of this file, and when it was changed, in nanoseconds where that is known."""
        info = self._info()
        return int(info.size), int(info.mtime_ns or 0)

    def open(self) -> IO[bytes]:
        """The file to read from anywhere in it."""
        local = self.local
        return self.system.open_input_file(self.path) if local is None else local.open("rb")

    def read(self) -> bytes:
        """The file's bytes."""
        with self.open() as stream:
            return bytes(stream.read())

    @contextmanager
    def writing(self) -> Iterator[IO[bytes]]:
        """A stream whose bytes become the file if all went well; the file is complete or absent at every moment."""
        local = self.local
        if local is not None:
            with replacing(local) as partial, partial.open("wb") as stream:
                yield stream
            return
        with tempfile.SpooledTemporaryFile(_HELD) as held:
            yield held
            held.seek(0)
            self._send(held)

    def _send(self, source: IO[bytes]) -> None:
        whole = self.system.type_name in OBJECTS
        beside = self.path if whole else f"{posixpath.dirname(self.path)}/.{os.getpid()}-{os.urandom(4).hex()}.partial"
        if not whole:
            self.system.create_dir(posixpath.dirname(self.path), recursive=True)
        try:
            with self.system.open_output_stream(beside) as stream:
                shutil.copyfileobj(source, stream, _BLOCK)
            if not whole:
                self.system.move(beside, self.path)
        except OSError:
            _forget(self.system, beside)  # closed by the error, it may hold a part of the bytes
            raise

    def delete(self) -> None:
        """Removes the file."""
        self.system.delete_file(self.path)


def place_of(name: Path | str | Place) -> Place:
    """The place that a path, or a URI (file:///..., s3://..., any that pyarrow or fsspec know), names.

    Raises ValueError where the URI means nothing.
    """
    if isinstance(name, Place):
        return name
    text = os.fspath(name)
    if "://" not in text:
        return Place(str(Path(text)), os.path.abspath(text), fs.LocalFileSystem())
    system, path = _reached(text)
    if isinstance(system, fs.LocalFileSystem):
        return Place(path, path, system)
    return Place(text, path, system)


def _reached(uri: str) -> tuple[fs.FileSystem, str]:
    try:
        system, path = fs.FileSystem.from_uri(uri)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if "nrecognized filesystem type" not in str(error):
            raise ValueError(f"{uri}: {_first_line(error)}") from error
        return _reached_by_fsspec(uri)
    return system, str(path)


def _reached_by_fsspec(uri: str) -> tuple[fs.FileSystem, str]:
    try:
        import fsspec  # type: ignore[import-untyped]  # it has none
    except ModuleNotFoundError as error:
        raise ValueError(f"{uri}: pyarrow does not know such places; fsspec may (pip install fsspec)") from error
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:  # a protocol nobody knows, or one whose package is not there
        raise ValueError(f"{uri}: {_first_line(error)}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(found[0])), found[1]


def _forget(system: fs.FileSystem, path: str) -> None:
    try:
        system.delete_file(path)
    except OSError:
        return  # it never came to be


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
