"""Split-conformal widths by band of predicted age (Vovk 2012; Papadopoulos et al. 2002; Romano et al. 2019).

The score of a face is the factor by which its distribution must be dilated about its median for its interval to reach
the true age. In each band the ceil((n + 1) level)-th smallest of n scores is taken. Alone, it would hold for a new face
of that band, drawn as these were, with a probability of at least `level`, whatever the model. The factors are then
blended between the bands' centres, and temperature and map are fitted on the same faces, so the promise is
approximate: where the error changes abruptly between bands, the edge of one may fall short (docs/calibration.md).
None can be made by true age, which nobody knows of a new face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from agewise.ages import AGES, AgeDistribution
from agewise.model.calibration.axis import NARROWEST, Floats, Spread, half_widths
from agewise.model.calibration.temperature import FEWEST

BOUNDS = (2, 4, 7, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85)
"""Predicted ages between bands where there are faces enough; other bands are merged with their neighbours."""
LEAST_WEIGHT = 1e-6
"""Probabilities of a face's age below it are left out."""


@dataclass(frozen=True, slots=True)
class Banded:
    """A spread, the predicted ages between its bands (B - 1,), and how many faces each band has (B,)."""

    spread: Spread
    edges: tuple[float, ...]
    faces: tuple[int, ...]


def fit_spread(ages: AgeDistribution, true: AgeDistribution, levels: tuple[float, ...]) -> Banded:
    """The spread of a model's distributions of faces whose ages are known, for intervals of the levels.

    true: one age a face, or a distribution over the ages that it may have. A face then has a score for each of these
    ages, with its probability for a weight: the promise holds on average over them, as far as they are true.

    Raises ValueError where the faces are too few for a level, or for any.
    """
    checked = checked_levels(levels)
    least = max(FEWEST, max(fewest_faces(level) for level in checked))
    if len(ages) < least:
        raise ValueError(
            f"{len(ages)} labelled faces do not fix intervals of {checked[-1]:g}; {least} or more are needed"
        )
    predicted = ages.mean
    edges = band_edges(predicted, least)
    band = np.searchsorted(edges, predicted, side="right")
    rows = [np.flatnonzero(band == number) for number in range(len(edges) + 1)]
    factors = [_factors(ages[chosen], true[chosen], checked) for chosen in rows]
    centres = tuple(float(predicted[chosen].mean()) for chosen in rows)
    return Banded(Spread(checked, centres, tuple(factors)), edges, tuple(len(chosen) for chosen in rows))


def checked_levels(levels: tuple[float, ...]) -> tuple[float, ...]:
    """Levels in order, each once. Raises ValueError where there is none, or one that is not between 0 and 1."""
    if not levels or not all(0 < level < 1 for level in levels):
        given = ", ".join(f"{level:g}" for level in levels) or "none"
        raise ValueError(f"the levels of the intervals are {given}; shares between 0 and 1 are allowed, such as 0.9")
    return tuple(sorted(set(levels)))


def fewest_faces(level: float) -> int:
    """The faces that a band needs at least, so that one of its scores is the quantile: ceil((n + 1) level) <= n.

    >>> fewest_faces(0.9), fewest_faces(0.95)
    (9, 19)
    """
    return math.ceil(level / (1 - level) - 1e-9)


def band_edges(predicted: Floats, least: int) -> tuple[float, ...]:
    """The BOUNDS that part predicted ages (N,) into bands of `least` faces or more; the rest joins the last."""
    kept: list[float] = []
    for bound in BOUNDS:
        start = kept[-1] if kept else -np.inf
        inside = int(((predicted >= start) & (predicted < bound)).sum())
        if inside >= least and int((predicted >= bound).sum()) >= least:
            kept.append(float(bound))
    return tuple(kept)


def conformal_quantile(scores: Floats, weights: Floats, faces: int, level: float) -> float:
    """The smallest score (K,) that, with all lower ones, weighs ceil((faces + 1) level) or more.

    The weights (K,) of a face add up to 1; with one score a face this is the usual quantile of n scores.

    >>> conformal_quantile(np.arange(1.0, 20.0), np.ones(19), 19, 0.9)
    18.0
    """
    order = np.argsort(scores, kind="stable")
    reached = weights[order].cumsum()
    place = int(np.searchsorted(reached, math.ceil((faces + 1) * level - 1e-9) - 1e-6))
    return float(scores[order][min(place, len(order) - 1)])


def _factors(ages: AgeDistribution, true: AgeDistribution, levels: tuple[float, ...]) -> tuple[float, ...]:
    face, age = np.nonzero(true.probs > LEAST_WEIGHT)
    weights = true.probs[face, age]
    weights = weights / np.bincount(face, weights)[face]
    off = AGES[age] - ages.median[face]
    low, high = half_widths(ages, levels)
    needed = np.where(off[:, None] < 0, -off[:, None] / low[face], off[:, None] / high[face])
    found = [conformal_quantile(needed[:, k], weights, len(ages), level) for k, level in enumerate(levels)]
    return tuple(max(factor, NARROWEST) for factor in found)
