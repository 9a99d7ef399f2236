"""APPA-REAL, the data of ChaLearn LAP 2016 (Agustsson et al. 2017): gt_avg_<part>.csv, gt_<part>.csv and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal

from agewise.data.sources.entry import Entry, Row, picture
from agewise.data.sources.labels import records
from agewise.data.sources.tree import SourceError, Tree

_PARTS = ("train", "valid", "test")
_MEANS = ["file_name", "num_ratings", "apparent_age_avg", "apparent_age_std", "real_age"]
_VOTES = ["file_name", "real_age", "apparent_age"]


def read(
    tree: Tree,
    *,
    labels: Literal["apparent", "real", "votes"] = "apparent",
    pictures: Literal["faces", "photos"] = "faces",
) -> Iterator[Entry]:
    """The official parts. `age` is the mean guess with its spread, the real age, or one row a guess.

    faces are X.jpg_face.jpg, turned and cut by the owners with a margin of 40 %, where the labelled face is the one in
    the middle; photos are X.jpg, whose middle face may be somebody else.
    """
    tables = {part: f"gt_{part}.csv" if labels == "votes" else f"gt_avg_{part}.csv" for part in _PARTS}
    here = tree.locate(*tables.values())
    for part, table in tables.items():
        if not here.has(table):
            continue
        votes: Counter[str] = Counter()
        for row in records(here, table, _VOTES if labels == "votes" else _MEANS):
            name = row["file_name"]
            votes[name] += 1
            yield {
                "image": picture(f"{here.base}{part}/{name}{'_face.jpg' if pictures == 'faces' else ''}"),
                **(_vote(row, votes[name]) if labels == "votes" else _mean(row, labels == "real")),
                "split": part,
            }
    if not any(here.has(table) for table in tables.values()):
        raise SourceError(f"{tree.root}: no {', '.join(tables.values())} there")


def _mean(row: dict[str, str], real: bool) -> Row:
    return {
        "age": row["real_age" if real else "apparent_age_avg"],
        "age_std": None if real else row["apparent_age_std"],
        "age_kind": "real" if real else "apparent",
        "age_real": row["real_age"],
        "age_apparent": row["apparent_age_avg"],
        "votes": row["num_ratings"],
    }


def _vote(row: dict[str, str], vote: int) -> Row:
    return {"age": row["apparent_age"], "age_kind": "apparent", "age_real": row["real_age"], "vote": vote}
