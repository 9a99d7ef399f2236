"""The map of a model's ages to the ages that are meant, fitted on labelled faces: aims that exclude each other.

`expected` makes the mean squared error least: the map whose mapped distributions have means nearest to the true ages of
the faces it is fitted on. Like every regression of the truth on the prediction it shrinks towards the ages that are
frequent there: the very young are still read too old and the very old too young, and another mix of ages wants another
map. `response` undoes what the model does to people of each age instead: it maps the mean answer to people of age a
back to a. No age is then read too old or too young on average, whatever the mix, and the error grows for it.
`mixed` does the former for most and the latter for the old, whom every model that saw few of them reads far too young.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from agewise.ages import AGES, AgeDistribution
from agewise.model.calibration.axis import Floats, Warp

KNOTS: Floats = np.array([0, 4, 8, 12, 16, 20, 25, 30, 40, 50, 60, 70, 80, 100.0])
"""Ages between which the map is linear."""
STIFFNESS = 1.0
"""Weight, a face, of the squared bends of the map in years per year."""
FACES_OF_IDENTITY = 10.0
"""How many faces' worth each knot is held where it is: what no face has seen stays as it was."""
KNEES = (45.0, 60.0)
"""Answers in years between which `mixed_warp` goes from one to the other."""
GENTLEST, STEEPEST = 0.2, 5.0
"""The least and the greatest slope, so that nobody's distribution collapses or is torn apart."""


def expected_warp(ages: AgeDistribution, true: Floats) -> Warp:
    """The rising map whose mapped means are nearest to the true ages (N,): least squares, bends and moves penalised.

    The mean of a mapped distribution is linear in the map's values at the knots, so the fit is exact: non-negative
    least squares on the rises between the knots (Lawson and Hanson 1974).
    """
    hat = np.stack([np.interp(AGES, KNOTS, row) for row in np.eye(len(KNOTS))], axis=1)
    bends = np.sqrt(STIFFNESS * len(ages)) * _bends()
    pull = np.sqrt(FACES_OF_IDENTITY) * np.eye(len(KNOTS))
    matrix = np.concatenate([ages.probs @ hat, pull, bends])
    aim = np.concatenate([true, pull @ KNOTS, np.zeros(len(bends))])
    rises = np.tril(np.ones((len(KNOTS), len(KNOTS))))
    least = np.concatenate([[KNOTS[0]], GENTLEST * np.diff(KNOTS)])
    surplus, _ = nnls(matrix @ rises, aim - matrix @ rises @ least)
    return _warp(rises @ (surplus + least))


def response_warp(answer: Floats) -> Warp:
    """The map that brings a model's mean answers (101,) to people of each age 0..100, in years, back to their ages."""
    rising = np.maximum.accumulate(answer) + 1e-6 * AGES
    back = np.interp(KNOTS, rising, AGES)
    return _warp(back)


def mixed_warp(ages: AgeDistribution, true: Floats, answer: Floats) -> Warp:
    """`expected_warp` before the earlier of KNEES, `response_warp` from the later on, in between both in proportion."""
    young, old = (np.asarray(warp.meant) for warp in (expected_warp(ages, true), response_warp(answer)))
    share = np.clip((KNOTS - KNEES[0]) / (KNEES[1] - KNEES[0]), 0.0, 1.0)
    return _warp(young + share * (old - young))


def _warp(values: Floats) -> Warp:
    """The knots' values with slopes within bounds; from the middle of the axis outwards, where the faces are."""
    middle = len(KNOTS) // 2
    slopes = np.clip(np.diff(values) / np.diff(KNOTS), GENTLEST, STEEPEST) * np.diff(KNOTS)
    rising = np.concatenate([[0.0], slopes.cumsum()])
    return Warp(tuple(KNOTS.tolist()), tuple((rising - rising[middle] + values[middle]).tolist()))


def _bends() -> Floats:
    """Differences of the slopes on both sides of each inner knot (K - 2, K)."""
    slopes = np.diff(np.eye(len(KNOTS)), axis=0) / np.diff(KNOTS)[:, None]
    return np.diff(slopes, axis=0)
