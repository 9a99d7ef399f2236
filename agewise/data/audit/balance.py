"""Groups that are small, out of balance, unevenly shared between the sides of a split, or bound up with age."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from agewise.data.audit.findings import Finding, named
from agewise.data.audit.scan import Column, Rows

Counts = NDArray[np.int64]

FEWEST = 30
"""A group of fewer faces on a side is scored, but not compared."""

IMBALANCE = 10.0
"""A group with so many times the faces of another is a note."""

SPLIT_EFFECT, AGE_EFFECT = 0.1, 0.3
"""Cramér's V (a small, and a medium effect; Cohen 1988) between a group and the sides, or a group and the ages."""


def balance(rows: Rows) -> Iterator[Finding]:
    """Groups that are small, much smaller than others, not shared evenly between the sides, or bound up with age."""
    age = np.where(np.isnan(rows.labels["age"]), rows.labels["age_low"], rows.labels["age"])
    decade = np.where(np.isnan(age), -1, np.minimum(age, 80) // 10).astype(np.int32)
    for name, column in rows.groups.items():
        table = cross_table(column, rows.side)
        for code, side in enumerate(rows.side.names):
            yield from _sizes(f"{name} in {side}", column.names, table[:, code])
            here = rows.side.codes == code
            effect = cramers_v(cross_table(_only(column, here), Column(decade, tuple(map(str, range(9))))))
            if effect >= AGE_EFFECT:
                says = f"{name} and age go together in {side}: Cramér's V over decades is {effect:.2f}"
                yield Finding("balance", "note", 1, says)
        effect = cramers_v(table)
        if effect >= SPLIT_EFFECT:
            says = f"{name} is not shared evenly between {named(list(rows.side.names))}: Cramér's V is {effect:.2f}"
            yield Finding("balance", "note", 1, says)


def cross_table(one: Column, other: Column) -> Counts:
    """Rows of each pair of names (names of one, names of the other)."""
    known = (one.codes >= 0) & (other.codes >= 0)
    table = np.zeros((len(one.names), len(other.names)), dtype=np.int64)
    np.add.at(table, (one.codes[known], other.codes[known]), 1)
    return table


def cramers_v(table: Counts) -> float:
    """Cramér's V of a table of counts, 0 (independent) to 1, corrected for its size (Bergsma 2013)."""
    table = table[table.any(axis=1)][:, table.any(axis=0)]
    total = int(table.sum())
    if min(table.shape) < 2 or total < 2:
        return 0.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / total
    phi = float(((table - expected) ** 2 / expected).sum()) / total
    free = math.prod(side - 1 for side in table.shape)
    sides = [side - (side - 1) ** 2 / (total - 1) for side in table.shape]
    room = min(sides) - 1
    return math.sqrt(max(0.0, phi - free / (total - 1)) / room) if room > 0 else 0.0


def _sizes(where: str, names: Sequence[str], counts: Counts) -> Iterator[Finding]:
    there = {name: int(count) for name, count in zip(names, counts, strict=True) if count}
    few = [f"{name} ({count})" for name, count in there.items() if count < FEWEST]
    if few and counts.sum() >= FEWEST:
        says = f"{where}: fewer than {FEWEST} faces are of {named(few)}; their scores will be loose"
        yield Finding("balance", "note", len(few), says)
    large = {name: count for name, count in there.items() if count >= FEWEST}
    if large and max(large.values()) >= IMBALANCE * min(large.values()):
        most, least = max(large, key=large.__getitem__), min(large, key=large.__getitem__)
        says = f"{where}: {most} has {large[most]} faces, {large[most] / large[least]:.0f} times those of {least}"
        yield Finding("balance", "note", 1, says)


def _only(column: Column, rows: NDArray[np.bool_]) -> Column:
    return Column(np.where(rows, column.codes, -1).astype(np.int32), column.names)
