"""Classes of ages, such as Adience's eight: what a distribution says of each, and which one is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agewise.ages import AgeDistribution, nearest_groups
from agewise.metrics import Floats


def class_masses(ages: AgeDistribution, bounds: Sequence[tuple[int, int]]) -> Floats:
    """Probability (N, G) of each class of ages; an age between two classes counts for the nearer, else the younger."""
    return ages.probs @ np.eye(len(bounds))[nearest_groups(bounds)]


def classes_of(low: Floats, high: Floats, bounds: Sequence[tuple[int, int]]) -> NDArray[np.intp]:
    """The class (N,) that holds each known group of ages, -1 where none does."""
    edges = np.array(bounds)
    holds = (edges[:, 0] <= low[:, None]) & (high[:, None] <= edges[:, 1])
    return np.where(holds.any(axis=1), holds.argmax(axis=1), -1)


def classes_away(
    ages: AgeDistribution, actual: NDArray[np.intp], bounds: Sequence[tuple[int, int]]
) -> NDArray[np.intp]:
    """How many classes (N,) the likeliest one is from the actual one."""
    return np.abs(class_masses(ages, bounds).argmax(axis=1) - actual)
