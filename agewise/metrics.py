"""Scores of predicted ages: pure functions of arrays in years, one value a face or their mean, and its interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import SupportsFloat

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agewise.ages import AGES, AgeDistribution, checked_ages

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], SupportsFloat]
"""A number said of the values (N,) of N faces."""

LEAST = 1e-12
"""Probabilities below it count as it in `nll`, which would be infinite: 27.6 nats at the most."""

FEWEST = 3
"""Independent units (subjects, or faces) below which no interval is given."""


def mae(pred: ArrayLike, true: ArrayLike) -> float:
    """Mean absolute error in years.

    >>> mae([20, 33], [21, 30])
    2.0
    """
    return float(np.abs(errors(pred, true)).mean())


def rmse(pred: ArrayLike, true: ArrayLike) -> float:
    """Root of the mean squared error in years.

    >>> rmse([20, 37], [21, 30])
    5.0
    """
    return float(np.sqrt((errors(pred, true) ** 2).mean()))


def bias(pred: ArrayLike, true: ArrayLike) -> float:
    """Mean signed error in years: above 0 where faces are judged too old.

    >>> bias([20, 33], [21, 30])
    1.0
    """
    return float(errors(pred, true).mean())


def errors(pred: ArrayLike, true: ArrayLike) -> Floats:
    """Predicted minus true age (N,) in years."""
    predicted, actual = _faces(pred=pred, true=true)
    return predicted - actual


def cumulative_score(pred: ArrayLike, true: ArrayLike, k: float) -> float:
    """Share (0..1) of the faces whose error is at most `k` years, the bound included (CS@k).

    >>> cumulative_score([20, 33, 50], [21, 30, 45], 3)
    0.6666666666666666
    """
    return float(within(pred, true, k).mean())


def within(pred: ArrayLike, true: ArrayLike, k: float) -> Floats:
    """1.0 where the error is at most `k` years, else 0.0 (N,)."""
    if not k >= 0:
        raise ValueError(f"the tolerance k is {k} years; at least 0 is allowed")
    return (np.abs(errors(pred, true)) <= k).astype(np.float64)


def epsilon_error(pred: ArrayLike, mean: ArrayLike, std: ArrayLike) -> float:
    """Mean ChaLearn LAP error, 0 (best) to 1, against the annotators' mean and standard deviation in years.

    Where all annotators agree (std 0) only the exact age scores 0. A face without a prediction, which the challenge
    counts as 1, is not seen here.

    >>> round(epsilon_error([30, 41, 20], [30, 40, 21], [3, 1, 0]), 4)
    0.4645
    """
    return float(epsilon_errors(pred, mean, std).mean())


def epsilon_errors(pred: ArrayLike, mean: ArrayLike, std: ArrayLike) -> Floats:
    """1 - exp(-(pred - mean)^2 / (2 std^2)) a face (N,) (Escalera et al. 2015, ChaLearn Looking at People).

    A 2 std^2 of 0 is replaced by the float32 epsilon, as the released code of the MIVIA group does.
    """
    predicted, centre, width = _faces(pred=pred, mean=mean, std=std)
    if (width < 0).any():
        raise ValueError(f"std of face {int(np.argmin(width))} is {width.min():g}; at least 0 years is allowed")
    spread = 2 * width**2
    return -np.expm1(-((predicted - centre) ** 2) / np.where(spread > 0, spread, np.finfo(np.float32).eps))


def nll(ages: AgeDistribution, true: ArrayLike) -> float:
    """Mean negative log-likelihood in nats, the probability of age k being spread over k +- 0.5 years.

    >>> round(nll(AgeDistribution.of_groups([20], [29]), [25]), 4) == round(float(np.log(10)), 4)
    True
    """
    return float(log_losses(ages, true).mean())


def log_losses(ages: AgeDistribution, true: ArrayLike) -> Floats:
    """Negative log-likelihood a face (N,) in nats; a true age above 100 counts as 100."""
    actual = _on_axis(ages, true)
    nearest = np.minimum(np.floor(actual + 0.5), AGES[-1]).astype(np.intp)
    return -np.log(np.maximum(ages.probs[np.arange(len(ages)), nearest], LEAST))


def crps(ages: AgeDistribution, true: ArrayLike) -> float:
    """Mean continuous ranked probability score in years: the absolute error of a distribution that is one age.

    >>> crps(AgeDistribution.of_ages([20, 33]), [21, 30])
    2.0
    """
    return float(crps_values(ages, true).mean())


def crps_values(ages: AgeDistribution, true: ArrayLike) -> Floats:
    """Integral over the age of (P(age <= x) - [true <= x])^2 a face (N,) in years; a true age above 100 counts as 100.

    Exact, as P is a step function on the axis of ages (Gneiting and Raftery 2007).
    """
    actual = _on_axis(ages, true)
    reached = ages.probs.cumsum(axis=1)[:, :-1]  # P(age <= x) for x in [k, k + 1)
    before = np.clip(actual[:, None] - AGES[:-1], 0.0, 1.0)  # the part of that year that is before the true age
    return (reached**2 * before + (1 - reached) ** 2 * (1 - before)).sum(axis=1)


def coverage(interval: ArrayLike, true: ArrayLike) -> float:
    """Share (0..1) of the faces whose true age is within the interval (N, 2) in years, bounds included.

    >>> coverage([[18, 25], [30, 40]], [25, 41])
    0.5
    """
    return float(covered(interval, true).mean())


def covered(interval: ArrayLike, true: ArrayLike) -> Floats:
    """1.0 where the true age is within low..high, else 0.0 (N,); a true age above 100 counts as 100."""
    bounds = np.asarray(interval, dtype=np.float64)
    if bounds.ndim != 2 or bounds.shape[1] != 2:
        raise ValueError(f"interval has shape {bounds.shape}; (N, 2), low and high in years, is needed")
    low, high, actual = _faces(low=bounds[:, 0], high=bounds[:, 1], true=true)
    years = np.minimum(actual, AGES[-1])
    return ((low <= years) & (years <= high)).astype(np.float64)


def excess(pred: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Mean years by which predictions are outside the known group of a face; 0 inside it.

    A group is written in completed years: 20-29 holds the true ages from 20 up to, but not, 30, so a prediction p is
    max(low - p, p - (high + 1), 0) years outside.

    >>> excess([19, 29.9, 32], [20, 20, 20], [29, 29, 29])
    1.0
    """
    return float(excesses(pred, low, high).mean())


