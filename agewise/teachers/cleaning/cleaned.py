"""What cleaning found: rule by rule, and which rows rules share; kept in the metadata of the manifest it wrote."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from agewise.data.clean_rules import Rule
from agewise.data.manifest import ManifestError, metadata

SHOWN = 24
"""Rows of each rule that are remembered as examples, the worst first, and of those that were kept, at random."""

KEPT = "kept"
"""Under this name are the examples of rows that no rule hit."""

STEP = "clean"


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule found: rows of which it could judge, and hits; or why it could not be applied (then both are 0).

    examples: (row, value) of the worst hits.
    """

    name: str
    limit: str
    meaning: str
    judged: int
    hits: int
    missing: str | None
    examples: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was found in a manifest of so many rows, and how many no rule hit.

    shared: rows that two rules hit, by their names. kept_examples: some rows that were kept, at random.
    joint: faces by decade of the label (rows) and of the teacher's own age, put right (8, 8); None without one.
    """

    path: Path
    rows: int
    kept: int
    rules: tuple[Found, ...]
    shared: Mapping[tuple[str, str], int]
    alone: Mapping[str, int]
    kept_examples: tuple[int, ...]
    joint: tuple[tuple[int, ...], ...] | None

    @property
    def dropped(self) -> int:
        """Rows that a rule hit."""
        return self.rows - self.kept


def read_cleaned(path: Path) -> Cleaned:
    """What `clean` found when it wrote a manifest. Raises ManifestError where it wrote none."""
    said = metadata(path).get("cleaned")
    if said is None:
        raise ManifestError(f"{path}: not cleaned; agewise clean writes such a manifest")
    sets = {frozenset(key.split(";")) if key else frozenset(): count for key, count in said["sets"].items()}
    found = tuple(
        Found(
            **{**rule, "examples": tuple((row, value) for row, value in rule["examples"])},
            hits=sum(count for names, count in sets.items() if rule["name"] in names),
        )
        for rule in said["rules"]
    )
    hit = [rule.name for rule in found if rule.hits]
    return Cleaned(
        path=path,
        rows=sum(sets.values()),
        kept=sets.get(frozenset(), 0),
        rules=found,
        shared={
            pair: sum(count for names, count in sets.items() if set(pair) <= names) for pair in combinations(hit, 2)
        },
        alone={name: sets.get(frozenset([name]), 0) for name in hit},
        kept_examples=tuple(said["kept"]),
        joint=None if said["joint"] is None else tuple(tuple(row) for row in said["joint"]),
    )


def summed(
    records: Sequence[Mapping[str, Any]], chosen: Mapping[str, Rule], missing: Mapping[str, str]
) -> dict[str, Any]:
    """What the parts of a manifest found, together, as plain JSON for its metadata."""
    sets: Counter[str] = Counter()
    for record in records:
        sets.update(record["sets"])

    def worst(name: str) -> Iterator[tuple[float, int, float]]:
        found = (tuple(one) for record in records for one in record["worst"].get(name, []))
        yield from heapq.nsmallest(SHOWN, found, key=lambda one: (-one[0], one[1]))

    tables = [record["joint"] for record in records if record["joint"] is not None]
    return {
        "rules": [
            {
                "name": name,
                "limit": rule.limit(),
                "meaning": rule.meaning,
                "judged": sum(record["judged"].get(name, 0) for record in records),
                "missing": missing.get(name),
                "examples": [[row, value] for _, row, value in worst(name)],
            }
            for name, rule in chosen.items()
        ],
        "sets": dict(sets),
        "kept": [row for _, row, _ in worst(KEPT)],
        "joint": np.sum(tables, axis=0).tolist() if tables else None,
    }
