"""What a student is to learn of a labelled or annotated face: the whole distribution, or its mean; and how firmly."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from agewise.ages import AGES, AgeDistribution
from agewise.data.settings import Settings

_BLOCK = 1 << 13
"""Rows that are shaped at a time: their distributions are held as float64."""


class TargetSettings(Settings):
    """How a manifest's distributions become targets.

    The spread between a teacher's members says how far it can be trusted: as a weight, a face at `agreement_years`
    counts half, or as a width, the target is blurred by the spread.
    """

    learn: Literal["distribution", "mean"] = Field(
        default="distribution", description="mean: all probability at the mean (Greco et al. 2021)"
    )
    agreement: Literal["none", "weight", "width"] = Field(
        default="none", description="what column agreement does, the spread of a teacher's members"
    )
    agreement_years: float = Field(default=3.0, gt=0, description="weight: spread at which a face counts half")


def shaped(
    targets: NDArray[np.float32],
    spread: NDArray[np.float64],
    settings: TargetSettings,
    group_only: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Targets (N, 101) as the settings want them; spread (N,): agreement in years, NaN where it is not known.

    group_only (N,): targets that are no more than a group's bounds. They stay as they are: the mean of a group is
    nobody's age, and a blurred group rules nothing out.
    """
    if settings.learn == "distribution" and settings.agreement != "width":
        return targets
    made = np.empty_like(targets)
    for start in range(0, len(targets), _BLOCK):
        rows = slice(start, start + _BLOCK)
        ages = AgeDistribution(targets[rows])
        if settings.learn == "mean":
            ages = AgeDistribution.of_ages(ages.mean)
        if settings.agreement == "width":
            ages = widened(ages, np.nan_to_num(spread[rows], nan=0.0))
        made[rows] = ages.probs
    return made if group_only is None else np.where(group_only[:, None], targets, made)


def weights_of(spread: NDArray[np.float64], settings: TargetSettings) -> NDArray[np.float64]:
    """Weights (N,) of the faces: 1 where the members agree or their spread is not known, falling with its square."""
    if settings.agreement != "weight":
        return np.ones(len(spread))
    return 1 / (1 + (np.nan_to_num(spread, nan=0.0) / settings.agreement_years) ** 2)


def widened(ages: AgeDistribution, spread: NDArray[np.float64]) -> AgeDistribution:
    """Distributions blurred by Gaussians of the given std (N,) in years, each age's share normalised on the axis.

    >>> wide = widened(AgeDistribution.gaussian([40.0], [3.0]), np.array([4.0]))
    >>> wide.mean.round(2).tolist(), wide.std.round(2).tolist()
    ([40.0], [5.0])
    """
    last = len(AGES) - 1
    steps = np.arange(-last, last + 1)
    kernel = np.exp(-0.5 * (steps / np.maximum(spread, 1e-3)[:, None]) ** 2)
    upto = np.pad(kernel.cumsum(axis=1), ((0, 0), (1, 0)))
    inside = upto[:, :last:-1] - upto[:, last::-1]  # of each age's kernel: what does not leave the axis
    size = len(steps) + last
    product = np.fft.irfft(np.fft.rfft(ages.probs / inside, size) * np.fft.rfft(kernel, size), size)
    return AgeDistribution(np.maximum(product[:, last : 2 * last + 1], 0.0))
