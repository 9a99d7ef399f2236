"""ChaLearn LAP 2015 (Escalera et al. 2015): Train.csv, Valid.csv or Reference.csv, lines `image;mean;stdv`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from agewise.data.sources.entry import Entry, Remark, Skipped, picture
from agewise.data.sources.labels import cells, lines, number
from agewise.data.sources.tree import SourceError, Tree

_TABLE = re.compile(r"(train|val|test|reference)", re.IGNORECASE)
_PARTS = (("train", re.compile("train", re.I)), ("valid", re.compile("val", re.I)), ("test", re.compile("test", re.I)))


def read(tree: Tree) -> Iterator[Entry]:
    """Every list below the root; the part is that named by the list or, for Reference.csv, by its folder.

    The age is the mean of the guesses and `age_std` their spread, in years.
    """
    tables = [
        name for name in tree.names() if name.lower().endswith(".csv") and _TABLE.search(PurePosixPath(name).stem)
    ]
    if not tables:
        raise SourceError(f"{tree.root}: no Train.csv, Valid.csv, Test.csv or Reference.csv there")
    places: dict[str, list[str]] = {}
    for name in tree.images():
        places.setdefault(PurePosixPath(name).name, []).append(name)
    for table in tables:
        split = _part(table)
        if split is None:
            yield Remark(f"{table}: of which part? It was left out; put it into a folder named Valid or Test")
            continue
        for row in cells(tree, table, _delimiter(tree, table)):
            if len(row) < 3:
                yield Skipped(row[0], f"a line of {table} has not image, mean and stdv")
            elif not _is_header(row):
                yield {
                    "image": picture(_nearest(places.get(PurePosixPath(row[0]).name, []), row[0], split)),
                    "age": row[1],
                    "age_std": row[2],
                    "age_kind": "apparent",
                    "split": split,
                }


def _part(table: str) -> str | None:
    """The part that a list's own name says, else its folders' names from the innermost."""
    path = PurePosixPath(table)
    for word in (path.stem, *reversed(path.parent.parts)):
        for part, pattern in _PARTS:
            if pattern.search(word):
                return part
    return None


def _delimiter(tree: Tree, table: str) -> str:
    return ";" if ";" in next(lines(tree, table), "") else ","


def _is_header(row: list[str]) -> bool:
    try:
        number(row[1])
    except ValueError:
        return PurePosixPath(row[0]).suffix == ""
    return False


def _nearest(names: list[str], listed: str, split: str) -> str:
    """The picture of that name, of several the one in the part's folder; the name as listed where there is none."""
    return next((name for name in names if _part(name) == split), names[0] if names else listed)
