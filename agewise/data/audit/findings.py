"""What an audit says: findings, each with how grave it is, and the rows that it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["leak", "warning", "note"]

Place = tuple[str, int]
"""A row of a manifest: the manifest as it was named, and the row, from 0."""

MOST_LISTED = 1000
"""Cases of a finding, and pairs of an audit, that are listed; all are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found `count` times.

    leak: a score would be too good. warning: labels or pictures are in doubt. note: to be known when scores are read.
    rows: the first MOST_LISTED cases, each the places that belong together; empty where it is about a whole split.
    """

    kind: str
    severity: Severity
    count: int
    message: str
    rows: tuple[tuple[Place, ...], ...] = ()


def named(names: list[str], most: int = 12) -> str:
    """Names in a row, the rest counted.

    >>> named(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
