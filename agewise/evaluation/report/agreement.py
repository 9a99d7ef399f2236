"""How far predicted and known ages agree: their mean difference and its limits (Bland and Altman 1999)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agewise.evaluation.groups import Estimate
from agewise.evaluation.report.resampling import bounds, enough, resampled_sums
from agewise.metrics import Floats

NORMAL = 1.959963984540054
"""Standard deviations on either side of the mean that hold 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Predicted minus known age in years: its mean, and the limits 1.96 standard deviations below and above.

    Were the differences normal, 95 % of them would be between the limits; `inside` is the share (0..1) that is.
    """

    bias: Estimate
    lower: Estimate
    upper: Estimate
    inside: float


def agreement(error: Floats, unit: NDArray[np.intp], resamples: int) -> Agreement:
    """The limits of agreement of the signed errors (N,) in years; those of one face are its error."""
    once = _limits(np.array([[len(error), error.sum(), (error**2).sum()]]))[0]
    intervals: list[tuple[float, float] | None] = [None, None, None]
    if enough(unit):
        values = np.column_stack([np.ones(len(error)), error, error**2])
        drawn = resampled_sums(values, unit, np.zeros(len(error), dtype=np.intp), 1, resamples)[:, 0]
        intervals = [(float(low), float(high)) for low, high in zip(*bounds(_limits(drawn)), strict=True)]
    bias, lower, upper = (
        Estimate(float(value), interval, len(error)) for value, interval in zip(once, intervals, strict=True)
    )
    inside = np.mean((error >= lower.value - 1e-9) & (error <= upper.value + 1e-9))
    return Agreement(bias, lower, upper, float(inside))


def _limits(sums: Floats) -> Floats:
    """Bias, lower and upper limit (R, 3) of (R, 3): number, sum and sum of squares; the deviation is the sample's."""
    count, total, squares = sums.T
    mean = total / count
    std = np.sqrt(np.maximum(squares - count * mean**2, 0) / np.maximum(count - 1, 1))
    return np.stack([mean, mean - NORMAL * std, mean + NORMAL * std], axis=1)
