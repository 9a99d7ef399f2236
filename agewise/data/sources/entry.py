"""What a source yields of a public data set: rows for the manifest, pictures left out, remarks on the whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Row = dict[str, Any]
"""Columns of one face; numbers may be text as in the label file. All rows of one source have the same columns."""

Kind = Literal["real", "apparent", "group", "estimated"]
"""What an age is: of the calendar, as people guess it, a group only, or a network's estimate."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A picture that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Remark:
    """What the reader of the manifest should know of the whole set."""

    text: str


Entry = Row | Skipped | Remark


def picture(name: str) -> dict[str, Any]:
    """Column `image` of a picture by its name in the tree; lists made under Windows have backslashes."""
    return {"bytes": None, "path": name.replace("\\", "/")}


def age_of(low: float | None, high: float | None) -> Row:
    """The three columns of an age: a group's bounds, or one age where both are the same, or nothing known."""
    if low == high:
        return {"age": low, "age_low": None, "age_high": None}
    return {"age": None, "age_low": low, "age_high": high}
