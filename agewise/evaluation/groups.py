"""Scores of sets of faces: all, by band of age, by sex, ethnicity or any other group, and the gap between groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.metrics import (
    Floats,
    bootstrap,
    covered,
    crps_values,
    epsilon_errors,
    errors,
    excesses,
    inside_group,
    log_losses,
    replicates,
    within,
)

Labels = Literal["age", "group"]

BANDS: dict[str, float] = {
    "0-3": 4,
    "4-9": 10,
    "10-19": 20,
    "20-29": 30,
    "30-39": 40,
    "40-49": 50,
    "50-59": 60,
    "60-69": 70,
    "70+": np.inf,
}
"""Age bands in completed years, and the age at which each is over."""

MAIN: dict[Labels, str] = {"age": "mae", "group": "excess"}
"""The metric, in years, by which groups are compared."""

FEWEST_FACES = 30
"""A group of fewer faces is scored, but it is never named the best or the worst."""

CONFIDENCE = 0.95
"""The level of the bootstrap interval of every score."""

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric over `n` faces, with the bounds of its bootstrap interval; None where the units are too few."""

    value: float
    interval: tuple[float, float] | None
    n: int


@dataclass(frozen=True, slots=True)
class Score:
    """What is measured on the `n` faces of a set, and why the other faces of that set are not among them."""

    name: str
    n: int
    dropped: Mapping[str, int]
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Gap:
    """The groups with the lowest and the highest main metric, and their difference in years.

    The interval takes the two groups as given; as they were chosen for their scores, it is somewhat too narrow.
    """

    metric: str
    best: str
    worst: str
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Faces:
    """What `score` needs of N faces, one entry a face.

    values: of each metric, NaN where it is not known for a face; their mean is the metric (its root for rmse).
    dropped: why the face is not scored (its values are NaN), "" where it is.
    unit: number of the subject, who is resampled with all his or her faces.
    """

    values: Mapping[str, Floats]
    dropped: NDArray[np.str_]
    unit: NDArray[np.intp]

    def __getitem__(self, rows: NDArray[np.bool_]) -> Faces:
        chosen = {metric: values[rows] for metric, values in self.values.items()}
        return Faces(chosen, self.dropped[rows], self.unit[rows])


def age_values(pred: Floats, interval: Floats, ages: AgeDistribution, true: Floats, std: Floats) -> dict[str, Floats]:
    """One value (N,) a face for each metric of faces whose age is known; `std` is NaN where no annotators' is known."""
    error = errors(pred, true)
    values = {
        "mae": np.abs(error),
        "rmse": error**2,
        "cs5": within(pred, true, 5),
        "bias": error,
        "crps": crps_values(ages, true),
        "nll": log_losses(ages, true),
        "coverage": covered(interval, true),
        "width": interval[:, 1] - interval[:, 0],
    }
    known = ~np.isnan(std)
    if known.any():
        epsilon = np.full(len(pred), np.nan)
        epsilon[known] = epsilon_errors(pred[known], true[known], std[known])
        values["epsilon_error"] = epsilon
    return values


def group_values(pred: Floats, low: Floats, high: Floats) -> dict[str, Floats]:
    """One value (N,) a face for each metric of faces of which only the age group is known."""
    return {"excess": excesses(pred, low, high), "exact_group": inside_group(pred, low, high)}


def bands_of(age: Floats) -> NDArray[np.str_]:
    """The name of each age's band (N,), `unknown` for NaN.

    >>> bands_of(np.array([3.9, 4.0, 69.99, 104.0, np.nan])).tolist()
    ['0-3', '4-9', '60-69', '70+', 'unknown']
    """
    names = np.array([*BANDS, UNKNOWN])
    return names[np.where(np.isnan(age), len(BANDS), np.searchsorted(list(BANDS.values()), age, side="right"))]


def group_names(low: Floats, high: Floats) -> NDArray[np.str_]:
    """The name of each known group of ages (N,), `unknown` for NaN.

    >>> group_names(np.array([0.0, 70.0, np.nan]), np.array([2.0, 100.0, np.nan])).tolist()
    ['0-2', '70+', 'unknown']
    """
    pairs = zip(low.tolist(), high.tolist(), strict=True)
    return np.array([UNKNOWN if a + b != a + b else f"{a:g}+" if b >= 100 else f"{a:g}-{b:g}" for a, b in pairs])


def score(name: str, faces: Faces, resamples: int) -> Score:
    """The metrics of a set of faces, each over the faces for which it is known."""
    metrics = {}
    for metric, values in faces.values.items():
        known = ~np.isnan(values)
        if known.any():
            metrics[metric] = _estimate(metric, values[known], faces.unit[known], resamples)
    scored = faces.dropped == ""
    return Score(name, int(scored.sum()), dict(Counter(faces.dropped[~scored].tolist()).most_common()), metrics)


def score_by(names: NDArray[np.str_], faces: Faces, resamples: int, order: Sequence[str] = ()) -> tuple[Score, ...]:
    """A score for each of the names (N,), in that order, else by name, with the unknown last."""
    rank = {name: number for number, name in enumerate(order)}
    found = sorted(set(names.tolist()), key=lambda name: (name == UNKNOWN, rank.get(name, len(rank)), name))
    return tuple(score(name, faces[names == name], resamples) for name in found)


def gap(scores: Sequence[Score], names: NDArray[np.str_], faces: Faces, labels: Labels, resamples: int) -> Gap | None:
    """The gap between groups already scored; None where fewer than two known ones have FEWEST_FACES faces."""
    metric = MAIN[labels]
    large = [one for one in scores if one.n >= FEWEST_FACES and one.name != UNKNOWN]
    if len(large) < 2:
        return None
    ranked = sorted(large, key=lambda one: one.metrics[metric].value)
    best, worst = ranked[0], ranked[-1]

    def drawn(one: Score, seed: int) -> Floats:
        rows = (names == one.name) & (faces.dropped == "")
        return replicates(faces.values[metric][rows], np.mean, faces.unit[rows], resamples, seed)

    interval = None
    if best.metrics[metric].interval and worst.metrics[metric].interval:
        low, high = np.quantile(drawn(worst, 1) - drawn(best, 0), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        interval = float(low), float(high)
    difference = worst.metrics[metric].value - best.metrics[metric].value
    return Gap(metric, best.name, worst.name, Estimate(difference, interval, best.n + worst.n))


def _estimate(metric: str, values: Floats, unit: NDArray[np.intp], resamples: int) -> Estimate:
    mean, interval = float(values.mean()), bootstrap(values, np.mean, unit, resamples, CONFIDENCE)
    if metric == "rmse":  # the values are squared errors; the root keeps their order, so it may follow the resampling
        mean, interval = mean**0.5, interval and (interval[0] ** 0.5, interval[1] ** 0.5)
    return Estimate(mean, interval, len(values))
