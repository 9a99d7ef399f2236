"""Whether stated uncertainty holds: how many ages are inside intervals of several levels, and the PIT histogram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agewise.ages import AGES, LEVEL, AgeDistribution
from agewise.evaluation.groups import CONFIDENCE, Estimate
from agewise.metrics import Floats, bootstrap, covered

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""The stated shares that are looked at."""

BINS = 20


@dataclass(frozen=True, slots=True)
class Level:
    """Of intervals that state to hold a share (0..1): the share that they hold, and their mean width in years."""

    stated: float
    coverage: Estimate
    width: Estimate


@dataclass(frozen=True, slots=True)
class Reliability:
    """The stated levels, and how many faces have a probability integral transform in each twentieth of 0..1 (20,)."""

    levels: tuple[Level, ...]
    pit: NDArray[np.intp]


def reliability(
    ages: AgeDistribution, stored: Floats, true: Floats, unit: NDArray[np.intp], resamples: int
) -> Reliability:
    """Of N faces; stored: the interval (N, 2) in years that is given with each, of the share `agewise.ages.LEVEL`."""
    levels = []
    for stated in LEVELS:
        interval = stored if stated == LEVEL else ages.interval(stated)
        values = covered(interval, true), interval[:, 1] - interval[:, 0]
        found = [
            Estimate(float(one.mean()), bootstrap(one, np.mean, unit, resamples, CONFIDENCE), len(one))
            for one in values
        ]
        levels.append(Level(stated, *found))
    counts, _ = np.histogram(pit_values(ages, true), bins=BINS, range=(0.0, 1.0))
    return Reliability(tuple(levels), counts.astype(np.intp))


def pit_values(ages: AgeDistribution, true: Floats) -> Floats:
    """The probability (N,), 0..1, that each distribution gives to ages below the true one, which may be above 100.

    The mass of age k is spread over k +- 0.5 years, as in `AgeDistribution.quantile`. It is uniform where the
    distributions are calibrated (Dawid 1984): U-shaped where they are too narrow, humped where too wide.

    >>> pit_values(AgeDistribution.of_groups([20], [29]), np.array([24.5])).round(3).tolist()
    [0.5]
    """
    actual = np.minimum(true, AGES[-1])
    nearest = np.minimum(np.floor(actual + 0.5), AGES[-1]).astype(np.intp)
    row = np.arange(len(ages))
    mass = ages.probs[row, nearest]
    below = ages.probs.cumsum(axis=1)[row, nearest] - mass
    return np.clip(below + mass * (actual - (AGES[nearest] - 0.5)), 0.0, 1.0)
