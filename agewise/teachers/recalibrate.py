"""Teachers that read the young too old and the old too young, put right per age.

The teacher's mean age m of a person aged a is modelled as a Gaussian N(h(a), s(a)), h and s piecewise linear in a. Both
are fitted by expectation-maximisation on faces whose age, or only whose age group, is known. Bayes' rule then turns m
into a distribution over a, within the known group where there is one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agewise.ages import AGES, AgeDistribution
from agewise.data.replacing import replacing

KNOTS: NDArray[np.float64] = np.array([0, 4, 8, 12, 16, 20, 25, 30, 40, 50, 60, 70, 80, 100.0])
"""Ages between which h and s are linear."""
STIFFNESS = 1.0
"""Weight, a face, of the squared bends of h and s: groups of ten years alone would let them run in steps."""
NARROWEST = 2.0
"""The least standard deviation of a teacher's answer, in years."""
DIGITS = 6
"""Of a fitted response: more than it is known to, and few enough that sums in another order give the same."""


@dataclass(frozen=True, slots=True)
class Response:
    """How a teacher answers to each age: mean and std (101,) of its estimate in years, and the prior over ages."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    prior: NDArray[np.float64]

    def posterior(self, estimate: NDArray[np.float64], known: NDArray[np.float64] | None = None) -> AgeDistribution:
        """Ages given the teacher's mean (N,), within the `known` distributions (N, 101) where they are given."""
        energy = -0.5 * ((estimate[:, None] - self.mean) / self.std) ** 2 - np.log(self.std)
        with np.errstate(divide="ignore"):
            energy = energy + np.log(self.prior if known is None else self.prior * known + 1e-30 * known)
        return AgeDistribution(np.exp(energy - energy.max(axis=1, keepdims=True)))

    def revised(self, ages: AgeDistribution) -> AgeDistribution:
        """The teacher's ages put right: what its means say."""
        return self.posterior(ages.mean)

    def write(self, path: Path | str) -> None:
        """Saves as JSON, renamed into place when it is complete."""
        values = {"mean": self.mean, "std": self.std, "prior": self.prior}
        rows = {name: [float(v) for v in array] for name, array in values.items()}
        with replacing(path) as partial:
            partial.write_text(json.dumps(rows) + "\n")

    @classmethod
    def read(cls, path: Path | str) -> Response:
        """What `write` saved. Raises ValueError where the file is something else."""
        try:
            values = json.loads(Path(path).read_text())
            arrays = [np.asarray(values[name], dtype=np.float64) for name in ("mean", "std", "prior")]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a recalibration ({error})") from error
        if any(array.shape != AGES.shape or not np.isfinite(array).all() for array in arrays) or arrays[1].min() <= 0:
            raise ValueError(f"{path}: not a recalibration (three rows of {len(AGES)} finite numbers are needed)")
        if arrays[2].min() < 0 or arrays[2].max() == 0:
            raise ValueError(f"{path}: not a recalibration (its prior is no distribution)")
        return cls(*arrays)


def fit_response(estimate: NDArray[np.float64], known: NDArray[np.float64], rounds: int = 60) -> Response:
    """The Response of a teacher whose mean ages (N,) were given to faces of known distributions (N, 101).

    known: one age, an age group (uniform inside) or any distribution a face. The prior is the mean of `known`,
    smoothed, so that a group's mass is not cut at its bounds.
    """
    if len(estimate) < 100:
        raise ValueError(f"{len(estimate)} labelled faces do not fix a recalibration; 100 or more are needed")
    hat = _hats()
    prior = blurred(known.mean(axis=0), 4.0)
    mean, std = AGES.copy(), np.full(len(AGES), 6.0)
    for _ in range(rounds):
        belief = Response(mean, std, prior).posterior(estimate, known).probs
        mass, first = belief.sum(axis=0), belief.T @ estimate
        knots = np.linalg.solve(hat.T @ (mass[:, None] * hat) + _stiffness(STIFFNESS * len(estimate)), hat.T @ first)
        mean = hat @ np.maximum.accumulate(knots)
        second = belief.T @ estimate**2 - 2 * mean * first + mean**2 * mass
        weighed = hat.T @ (mass[:, None] * hat) + _stiffness(STIFFNESS * len(estimate))
        std = np.sqrt(np.maximum(hat @ np.linalg.solve(weighed, hat.T @ second), NARROWEST**2))
    return Response(_cut(mean), _cut(std), _cut(prior))


def _cut(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values to DIGITS digits."""
    return np.array([float(f"{value:.{DIGITS}g}") for value in values])


def _hats() -> NDArray[np.float64]:
    """Interpolation weights (101, knots): hat @ values is linear between the knots."""
    return np.stack([np.interp(AGES, KNOTS, row) for row in np.eye(len(KNOTS))], axis=1)


def _stiffness(strength: float) -> NDArray[np.float64]:
    """Penalty on bends: second differences over uneven knots, in years."""
    rows = []
    for k in range(1, len(KNOTS) - 1):
        left, right = KNOTS[k] - KNOTS[k - 1], KNOTS[k + 1] - KNOTS[k]
        row = np.zeros(len(KNOTS))
        row[k - 1], row[k], row[k + 1] = 1 / left, -1 / left - 1 / right, 1 / right
        rows.append(row)
    bends = np.array(rows)
    return strength * bends.T @ bends + 1e-9 * np.eye(len(KNOTS))


def blurred(probs: NDArray[np.float64], std: float, full_at: float = 0.0) -> NDArray[np.float64]:
    """Distributions (N, 101), or one (101,), blurred along the ages by a Gaussian of `std` years; 0 leaves them.

    full_at: below this age the blur shrinks in proportion, as people's errors do on children.
    """
    if not 0 <= std <= 30:
        raise ValueError(f"the blur is {std:g} years; 0..30 is allowed")
    if std == 0:
        return probs
    widths = std * (np.clip((AGES + 1) / full_at, 0, 1) if full_at else np.ones(len(AGES)))
    kernel = np.exp(-0.5 * ((AGES[:, None] - AGES[None, :]) / widths[:, None]) ** 2)
    return probs @ (kernel / kernel.sum(axis=1, keepdims=True))
