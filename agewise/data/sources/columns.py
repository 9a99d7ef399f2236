"""Which column of an unknown table is which: named by the user, else guessed by its heading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from agewise.data.sources.entry import Kind, Row, age_of
from agewise.data.sources.labels import group, number, sex
from agewise.data.sources.tree import SourceError

GUESSES: dict[str, tuple[str, ...]] = {
    "image": ("image", "file", "filename", "file_name", "path", "img_path", "image_path", "img", "photo", "name"),
    "age": ("age", "real_age", "apparent_age", "label_age", "years", "age_group", "age_range", "mean"),
    "age_std": ("age_std", "std", "stdv", "apparent_age_std"),
    "age_low": ("age_low", "min_age", "age_min"),
    "age_high": ("age_high", "max_age", "age_max"),
    "subject": ("subject", "subject_id", "identity", "person", "person_id", "id_num"),
    "split": ("split", "part", "partition", "set"),
    "sex": ("sex", "gender"),
    "ethnicity": ("ethnicity", "race"),
}
"""Columns of a manifest and the headings, in small letters, that are taken for them, the first one first."""

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
"""What tables and file names call the three parts."""


def matched(headings: Sequence[str], named: Mapping[str, str], where: str) -> dict[str, str]:
    """Heading by manifest column. Raises SourceError where a named heading is absent or none is the image's."""
    small = {heading.strip().lower(): heading for heading in reversed(headings)}
    found = {column: next((small[guess] for guess in some if guess in small), "") for column, some in GUESSES.items()}
    found |= {column: heading for column, heading in named.items() if heading}
    wrong = [heading for heading in named.values() if heading and heading not in headings]
    if wrong:
        raise SourceError(f"{where}: no column {', '.join(wrong)}; it has {', '.join(headings)}")
    if not found["image"]:
        raise SourceError(f"{where}: which column names the picture? Say image=..., one of {', '.join(headings)}")
    return {column: heading for column, heading in found.items() if heading}


def labels(cells: Mapping[str, Any], columns: Mapping[str, str], kind: str, split: str | None = None) -> Row:
    """A row's labels; an age that is written as a group becomes its bounds, and its kind "group".

    `split` is that of the whole table, for one without such a column.
    """
    if kind not in get_args(Kind):
        raise SourceError(f"kind is {kind!r}; {', '.join(get_args(Kind))} are allowed")
    given = {column: cells.get(heading) for column, heading in columns.items()}
    age, low, high = given.get("age"), given.get("age_low"), given.get("age_high")
    bounds = _bounds(age)
    ages = age_of(*bounds) if bounds else {"age": age, "age_low": low, "age_high": high}
    part = str(given["split"]).strip().lower() if given.get("split") is not None else split
    grouped = ages["age"] is None and ages["age_low"] is not None
    return {
        **ages,
        "age_std": given.get("age_std"),
        "age_kind": "group" if grouped else kind,
        "subject": _text(given.get("subject")),
        "split": SPLITS.get(part, part) if part else None,
        "sex": sex(_text(given.get("sex"))),
        "ethnicity": _text(given.get("ethnicity")),
    }


def _bounds(age: Any) -> tuple[float, float] | None:
    if not isinstance(age, str):
        return None
    try:
        number(age)
    except ValueError:
        return group(age)
    return None


def _text(value: Any) -> str | None:
    return None if value is None or str(value).strip() == "" else str(value).strip()
