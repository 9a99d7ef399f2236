"""What is in doubt: impossible labels, heaps, holes in a split's range; and pictures that show too little of a face."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from agewise.ages import OLDEST
from agewise.data.audit.findings import MOST_LISTED, Finding, named
from agewise.data.audit.scan import Pictures, Rows

Counts = NDArray[np.int64]

CHANCE = 0.001
"""By chance, one audit in a thousand names a heap (or a hole) on a side where there is none: shared among its ages."""

HEAP = 1.5
"""A heap has at least so many times the faces of its neighbours."""

WHIPPLE = 125.0
"""From this index on, the United Nations call the ages of a census rough (100: no preference, 500: only 0 and 5)."""

SMALLEST = 32
"""Pixels of a face's shorter side; of fewer, the age cannot be seen."""


def impossible(rows: Rows) -> Iterator[Finding]:
    """Labels out of range, and rows that have none."""
    if rows.faults:
        cases = tuple((rows.place(row),) for row, _ in rows.faults[:MOST_LISTED])
        row, why = rows.faults[0]
        says = f"{len(rows.faults)} labels cannot be; the first: {rows.place(row)[0]}, row {rows.place(row)[1]}: {why}"
        yield Finding("impossible labels", "warning", len(rows.faults), says, cases)
    known = ~np.isnan(rows.labels["age"]) | ~np.isnan(rows.labels["age_low"] + rows.labels["age_high"])
    if not known.all():
        count = int((~known).sum())
        cases = tuple((rows.place(row),) for row in np.flatnonzero(~known)[:MOST_LISTED])
        yield Finding(
            "no age", "note", count, f"{count} rows have no age that can be: neither a year nor a group", cases
        )


def poor_pictures(rows: Rows, pictures: Pictures) -> Iterator[Finding]:
    """Pictures that cannot be read, faces that are too small, and pictures that show nothing."""
    if pictures.reasons:
        why = named([f"{reason} ({count})" for reason, count in Counter(pictures.reasons.values()).most_common()], 3)
        says = f"{len(pictures.reasons)} pictures cannot be read: {why}"
        cases = tuple((rows.place(row),) for row in list(pictures.reasons)[:MOST_LISTED])
        yield Finding("unreadable", "warning", len(pictures.reasons), says, cases)
    tiny, flat = np.flatnonzero(pictures.size < SMALLEST), np.flatnonzero(pictures.flat)
    for kind, found, says in (
        ("tiny", tiny, f"faces have less than {SMALLEST} pixels on their shorter side"),
        ("flat", flat, "pictures are of one colour"),
    ):
        if len(found):
            cases = tuple((rows.place(row),) for row in found[:MOST_LISTED])
            yield Finding(kind, "warning", len(found), f"{len(found)} {says}", cases)


def age_counts(rows: Rows) -> dict[str, Counts]:
    """Faces of each age in completed years, 0..122 (123,), by side; only sides with a known age."""
    found = {}
    for code, side in enumerate(rows.side.names):
        age = rows.labels["age"][rows.side.codes == code]
        if not np.isnan(age).all():
            found[side] = np.bincount(age[~np.isnan(age)].astype(np.int64), minlength=int(OLDEST) + 1)
    return found


def group_counts(rows: Rows) -> dict[str, dict[tuple[float, float], int]]:
    """Faces of each age group (low, high), by side, of those whose age in years is not known."""
    low, high = rows.labels["age_low"], rows.labels["age_high"]
    known = ~np.isnan(low + high) & np.isnan(rows.labels["age"])
    found: dict[str, dict[tuple[float, float], int]] = {}
    for code, side in enumerate(rows.side.names):
        mine = known & (rows.side.codes == code)
        if mine.any():
            pairs, counts = np.unique(np.column_stack([low[mine], high[mine]]), axis=0, return_counts=True)
            found[side] = {(float(a), float(b)): int(n) for (a, b), n in zip(pairs, counts, strict=True)}
    return found


def heaps(counts: dict[str, Counts]) -> Iterator[Finding]:
    """Single ages with too many faces, and a preference for ages that end in 0 or 5.

    An age is a heap where it has HEAP times the mean of the up to four ages within two years, and so many or more would
    be there with a probability below CHANCE (exact binomial, shared among the ages), were it one of them. Digits: the
    index of Whipple over 23..62 years (Shryock and Siegel 1976).
    """
    for side, faces in counts.items():
        found = heaps_of(faces)
        if found:
            says = named([f"{age} years ({ratio:.1f} x)" for age, ratio in found.items()], 8)
            yield Finding("heaps", "warning", len(found), f"{side} has heaps, by times their neighbours, at {says}")
        index, p = whipple(faces)
        if index >= WHIPPLE and p < CHANCE:
            says = (
                f"{side} prefers ages that end in 0 or 5: Whipple's index is {index:.0f} (100: none, 500: only those)"
            )
            yield Finding("digits", "warning", int(faces[25:61:5].sum()), says)


