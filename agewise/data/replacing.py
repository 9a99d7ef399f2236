"""Files that are complete or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path | str) -> Iterator[Path]:
    """A path beside the target to write to; it becomes the target if all went well, else it is removed.

    Raises ValueError where the target is a folder or another thing that is no file.
    """
    place = Path(target)
    if place.exists() and not place.is_file():
        raise ValueError(f"{place}: cannot be written: it exists and is not a file")
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{os.getpid()}-{abs(hash(place.name)) % 10**8}.partial")
    try:
        yield partial
        os.replace(partial, place)
    finally:
        partial.unlink(missing_ok=True)
