"""Shares of faces with the interval of each: exact where every face is another person's, else by subjects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agewise.evaluation.groups import CONFIDENCE, FEWEST_FACES
from agewise.metrics import FEWEST, bootstrap

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of `n` faces, None of none, and its interval; None for fewer than metrics.FEWEST subjects."""

    value: float | None
    interval: tuple[float, float] | None
    n: int


def rate(hit: Flags, among: Flags, unit: NDArray[np.intp], resamples: int) -> Rate:
    """The share of hits (N,) among faces (N,): exact where each is another subject's, else subjects are resampled.

    Where all of them agree a resampling would too; the interval is then exact, each subject counting once.
    """
    values, units = hit[among].astype(np.float64), unit[among]
    if not len(values):
        return Rate(None, None, 0)
    value, people = float(values.mean()), len(np.unique(units))
    if people < FEWEST:
        return Rate(value, None, len(values))
    if people == len(values) or value in (0.0, 1.0):
        return Rate(value, exact_interval(round(value * people), people), len(values))
    return Rate(value, bootstrap(values, np.mean, units, resamples, CONFIDENCE), len(values))


def exact_interval(hits: int, n: int, level: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of a share (Clopper and Pearson 1934): it misses the truth in at most 1 - level of all samples.

    >>> [round(bound, 4) for bound in exact_interval(0, 100)]
    [0.0, 0.0362]
    """
    from scipy.special import betaincinv  # an optional dependency, of some weight

    tail = (1 - level) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high


def large(one: Rate) -> bool:
    """Whether a rate is of enough faces to be compared with another's."""
    return one.n >= FEWEST_FACES


def difference(a: Rate, b: Rate) -> tuple[float, tuple[float, float] | None]:
    """The first less the second rate, of other faces, and an interval made of theirs (Zou and Donner 2008)."""
    p, q = a.value or 0.0, b.value or 0.0
    if a.interval is None or b.interval is None:
        return p - q, None
    down = np.hypot(p - a.interval[0], b.interval[1] - q)
    up = np.hypot(a.interval[1] - p, q - b.interval[0])
    return p - q, (float(p - q - down), float(p - q + up))
