"""The samples of a tar as WebDataset lays them out: files that stand together and share a name up to its first dot.

A tar is read from front to back, one sample at a time, and nothing of it is written to disk.
"""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from agewise.data.manifest import ManifestError
from agewise.data.sources.entry import Skipped
from agewise.data.sources.tree import leads_out

LARGEST = 256 << 20
"""Bytes of a sample that is still read: more would be no picture of a face."""

_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


@dataclass(frozen=True, slots=True)
class Sample:
    """Files of one name, by what follows its first dot, in small letters: `a/7.body.JPG` is `body.jpg` of `a/7`."""

    name: str
    files: dict[str, bytes] = field(default_factory=dict)


def samples(path: Path) -> Iterator[Sample | Skipped]:
    """The samples of a tar (also gzip, bzip2 or xz) in order; what cannot be one is skipped, with its reason.

    Raises ManifestError, after the last whole sample, where the tar is truncated or damaged.
    """
    held: Sample | None = None
    for entry in _files(path):
        if isinstance(entry, Skipped):
            yield entry
            continue
        name, suffix, data = entry
        if held is not None and held.name != name:
            yield held
            held = None
        held = held or Sample(name)
        if suffix in held.files:
            yield Skipped(f"{name}.{suffix}", "the file is there twice")
        elif sum(map(len, held.files.values())) + len(data) > LARGEST:
            yield Skipped(f"{name}.{suffix}", f"the sample is larger than {LARGEST >> 20} MB")
        else:
            held.files[suffix] = data
    if held is not None:
        yield held


def _files(path: Path) -> Iterator[tuple[str, str, bytes] | Skipped]:
    """Name, suffix and bytes of each plain file; folders and hidden files are passed over in silence."""
    count = 0
    try:
        with path.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:*") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # or it would remember every file that was read
                count += 1
                if not (member.isdir() or _hidden(member.name)):
                    yield _read(archive, member)
            if archive.fileobj is stream and not _ended(archive):
                raise tarfile.ReadError("it has no end")
    except _DAMAGE as error:
        if not count:
            raise ManifestError(f"{path}: not a tar ({_said(error)})") from error
        raise ManifestError(f"{path}: a damaged or truncated tar, after {count} files ({_said(error)})") from error


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, str, bytes] | Skipped:
    shown = member.name.encode("utf-8", "replace").decode()
    if shown != member.name:
        return Skipped(shown, "the file name is not Unicode")
    if leads_out(member.name):
        return Skipped(shown, "the name leads out of the archive")
    if not member.isreg():
        return Skipped(shown, "a link or device, not a file")
    if member.size > LARGEST:
        return Skipped(shown, f"the file is larger than {LARGEST >> 20} MB")
    place = PurePosixPath(member.name)
    key, _, suffix = place.name.partition(".")
    if not suffix:
        return Skipped(shown, "the file name has no suffix")
    content = archive.extractfile(member)
    assert content is not None  # a plain file has one
    data = content.read()
    if len(data) != member.size:
        raise tarfile.ReadError("unexpected end of data")
    return (place.parent / key).as_posix(), suffix.lower(), data


def _ended(archive: tarfile.TarFile) -> bool:
    """Whether the tar ends in its block of zeros: tarfile takes any header that it cannot read for the end."""
    stream = archive.fileobj
    assert stream is not None  # it is open
    stream.seek(archive.offset)
    return stream.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _hidden(name: str) -> bool:
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in name.split("/"))


def _said(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
