"""What manifests hold: samples by age group (Greco et al. 2021, Table 1), their ages' distribution, and who is in them.

A face counts by what is known best of it: its age, else its group, else its distribution.
- `age` is rounded to whole years, halves up (apparent ages are means of votes), and 101 and above count as 100.
- `age_low`..`age_high` inside one group of the table counts there; a wider one is spread evenly over its years.
- `age_probs` counts by its probability mass.
What was spread or is probability is an estimate, and is marked as one. Other faces are of unknown age, counted apart.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import AGES, AgeDistribution
from agewise.data.manifest import ManifestError, distributions, first_fault, numbers, open_manifest
from agewise.data.persons import batches, person_keys
from agewise.metrics import Floats

GROUPS: dict[str, tuple[int, int]] = {
    "0-15": (0, 15),
    "16-25": (16, 25),
    "26-35": (26, 35),
    "36-45": (36, 45),
    "46-60": (46, 60),
    "61-100": (61, 100),
}
"""The age groups of the table, in whole years, both bounds included."""

COLUMNS = ("sex", "ethnicity", "age_kind", "split")
"""The columns whose values are counted, where a manifest has them."""

UNKNOWN = "unknown"

_LABELS = ("age", "age_low", "age_high", "age_std", "age_probs", "subject")
_ROWS = 10_000
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Stats:
    """What a manifest, or a part of one, holds.

    known: faces by what their age is counted from: age, group or probs.
    ages: faces (101,) by year of age; estimated: the part of them that was spread over a group or is probability.
    mean: mean age in years, a spread group at the middle of its bounds; NaN where no age is known.
    subjects: different ones, unnamed faces aside. counts: faces by value, of each column there is.
    """

    name: str
    faces: int
    known: Mapping[str, int]
    ages: Floats
    estimated: Floats
    mean: float
    subjects: int
    counts: Mapping[str, Mapping[str, int]]

    @property
    def total(self) -> int:
        """Faces whose age is known, in whatever way."""
        return sum(self.known.values())


def stats(manifest: Path, columns: Sequence[str] = COLUMNS) -> Stats:
    """What a manifest holds. Raises ManifestError where a label cannot be, or the file is no manifest."""
    tally = _Tally()
    for table in _tables(manifest, columns):
        tally.add(table, columns)
    return tally.stats(manifest.stem)


def stats_by(manifest: Path, column: str) -> dict[str, Stats]:
    """What each part of a manifest holds, by a column's value; the parts in order, numbers as numbers."""
    open_manifest(manifest, need=[column])
    tallies: dict[str, _Tally] = {}
    for table in _tables(manifest, [column]):
        values = table[column].to_pylist()
        names = np.array([UNKNOWN if value is None else str(value) for value in values], dtype=object)
        for name in dict.fromkeys(names.tolist()):
            tallies.setdefault(name, _Tally()).add(table.filter(pa.array((names == name).astype(bool))), ())
    ordered = sorted(
        tallies, key=lambda name: (name == UNKNOWN, *((0, int(name)) if name.isdecimal() else (1, 0)), name)
    )
    return {name: tallies[name].stats(name) for name in ordered}


def by_group(ages: Floats) -> dict[str, float]:
    """Faces in each of GROUPS, of faces (101,) by year.

    >>> by_group(AgeDistribution.of_groups([10], [19]).probs[0] * 100)["0-15"].__round__()
    60
    """
    return {name: float(ages[low : high + 1].sum()) for name, (low, high) in GROUPS.items()}


def named(manifests: Sequence[Path], found: Sequence[Stats]) -> list[str]:
    """A name for each manifest that tells it from the others: its stem, with folder or number where two share it."""
    stems = Counter(one.name for one in found)
    longer = [
        f"{path.parent.name}/{one.name}" if stems[one.name] > 1 else one.name
        for path, one in zip(manifests, found, strict=True)
    ]
    again = Counter(longer)
    return [f"{name} ({number})" if again[name] > 1 else name for number, name in enumerate(longer, 1)]


def to_text(found: Mapping[str, Stats], share: bool = False) -> str:
    """The table, one line a manifest or part, as text; with `share`, percent of the known ages, and their mean."""
    head = ["", *GROUPS, *(["faces", "mean age"] if share else ["total", "unknown"])]
    rows = [[name, *_cells(one, share)] for name, one in found.items()]
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(pairs)
        ).rstrip()
        for pairs in ([*zip(row, widths, strict=True)] for row in [head, *rows])
    ]
    if any(one.estimated.sum() > 0 for one in found.values()):
        lines.append("~ an estimate: wider age groups are spread evenly over their years, distributions count by mass")
    return "\n".join(lines)


def facts(one: Stats) -> list[str]:
    """What else there is to know of a manifest, a line each: how ages are known, persons, values of its columns."""
    ways = {"age": "an age", "group": "an age group only", "probs": "a distribution only"}
    known = [f"{count:,} with {ways[way]}" for way, count in one.known.items() if count]
    unknown = [f"{one.faces - one.total:,} of unknown age"] if one.faces > one.total else []
    persons = f"{one.subjects:,} subjects" if one.subjects else "no subjects named"
    mean = f"mean age {one.mean:.1f}" if one.total else "no mean age"
    lines = [f"{one.faces:,} faces: {', '.join([*known, *unknown])}; {mean}; {persons}"]
    for column, values in one.counts.items():
        shown = [f"{value} {count:,}" for value, count in list(values.items())[:_SHOWN]]
        more = [f"and {len(values) - _SHOWN} more values"] if len(values) > _SHOWN else []
        lines.append(f"{column}: {', '.join([*shown, *more])}")
    return lines


