"""UTKFace (Zhang, Song and Qi 2017): the labels are in the file names, [age]_[gender]_[race]_[date].jpg."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from agewise.data.sources.entry import Entry, Skipped, picture
from agewise.data.sources.tree import SourceError, Tree

_NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_(\d+)\s*\.jpg(?:\.chip\.jpg)?", re.IGNORECASE)
_PICTURE = re.compile(r"(?:jpe?g|png)$", re.IGNORECASE)
_SEXES = ("M", "F")
_ETHNICITIES = ("White", "Black", "Asian", "Indian", "Other")


def read(tree: Tree) -> Iterator[Entry]:
    """Every picture below the root; the owners give neither people nor parts.

    The owners estimated ages with DEX (Rothe et al. 2015) and had a person check them: kind "estimated".
    """
    found = False
    for name in tree.names():
        if not _PICTURE.search(name):
            continue  # landmark lists
        found = True
        parts = _NAME.fullmatch(PurePosixPath(name).name)
        if parts is None:
            yield Skipped(name, "the name is not [age]_[gender]_[race]_[date].jpg")
            continue
        yield {
            "image": picture(name),
            "age": parts[1],
            "age_kind": "estimated",
            "sex": _SEXES[int(parts[2])],
            "ethnicity": _ETHNICITIES[int(parts[3])],
        }
    if not found:
        raise SourceError(f"{tree.root}: no picture named [age]_[gender]_[race]_[date].jpg there")