def heaps_of(faces: Counts) -> dict[int, float]:
    """The ages that are heaps, and how many times their neighbours' mean they have (infinite: those are empty)."""
    seen = np.flatnonzero(faces)
    found = {}
    for age in seen.tolist():
        near = [n for n in (age - 2, age - 1, age + 1, age + 2) if seen[0] <= n <= seen[-1]]
        around = int(faces[near].sum())
        if len(near) < 2 or faces[age] * len(near) < HEAP * around:
            continue
        if binomial_tail(int(faces[age]), int(faces[age]) + around, 1 / (len(near) + 1)) < CHANCE / len(seen):
            found[age] = float(faces[age] * len(near) / around) if around else math.inf
    return found


def whipple(faces: Counts) -> tuple[float, float]:
    """Whipple's index of counts (123,) by year, and its probability without a preference; (100, 1) of no face."""
    total, round_ = int(faces[23:63].sum()), int(faces[25:61:5].sum())
    if not total:
        return 100.0, 1.0
    return 500.0 * round_ / total, binomial_tail(round_, total, 0.2)


def holes(counts: dict[str, Counts]) -> Iterator[Finding]:
    """Ages without a face on a side, where the other sides, or the ages around, let some be expected.

    A run of ages is a hole where none at all would be there with a probability below CHANCE (Poisson, shared among the
    side's runs).
    """
    for side, faces in counts.items():
        others = sum((other for name, other in counts.items() if name != side), np.zeros_like(faces))
        found = holes_of(faces, others)
        if found:
            runs = [f"{a}" if a == b else f"{a}-{b}" for a, b, _ in found]
            least = sum(expected for _, _, expected in found)
            says = f"{side} has no face of {named(runs)} years, where about {least:.0f} would be expected"
            yield Finding("holes", "warning", len(found), says)


def holes_of(faces: Counts, others: Counts) -> list[tuple[int, int, float]]:
    """(first age, last age, faces expected) of the holes."""
    seen = np.flatnonzero(faces)
    empty = np.flatnonzero(faces == 0)
    if not len(empty) or not len(seen):
        return []
    runs = [(int(run[0]), int(run[-1])) for run in np.split(empty, np.flatnonzero(np.diff(empty) > 1) + 1)]
    found = []
    for a, b in runs:
        expected = float(others[a : b + 1].sum() / max(1, others.sum()) * faces.sum())
        if seen[0] < a and b < seen[-1]:
            around = np.concatenate([faces[max(0, a - 2) : a], faces[b + 1 : b + 3]])
            expected = max(expected, float(np.median(around)) * (b - a + 1))  # no heap counts
        if math.exp(-expected) < CHANCE / len(runs):
            inside = np.flatnonzero(others[a : b + 1]) if not seen[0] < a < seen[-1] else np.arange(b - a + 1)
            found.append((a + int(inside[0]), a + int(inside[-1]), expected))
    return found


def missing_groups(counts: dict[str, dict[tuple[float, float], int]]) -> Iterator[Finding]:
    """Age groups that other sides have and one has not, by the rule of `holes`."""
    for side, mine in counts.items():
        others: Counter[tuple[float, float]] = Counter()
        for name, other in counts.items():
            others.update(other if name != side else {})
        share = sum(mine.values()) / max(1, sum(others.values()))
        gone = [group for group in sorted(others) if group not in mine]
        found = [group for group in gone if math.exp(-others[group] * share) < CHANCE / len(gone)]
        if found:
            runs = [f"{low:g}-{high:g}" for low, high in found]
            yield Finding("holes", "warning", len(found), f"{side} has no face of the age groups {named(runs)}")


def binomial_tail(least: int, total: int, share: float) -> float:
    """Probability of `least` or more of `total`, each with the probability `share` (0..1, exclusive)."""
    if least <= 0:
        return 1.0
    k = np.arange(least, total, dtype=np.float64)
    ratios = np.log((total - k) / (k + 1) * share / (1 - share))
    choose = math.lgamma(total + 1) - math.lgamma(least + 1) - math.lgamma(total - least + 1)
    start = choose + least * math.log(share) + (total - least) * math.log1p(-share)
    logs = start + np.concatenate([[0.0], np.cumsum(ratios)])
    return float(min(1.0, np.exp(logs).sum()))
