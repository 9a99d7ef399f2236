"""FG-NET (Lanitis et al. 2002): images/001A02.JPG is person 001 at 2 years; points/001a02.pts has 68 points."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from agewise.data.sources.entry import Entry, Skipped, picture
from agewise.data.sources.labels import lines
from agewise.data.sources.tree import SourceError, Tree

_NAME = re.compile(r"(\d{3})a(\d{2})[a-z]?")
PUPILS, NOSE, MOUTH = (31, 36), 67, (48, 54)
"""Places in the 68 points of FG-NET's own scheme (that of XM2VTS, not of iBUG), counted from 0."""


def read(tree: Tree) -> Iterator[Entry]:
    """Every picture below the root; `source_landmarks` are pupils, nose tip and mouth corners as published."""
    points = {PurePosixPath(name).stem.lower(): name for name in tree.names() if name.lower().endswith(".pts")}
    found = False
    for name in tree.images():
        stem = PurePosixPath(name).stem.lower()
        parts = _NAME.fullmatch(stem)
        if parts is None:
            yield Skipped(name, "the name is not [person]A[age].JPG")
            continue
        found = True
        yield {
            "image": picture(name),
            "age": parts[2],
            "age_kind": "real",
            "subject": parts[1],
            "source_landmarks": _landmarks(tree, points[stem]) if stem in points else None,
        }
    if not found:
        raise SourceError(f"{tree.root}: no picture named [person]A[age].JPG, such as images/001A02.JPG, there")


def _landmarks(tree: Tree, name: str) -> list[float] | None:
    """x, y of the five points, the image's left one of each pair first; None where the file has not 68 points."""
    rows = [line.split() for line in lines(tree, name)]
    try:
        points = [(float(row[0]), float(row[1])) for row in rows if len(row) == 2 and ":" not in row[0]]
    except ValueError:
        return None
    if len(points) != 68:
        return None
    eyes, mouth = sorted(points[i] for i in PUPILS), sorted(points[i] for i in MOUTH)
    return [value for point in (*eyes, points[NOSE], *mouth) for value in point]
