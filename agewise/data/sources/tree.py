"""The files of a data set, by name: in a folder, or in a zip or tar read where it lies."""

from __future__ import annotations

import fnmatch
import glob
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Protocol

from agewise.faces.image import EXTENSIONS


class SourceError(ValueError):
    """A data set that cannot be read as asked; the message is one line for the user."""


class Store(Protocol):
    """Files by names relative to a root, with forward slashes."""

    def names(self, below: str) -> Iterator[str]:
        """All files whose name begins with `below`, in order, hidden ones left out."""
        ...

    def has(self, name: str) -> bool:
        """Whether that file is there."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """The file, seekable."""
        ...

    def glob(self, pattern: str) -> list[str]:
        """Files that fit a pattern, in order; a star stands for part of one name, never for a slash."""
        ...

    def place(self, name: str) -> Path | None:
        """Where the file lies on disk; None in an archive."""
        ...


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of a store below `base` ("" or ending in a slash); names are relative to there."""

    root: Path
    store: Store
    base: str = ""

    def names(self, below: str = "") -> Iterator[str]:
        """All files, or those whose name begins with `below`, in order."""
        return (name[len(self.base) :] for name in self.store.names(self.base + below))

    def images(self, below: str = "") -> Iterator[str]:
        """Those that are pictures by their extension."""
        return (name for name in self.names(below) if PurePosixPath(name).suffix.lower() in EXTENSIONS)

    def has(self, name: str) -> bool:
        """Whether the file is there; a name that leads out of the root is not."""
        return not leads_out(name) and self.store.has(self.base + name)

    def open(self, name: str) -> IO[bytes]:
        """The file, seekable. Raises SourceError where it is absent."""
        if not self.has(name):
            raise SourceError(f"{self.root}: no file {self.base}{name}")
        return self.store.open(self.base + name)

    def glob(self, pattern: str) -> list[str]:
        """Files that fit a pattern, in order."""
        return [name[len(self.base) :] for name in self.store.glob(glob.escape(self.base) + pattern)]

    def place(self, name: str) -> Path | None:
        """Where the file lies on disk; None in an archive."""
        return self.store.place(self.base + name)

    def locate(self, *patterns: str) -> Tree:
        """This tree, or the one folder up to two levels below, that holds a file of any of the patterns."""
        for depth in range(3):
            found = {name for pattern in patterns for name in self.glob("*/" * depth + pattern)}
            bases = sorted({"".join(f"{part}/" for part in name.split("/")[:depth]) for name in found})
            if len(bases) > 1:
                raise SourceError(f"{self.root}: {' and '.join(bases[:3])} each hold {patterns[0]}; name one of them")
            if bases:
                return Tree(self.root, self.store, self.base + bases[0])
        raise SourceError(f"{self.root}: no {' or '.join(patterns)} there, nor up to two folders below")


@contextmanager
def open_tree(root: Path | str) -> Iterator[Tree]:
    """A folder, a zip or an uncompressed tar, for as long as the context lasts. Raises SourceError on anything else."""
    place = Path(root)
    if place.is_dir():
        yield Tree(place, _Folder(place.resolve()))
        return
    if not place.is_file():
        raise SourceError(f"{place}: no such folder or archive")
    try:
        opened = _archive(place)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, NotImplementedError) as error:
        raise SourceError(f"{place}: a damaged archive ({error})") from error
    with closing(opened):
        yield Tree(place, opened)


def leads_out(name: str) -> bool:
    """Whether a name from a label file is no plain path below the root: absolute, with a drive, or climbing."""
    path = PurePosixPath(name)
    return not name or path.is_absolute() or ".." in path.parts or bool(PureWindowsPath(name).drive) or "\0" in name


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _refuse(error: OSError) -> None:
    raise error


class _Folder:
    """A folder on disk; links to folders and files elsewhere are followed, as data sets are often linked."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self, below: str) -> Iterator[str]:
        start, _, prefix = below.rpartition("/")
        seen: set[str] = set()
        for folder, folders, files in os.walk(self.root / start, onerror=_refuse, followlinks=True):
            if os.path.realpath(folder) in seen:  # a link to a folder above it
                folders.clear()
                continue
            seen.add(os.path.realpath(folder))
            folders[:] = sorted(name for name in folders if not _hidden(name))
            inner = Path(folder).relative_to(self.root).as_posix()
            inner = "" if inner == "." else f"{inner}/"
            full = (inner + name for name in sorted(files) if not _hidden(name))
            yield from (name for name in full if not prefix or name.startswith(below))

    def has(self, name: str) -> bool:
        try:
            return os.path.isfile(self.root / name)
        except OSError:  # a name longer than the system allows
            return False

    def open(self, name: str) -> IO[bytes]:
        return open(self.root / name, "rb")

    def glob(self, pattern: str) -> list[str]:
        found = (path.relative_to(self.root).as_posix() for path in self.root.glob(pattern) if path.is_file())
        return sorted(name for name in found if not _hidden(name))

    def place(self, name: str) -> Path:
        return self.root / name


class _Archive:
    """Files of an archive: their names, how one is opened, and how the archive is closed."""

    def __init__(self, names: Iterable[str], opener: Callable[[str], IO[bytes]], close: Callable[[], None]) -> None:
        self.kept = sorted(name for name in names if not _hidden(name))
        self.index = frozenset(self.kept)
        self.opener = opener
        self.close = close

    def names(self, below: str) -> Iterator[str]:
        return (name for name in self.kept if name.startswith(below))

    def has(self, name: str) -> bool:
        return PurePosixPath(name).as_posix() in self.index

    def open(self, name: str) -> IO[bytes]:
        return self.opener(PurePosixPath(name).as_posix())

    def glob(self, pattern: str) -> list[str]:
        parts = pattern.split("/")
        return [name for name in self.kept if _fits(name.split("/"), parts)]

    def place(self, name: str) -> None:  # noqa: ARG002 - nothing in an archive lies on disk
        return None


def _fits(name: list[str], pattern: list[str]) -> bool:
    return len(name) == len(pattern) and all(map(fnmatch.fnmatchcase, name, pattern))


def _archive(path: Path) -> _Archive:
    if zipfile.is_zipfile(path):
        return _zip(path)
    if tarfile.is_tarfile(path):
        return _tar(path)
    raise SourceError(f"{path}: neither a folder nor a zip or tar")


def _zip(path: Path) -> _Archive:
    archive = zipfile.ZipFile(path)
    files = [info for info in archive.infolist() if not info.is_dir()]
    if any(info.flag_bits & 1 for info in files):
        archive.close()
        raise SourceError(f"{path}: the archive is encrypted; unpack it first")
    names = {PurePosixPath(info.filename).as_posix(): info for info in files}
    return _Archive(names, lambda name: archive.open(names[name]), archive.close)


def _tar(path: Path) -> _Archive:
    try:
        archive = tarfile.open(path, "r:")  # noqa: SIM115 - it stays open for its files
    except tarfile.ReadError as error:  # every jump in a compressed tar would unpack it from its start
        raise SourceError(f"{path}: a compressed tar is not read in place; unpack it first") from error
    members = {PurePosixPath(member.name).as_posix(): member for member in archive if member.isreg()}

    def opened(name: str) -> IO[bytes]:
        stream = archive.extractfile(members[name])
        assert stream is not None  # a regular file has a stream
        return stream

    return _Archive(members, opened, archive.close)
