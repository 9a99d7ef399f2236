"""What `agewise predict` says of a photo: lines for people, a line of JSON, rows of a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # `agewise --help` waits for none of these
    from agewise.ages import Age
    from agewise.deployment.estimate import Judged


COLUMNS = ("file", "face", "x0", "y0", "x1", "y1", "score", "age", "std", "low", "high", "error")

Absent = TypeVar("Absent")


@dataclass(frozen=True, slots=True)
class Row:
    """What is said of one photo: its faces with their ages or why they have none, or why it could not be read."""

    file: str
    found: Sequence[Judged]
    error: str | None = None


def as_text(row: Row) -> str:
    """A line a face for people."""
    if row.error is not None:
        return f"{row.file}  error: {row.error}"
    lines = [
        f"{row.file}  face {number}  {_said(one)}  box {' '.join(f'{value:.0f}' for value in one.face.box)}"
        for number, one in enumerate(row.found, 1)
    ]
    return "\n".join(lines) or f"{row.file}  no face"


def _said(one: Judged) -> str:
    if one.age is None:
        return f"not judged ({one.reason})"
    return f"{one.age.mean:.0f} years ({one.age.low:.0f}-{one.age.high:.0f}, 90 %)"


def as_line(row: Row) -> str:
    """A photo as one line of JSON; a face that is not judged has null for its ages, and a reason.

    >>> as_line(Row("a.jpg", []))
    '{"file": "a.jpg", "faces": [], "error": null}'
    """
    faces = [
        {
            "box": [round(value, 1) for value in one.face.box],
            "score": round(one.face.score, 3),
            **dict(zip(("age", "std", "low", "high"), _years(one.age, None), strict=True)),
            **({"reason": one.reason} if one.reason else {}),
        }
        for one in row.found
    ]
    return json.dumps({"file": row.file, "faces": faces, "error": row.error}, ensure_ascii=False, allow_nan=False)


def as_cells(row: Row) -> list[list[str | int | float]]:
    """The table's rows of a photo: one a face, and one of a photo without a face or that could not be read.

    The last cell says why a photo could not be read, or a face was not judged.
    """
    if not row.found:
        return [[row.file, *[""] * (len(COLUMNS) - 2), row.error or ""]]
    cells: list[list[str | int | float]] = []
    for number, one in enumerate(row.found, 1):
        box, years = [round(value, 1) for value in one.face.box], _years(one.age, "")
        cells.append([row.file, number, *box, round(one.face.score, 3), *years, one.reason or ""])
    return cells


def _years(age: Age | None, absent: Absent) -> Sequence[float | Absent]:
    """Mean, std and bounds in tenths of years, or four times what stands for none."""
    return [absent] * 4 if age is None else [round(value, 1) for value in (age.mean, age.std, age.low, age.high)]
