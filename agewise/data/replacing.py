"""Files that are complete or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOTDIR
from io import TextIOWrapper
from pathlib import Path


@contextmanager
def replacing(target: Path | str) -> Iterator[Path]:
    """A path beside the target to write to; it becomes the target if all went well, else it is removed.

    Raises what `check_place` raises.
    """
    place = Path(target)
    check_place(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{os.getpid()}-{abs(hash(place.name)) % 10**8}.partial")
    try:
        yield partial
        os.replace(partial, place)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_text(target: Path | str) -> Iterator[TextIOWrapper]:
    """The same as a stream of UTF-8 text, whose line ends are kept as written."""
    with replacing(target) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        yield stream


def check_place(target: Path | str) -> None:
    """Looks whether a file can come to be.

    Raises ValueError where the target is there and no file, NotADirectoryError where it would lie in what is no folder.
    """
    place = Path(target)
    if place.exists() and not place.is_file():
        raise ValueError(f"{place}: cannot be written: it exists and is not a file")
    above = next(folder for folder in place.absolute().parents if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(ENOTDIR, f"cannot be written: {above} is not a folder", str(place))
