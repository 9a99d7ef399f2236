"""Tables of pairs: what is published in a cell, and what was measured here or why nothing was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agewise.evaluation.groups import Estimate
from agewise.evaluation.page import Table
from agewise.evaluation.published import Cell

NO_DATA, NO_MODEL, NOTHING = "no data given", "no model given", "-"
"""Why nothing was measured in a cell; the last one: there is no such cell."""

UNIT = {"years": 2, "epsilon": 4, "percent": 1, "faces": 0}
"""Digits after the point by the unit of a table."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A cell. published: None where the paper has no such cell. here: None, and `why`, where nothing was measured.

    std: over folds, of which `here` is the mean. estimated: not counted face by face. as_is: by a model that was not
    trained again for the set.
    """

    published: Cell | None = None
    here: Estimate | None = None
    why: str = NOTHING
    std: float | None = None
    estimated: bool = False
    as_is: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of the paper. paired: the columns that the paper has; the others are measured here alone.

    stacked: published and measured values are rows below each other, not columns beside each other.
    """

    name: str
    title: str
    stub: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    paired: tuple[str, ...]
    alone: tuple[str, ...]
    cells: Mapping[tuple[tuple[str, ...], str], Entry]
    unit: Literal["years", "epsilon", "percent", "faces"] = "years"
    stacked: bool = False

    def entry(self, row: tuple[str, ...], column: str) -> Entry:
        """The cell; one that neither side has where none was put there."""
        return self.cells.get((row, column), Entry())


def notes_of(grids: Sequence[Grid]) -> list[str]:
    """What the text says of unknown cells, each saying once, in the order of the tables."""
    said = [
        entry.published.says
        for grid in grids
        for row in grid.rows
        for column in grid.paired
        if (entry := grid.entry(row, column)).published is not None and entry.published.value is None
    ]
    return [one for one in dict.fromkeys(said) if one]


def to_table(grid: Grid, notes: Sequence[str]) -> Table:
    """The grid as text; an unknown cell has the number of the note that says more of it."""
    return _stacked(grid, notes) if grid.stacked else _beside(grid, notes)


def to_plain(grid: Grid) -> dict[str, Any]:
    """The grid as strict JSON: shares are 0..1, ages in years, an interval is [low, high] or null."""
    cells = [
        {"row": list(row), "column": column, **_plain(entry)}
        for row in grid.rows
        for column in (*grid.paired, *grid.alone)
        if (entry := grid.entry(row, column)) != Entry()
    ]
    return {"table": grid.name, "title": grid.title, "unit": grid.unit, "cells": cells}


def number(value: float, unit: str) -> str:
    """`5.58`, `0.3033`, `65.0`, `15,699`."""
    return f"{value * (100 if unit == 'percent' else 1):,.{UNIT[unit]}f}"


def published_text(cell: Cell | None, unit: str, notes: Sequence[str] = ()) -> str:
    """A published number; c: of the charts alone, n: counted by us, ~: rounded by the text."""
    if cell is None:
        return NOTHING
    if cell.value is None:
        return f"unknown [{notes.index(cell.says) + 1}]" if cell.says in notes else "unknown"
    if cell.about and unit == "years":
        return f"~{cell.value:.1f}"
    mark = "" if cell.printed is not None else " c" if cell.charts is not None else " n"
    return f"{'~' if cell.about else ''}{number(cell.value, unit)}{mark}"


def here_text(entry: Entry, unit: str) -> str:
    """A measured number with its interval, or its std over folds; or why there is none."""
    if entry.here is None:
        return entry.why
    text = f"{'~' if entry.estimated else ''}{number(entry.here.value, unit)}{' *' if entry.as_is else ''}"
    if entry.std is not None:
        return f"{text} ± {number(entry.std, unit)}"
    if entry.here.interval is None:
        return text
    low, high = (number(bound, unit) for bound in entry.here.interval)
    return f"{text} [{low}, {high}]"


def _beside(grid: Grid, notes: Sequence[str]) -> Table:
    """Columns in pairs, one alone where nothing was measured in it; of nothing at all, one column says so."""
    measured = [column for column in grid.paired if any(grid.entry(row, column).here for row in grid.rows)]
    columns: dict[str, list[str]] = {}
    for column in grid.paired:
        entries = [grid.entry(row, column) for row in grid.rows]
        why = next((entry.why for entry in entries if entry.why != NOTHING), NOTHING)
        title = column if column in measured or not measured else f"{column} (here: {why})"
        columns[title] = [published_text(entry.published, grid.unit, notes) for entry in entries]
        if column in measured:
            columns[f"{column}, here"] = [here_text(entry, grid.unit) for entry in entries]
    if not measured:
        columns["here"] = [_reason(grid, row) for row in grid.rows]
    for column in grid.alone:
        entries = [grid.entry(row, column) for row in grid.rows]
        columns[f"also measured: {column}"] = [here_text(entry, grid.unit) for entry in entries]
    rows = [[*row, *cells] for row, cells in zip(grid.rows, zip(*columns.values(), strict=True), strict=True)]
    return f"{grid.name}: {grid.title}", [*grid.stub, *columns], rows


def _reason(grid: Grid, row: tuple[str, ...]) -> str:
    reasons = (grid.entry(row, column).why for column in grid.paired)
    return next((why for why in reasons if why != NOTHING), NOTHING)


def _stacked(grid: Grid, notes: Sequence[str]) -> Table:
    head, rows = [*grid.stub, "", *grid.paired], []
    for row in grid.rows:
        entries = [grid.entry(row, column) for column in grid.paired]
        if any(entry.published is not None for entry in entries):
            rows.append([*row, "published", *(published_text(entry.published, grid.unit, notes) for entry in entries)])
        measured = any(entry.here for entry in entries)
        cells = [here_text(entry, grid.unit) for entry in entries]
        rows.append([*row, "here", *(cells if measured else [entries[0].why, *([""] * (len(entries) - 1))])])
    return f"{grid.name}: {grid.title}", head, rows


def _plain(entry: Entry) -> dict[str, Any]:
    cell, here = entry.published, entry.here
    published = None if cell is None else {"value": cell.value, **cell.model_dump(exclude_defaults=True)}
    measured: dict[str, Any] = {"why": entry.why}
    if here is not None:
        measured = {"value": here.value, "interval": here.interval, "n": here.n}
        measured |= {"std_over_folds": entry.std} if entry.std is not None else {}
        measured |= {name: True for name in ("estimated", "as_is") if getattr(entry, name)}
    return {"published": published, "here": measured}