def to_json(found: Mapping[str, Stats]) -> str:
    """Everything as strict JSON; `ages` are faces by year 0..100, and a mean of no age is null."""
    said = [{"name": name, **_plain(one)} for name, one in found.items()]
    return json.dumps({"groups": GROUPS, "manifests": said}, indent=1, ensure_ascii=False, allow_nan=False)


def _plain(one: Stats) -> dict[str, Any]:
    faces, estimated = by_group(one.ages), by_group(one.estimated)
    return {
        "faces": one.faces,
        "total": one.total,
        "unknown": one.faces - one.total,
        "known_by": dict(one.known),
        "groups": {name: {"faces": round(faces[name], 3), "estimated": round(estimated[name], 3)} for name in GROUPS},
        "mean_age": round(one.mean, 3) if one.total else None,
        "subjects": one.subjects,
        "counts": {column: dict(values) for column, values in one.counts.items()},
        "ages": [round(value, 4) for value in one.ages.tolist()],
    }


def _cells(one: Stats, share: bool) -> list[str]:
    estimated = by_group(one.estimated)
    marks = {name: "~" if estimated[name] > 0 else "" for name in GROUPS}
    if share:
        cells = [f"{marks[name]}{100 * faces / max(one.total, 1):.1f} %" for name, faces in by_group(one.ages).items()]
        return [*cells, f"{one.faces:,}", f"{one.mean:.2f}" if one.total else "-"]
    cells = [f"{marks[name]}{round(faces):,}" for name, faces in by_group(one.ages).items()]
    return [*cells, f"{one.total:,}", f"{one.faces - one.total:,}"]


def _tables(manifest: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The labels, checked, batch by batch; pictures are never read."""
    file = open_manifest(manifest)
    wanted = [name for name in dict.fromkeys([*_LABELS, *columns]) if name in file.schema_arrow.names]
    done = 0
    for table in batches(file, _ROWS, wanted):
        if (fault := first_fault(table)) is not None:
            raise ManifestError(f"{manifest}: row {done + fault[0]}: {fault[1]}")
        done += len(table)
        yield table


@dataclass(slots=True)
class _Tally:
    """Counts that grow table by table; memory grows with the subjects alone, 8 bytes each."""

    faces: int = 0
    years: float = 0.0
    known: Counter[str] = field(default_factory=lambda: Counter(age=0, group=0, probs=0))
    ages: Floats = field(default_factory=lambda: np.zeros(len(AGES)))
    estimated: Floats = field(default_factory=lambda: np.zeros(len(AGES)))
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, table: pa.Table, columns: Sequence[str]) -> None:
        age, low, high = (numbers(table, name) for name in ("age", "age_low", "age_high"))
        exact = ~np.isnan(age)
        grouped = ~exact & ~np.isnan(low) & ~np.isnan(high)
        told = np.zeros(len(table), dtype=bool)
        if "age_probs" in table.column_names:
            told = table["age_probs"].is_valid().to_numpy() & ~exact & ~grouped
        self.faces += len(table)
        self.known.update(age=int(exact.sum()), group=int(grouped.sum()), probs=int(told.sum()))
        self._add_ages(age[exact])
        self._add_groups(low[grouped], high[grouped])
        if told.any():
            self._add_probs(distributions(table.filter(pa.array(told))))
        self.keys = np.union1d(self.keys, person_keys(table))
        for column in (name for name in columns if name in table.column_names):
            values = (UNKNOWN if value in (None, "") else str(value) for value in table[column].to_pylist())
            self.counts.setdefault(column, Counter()).update(values)

    def _add_ages(self, age: Floats) -> None:
        year = np.minimum(np.floor(age + 0.5), AGES[-1]).astype(np.intp)
        self.ages += np.bincount(year, minlength=len(AGES))
        self.years += float(age.sum())

    def _add_groups(self, low: Floats, high: Floats) -> None:
        bounds, faces = np.unique(np.stack([low, high], axis=1), axis=0, return_counts=True)
        for (first, last), count in zip(bounds.tolist(), faces.tolist(), strict=True):
            spread = count * AgeDistribution.of_groups([first], [last]).probs[0]
            self.ages += spread
            self.estimated += spread * (np.count_nonzero(list(by_group(spread).values())) > 1)
            self.years += float(spread @ AGES)

    def _add_probs(self, told: AgeDistribution) -> None:
        mass = told.probs.sum(axis=0)
        self.ages += mass
        self.estimated += mass
        self.years += float(mass @ AGES)

    def stats(self, name: str) -> Stats:
        total = sum(self.known.values())
        counts = {
            column: dict(sorted(self.counts[column].items(), key=lambda pair: (pair[0] == UNKNOWN, -pair[1], pair[0])))
            for column in self.counts
        }
        mean = self.years / total if total else float("nan")
        return Stats(name, self.faces, dict(self.known), self.ages, self.estimated, mean, len(self.keys), counts)