def excesses(pred: ArrayLike, low: ArrayLike, high: ArrayLike) -> Floats:
    """Years outside the group low..high (completed years, as in `excess`) a face (N,)."""
    predicted, first, last = _groups(pred, low, high)
    return np.maximum(np.maximum(first - predicted, predicted - (last + 1)), 0.0)


def exact_group(pred: ArrayLike, low: ArrayLike, high: ArrayLike) -> float:
    """Share (0..1) of the predictions inside the known group, low <= p < high + 1 as in `excess`.

    >>> exact_group([19, 29.9, 30], [20, 20, 20], [29, 29, 29])
    0.3333333333333333
    """
    return float(inside_group(pred, low, high).mean())


def inside_group(pred: ArrayLike, low: ArrayLike, high: ArrayLike) -> Floats:
    """1.0 where the prediction is inside the group low..high (completed years), else 0.0 (N,)."""
    predicted, first, last = _groups(pred, low, high)
    return ((first <= predicted) & (predicted < last + 1)).astype(np.float64)


def bootstrap(
    values: ArrayLike,
    statistic: Statistic = np.mean,
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | None:
    """The percentile interval (low, high) of a statistic of the values (N,) (Efron and Tibshirani 1993).

    `groups` (N,) says whose face each value is: subjects are then drawn with all their faces, which are not
    independent of each other. None below FEWEST subjects, or below FEWEST faces where no groups are given.

    >>> low, high = bootstrap([1.0, 2.0, 3.0, 4.0])
    >>> 1.0 <= low < 2.5 < high <= 4.0
    True
    >>> bootstrap([1.0, 2.0, 3.0], groups=["ann", "ann", "bo"]) is None
    True
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval is {level}; between 0 and 1 is allowed")
    (sample,) = _faces(values=values)
    if _units(sample, groups).max() + 1 < FEWEST:
        return None
    found = replicates(sample, statistic, groups, resamples, seed)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def replicates(
    values: ArrayLike,
    statistic: Statistic = np.mean,
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Floats:
    """The statistic of each resample (R,), drawn with replacement: the same draws for the same units and seed."""
    if resamples < 1:
        raise ValueError(f"the number of resamples is {resamples}; at least 1 is needed")
    (sample,) = _faces(values=values)
    unit = _units(sample, groups)
    sizes = np.bincount(unit)
    sums = np.bincount(unit, weights=sample)
    order, starts = np.argsort(unit, kind="stable"), np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)
    chunk = max(1, 1_000_000 // len(sizes))
    found: list[Floats] = []
    for first in range(0, resamples, chunk):
        drawn = rng.integers(len(sizes), size=(min(chunk, resamples - first), len(sizes)))
        if statistic is np.mean:  # 30 times as fast: no face has to be looked up, only the sum of each unit
            found.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
        else:
            found.append(
                np.array([float(statistic(sample[_faces_of(chosen, sizes, starts, order)])) for chosen in drawn])
            )
    return np.concatenate(found)


def _faces_of(
    chosen: NDArray[np.intp], sizes: NDArray[np.intp], starts: NDArray[np.intp], order: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Indices of all faces of the chosen units, a unit chosen twice with its faces twice."""
    counts = sizes[chosen]
    shift = np.repeat(starts[chosen] - (np.cumsum(counts) - counts), counts)
    return order[shift + np.arange(len(shift))]


def _units(sample: Floats, groups: ArrayLike | None) -> NDArray[np.intp]:
    """The number of the independent unit that each value belongs to (N,)."""
    if groups is None:
        return np.arange(len(sample))
    labels = np.asarray(groups)
    if labels.shape != sample.shape:
        raise ValueError(f"groups has shape {labels.shape} and values {sample.shape}; one a face is needed")
    return np.unique(labels, return_inverse=True)[1]


def _on_axis(ages: AgeDistribution, true: ArrayLike) -> Floats:
    (actual,) = _faces(true=true)
    if len(actual) != len(ages):
        raise ValueError(f"true has {len(actual)} ages and the distribution {len(ages)} faces; one a face is needed")
    return np.minimum(checked_ages(actual), AGES[-1])


def _groups(pred: ArrayLike, low: ArrayLike, high: ArrayLike) -> list[Floats]:
    predicted, first, last = _faces(pred=pred, low=low, high=high)
    if (first > last).any():
        face = int(np.argmax(first > last))
        raise ValueError(f"the group of face {face} has low {first[face]:g} above high {last[face]:g}")
    return [predicted, first, last]


def _faces(**given: ArrayLike) -> list[Floats]:
    """The arrays as floats. Raises ValueError unless each is (N,) with the same N > 0 and all finite."""
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in given.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        said = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"one value a face is needed, all of the same shape (N,); given are {said}")
    for name, array in arrays.items():
        if not array.size:
            raise ValueError(f"{name} is empty; at least one face is needed")
        if not np.isfinite(array).all():
            face = int(np.argmin(np.isfinite(array)))
            raise ValueError(f"{name} of face {face} is {array[face]}; a finite number is needed")
    return list(arrays.values())
