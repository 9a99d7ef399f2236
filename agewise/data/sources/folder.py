"""A folder of pictures with one table of labels, its columns named or guessed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Literal

from agewise.data.sources.columns import labels, matched
from agewise.data.sources.entry import Entry, Remark, picture
from agewise.data.sources.labels import lines, records
from agewise.data.sources.tree import SourceError, Tree


def read(
    tree: Tree,
    *,
    table: str = "",
    kind: Literal["real", "apparent", "group", "estimated"] = "real",
    image: str = "",
    age: str = "",
    age_std: str = "",
    age_low: str = "",
    age_high: str = "",
    subject: str = "",
    split: str = "",
    sex: str = "",
    ethnicity: str = "",
) -> Iterator[Entry]:
    """Every row of `table`, or of the only .csv or .tsv there; the other options name its columns.

    Pictures are named relative to the root or to the table's folder.
    """
    name = table or _only_table(tree)
    delimiter = _delimiter(next(lines(tree, name), ""))
    rows = records(tree, name, [], delimiter)
    first = next(rows, None)
    if first is None:
        raise SourceError(f"{tree.root}: {name} has no row below its first line")
    named = {"image": image, "age": age, "age_std": age_std, "age_low": age_low, "age_high": age_high}
    named |= {"subject": subject, "split": split, "sex": sex, "ethnicity": ethnicity}
    columns = matched(list(first), named, f"{tree.root}: {name}")
    yield Remark("columns read: " + ", ".join(f"{column} from {heading}" for column, heading in columns.items()))
    beside = str(PurePosixPath(name).parent)
    for row in (first, *rows):
        file = picture(row[columns["image"]])
        if beside != "." and not tree.has(file["path"]):
            file["path"] = f"{beside}/{file['path']}"
        yield {"image": file, **labels(row, columns, kind)}


def _only_table(tree: Tree) -> str:
    found = [name for pattern in ("*.csv", "*.tsv", "*/*.csv", "*/*.tsv") for name in tree.glob(pattern)]
    if len(found) != 1:
        raise SourceError(
            f"{tree.root}: {', '.join(found[:5]) or 'no .csv or .tsv'} there; say table=..., the list of labels"
        )
    return found[0]


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)
