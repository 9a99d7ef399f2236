"""Cells of label files as values: encodings, tables, numbers, age groups, sexes."""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from typing import IO

from agewise.data.sources.tree import SourceError, Tree

UNBOUNDED = 100.0
"""The high bound of a group such as 70+: the last age of the axis."""

_MONTHS = ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_UNKNOWN = {"", "nan", "none", "null", "na", "n/a", "?", "unknown"}
_SEXES = {"m": "M", "male": "M", "man": "M", "boy": "M", "f": "F", "female": "F", "woman": "F", "girl": "F"}


def lines(tree: Tree, name: str) -> Iterator[str]:
    """A text file's lines with their ends, read as UTF-8 (a byte order mark is dropped), else as Latin-1."""
    with tree.open(name) as stream:
        encoding = _encoding(stream)
    with tree.open(name) as stream, io.TextIOWrapper(stream, encoding, newline="") as text:
        yield from text


def _encoding(stream: IO[bytes]) -> str:
    block = stream.read(1 << 16)
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        while block:
            decoder.decode(block)
            block = stream.read(1 << 16)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8-sig"


def cells(tree: Tree, name: str, delimiter: str = ",", quote: str = '"') -> Iterator[list[str]]:
    """A table's rows as lists of cells without the blanks around them; empty lines are left out."""
    csv.field_size_limit(1 << 20)
    try:
        for row in csv.reader(lines(tree, name), delimiter=delimiter, quotechar=quote, skipinitialspace=True):
            if any(cell.strip() for cell in row):
                yield [cell.strip() for cell in row]
    except csv.Error as error:
        raise SourceError(f"{tree.root}: {name}: not a table ({error})") from error


def records(tree: Tree, name: str, need: Sequence[str], delimiter: str = ",") -> Iterator[dict[str, str]]:
    """A table's rows by the names of its first line; a row with too few cells has empty ones.

    Raises SourceError where a needed column is missing.
    """
    rows = cells(tree, name, delimiter)
    header = next(rows, [])
    missing = [column for column in need if column not in header]
    if missing:
        given = ", ".join(header)[:200] or "nothing"
        raise SourceError(f"{tree.root}: {name} has no column {', '.join(missing)}; its first line is: {given}")
    for row in rows:
        yield dict(zip(header, [*row, *[""] * (len(header) - len(row))], strict=False))


def number(value: object) -> float | None:
    """A cell as a number, None where it says that nothing is known. Raises ValueError on any other text.

    >>> number(" 31,5 "), number("NaN"), number(7)
    (31.5, None, 7.0)
    """
    if value is None or (isinstance(value, str) and value.strip().lower() in _UNKNOWN):
        return None
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d+,\d+\s*", value):
        value = value.replace(",", ".")  # a decimal comma
    parsed = float(value)  # type: ignore[arg-type]  # whatever float does not take is its ValueError or TypeError
    return None if math.isnan(parsed) else parsed


def group(text: str) -> tuple[float, float] | None:
    """The bounds of an age group, both included; None where the text is none.

    A spreadsheet turns 3-9 into 03-Sep, 9-Mar or 2024-03-09 and 10-19 into Oct-19 or 19-Oct: a day and a month are
    the two bounds, the smaller one first.

    >>> group("(25, 32)"), group("20-29"), group("more than 70"), group("03-Sep"), group("Oct-19")
    ((25.0, 32.0), (20.0, 29.0), (70.0, 100.0), (3.0, 9.0), (10.0, 19.0))
    """
    bare = text.strip().strip("()[]").lower()
    if found := re.fullmatch(r"(\d{1,3})\s*(?:-|\u2013|,|_|to)\s*(\d{1,3})", bare):
        return float(found[1]), float(found[2])
    if found := re.fullmatch(r"(?:more than|over|>=?)\s*(\d{1,3})|(\d{1,3})\s*(?:\+|and over|or more)", bare):
        return float(found[1] or found[2]), UNBOUNDED
    if found := re.fullmatch(r"\d{4}-(\d\d)-(\d\d)(?: 00:00:00)?", bare):
        return float(min(found[1], found[2])), float(max(found[1], found[2]))
    if found := re.fullmatch(r"(\d{1,2})-([a-z]{3})|([a-z]{3})-(\d{1,2})", bare):
        month, day = found[2] or found[3], int(found[1] or found[4])
        place = _MONTHS.index(month) if month in _MONTHS else None
        return None if place is None else (float(min(day, place)), float(max(day, place)))
    return None


def sex(text: str | None) -> str | None:
    """F, M, or None where it is neither said nor one of the two."""
    return _SEXES.get((text or "").strip().lower())
