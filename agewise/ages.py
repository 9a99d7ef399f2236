"""Ages as probability distributions over 0..100 years, the one currency of the package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

AGES: NDArray[np.float64] = np.arange(101, dtype=np.float64)
"""The age axis in years: class k of every distribution is the age k."""

OLDEST = 122.0
"""The greatest age that a label may have; on the axis it counts as 100."""

LEVEL = 0.9
"""The share of probability inside `Age.low`..`Age.high`."""


SCHEMES: dict[str, tuple[tuple[int, int], ...]] = {
    "adience": ((0, 2), (4, 6), (8, 12), (15, 20), (25, 32), (38, 43), (48, 53), (60, 100)),
    "fairface": ((0, 2), (3, 9), (10, 19), (20, 29), (30, 39), (40, 49), (50, 59), (60, 69), (70, 100)),
}
"""Age groups that data sets use as classes: their bounds in years, both included; Adience's have gaps."""

Decision = Literal["mean", "median", "mode"]
"""Which one age is read from a distribution: least squared, least absolute, or least often wrong."""


@dataclass(frozen=True, slots=True)
class Age:
    """What is said of one face, in years: mean, standard deviation and the bounds of the 90 % interval."""

    mean: float
    std: float
    low: float
    high: float


class AgeDistribution:
    """Probabilities (N, 101) over the ages 0..100, one row a face.

    >>> ages = AgeDistribution.gaussian([30.0, 8.0], [4.0, 2.0])
    >>> len(ages), ages.mean.round(1).tolist(), ages.std.round(1).tolist()
    (2, [30.0, 8.0], [4.0, 2.0])
    """

    __slots__ = ("probs",)

    def __init__(self, probs: ArrayLike) -> None:
        """Rows are normalised. Raises ValueError on another shape, a negative or non-finite value, or an empty row."""
        values = np.asarray(probs, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(AGES):
            raise ValueError(f"age probabilities have shape {values.shape}; (N, {len(AGES)}) is needed")
        if not np.isfinite(values).all() or (values < 0).any():
            raise ValueError("age probabilities must be finite and not negative")
        total = values.sum(axis=1, keepdims=True)
        if (total <= 0).any():
            raise ValueError(f"age probabilities of row {int(np.argmin(total))} sum to 0")
        self.probs: NDArray[np.float64] = values / total

    @classmethod
    def of_ages(cls, ages: ArrayLike) -> AgeDistribution:
        """All probability at one age a face; a fractional age is shared between its two neighbours.

        >>> AgeDistribution.of_ages([20.25]).probs[0, 20:22].tolist()
        [0.75, 0.25]
        """
        years = _on_axis(ages)
        return cls(np.maximum(0.0, 1.0 - np.abs(AGES - years[:, None])))

    @classmethod
    def gaussian(cls, mean: ArrayLike, std: ArrayLike) -> AgeDistribution:
        """Discrete Gaussians (Gao et al. 2017); a std below half a year, finer than the axis, is the exact age."""
        centre = _on_axis(mean)
        width = np.broadcast_to(np.asarray(std, dtype=np.float64), centre.shape)
        if not np.isfinite(width).all() or (width < 0).any():
            raise ValueError("a standard deviation of an age must be finite and at least 0 years")
        exact = cls.of_ages(centre).probs
        safe = np.where(width >= 0.5, width, 1.0)[:, None]
        energy = -0.5 * ((AGES - centre[:, None]) / safe) ** 2
        bell = np.exp(energy - energy.max(axis=1, keepdims=True))
        return cls(np.where((width >= 0.5)[:, None], bell, exact))

    @classmethod
    def of_groups(cls, low: ArrayLike, high: ArrayLike) -> AgeDistribution:
        """Uniform over the ages low..high, both included (all that an age group says).

        >>> AgeDistribution.of_groups([3], [9]).mean.tolist()
        [6.0]
        """
        first, last = _on_axis(low), _on_axis(high)
        if (first > last).any():
            raise ValueError("an age group's low bound is above its high bound")
        inside = (np.ceil(first)[:, None] <= AGES) & (np.floor(last)[:, None] >= AGES)
        return cls(np.where(inside.any(axis=1, keepdims=True), inside, cls.of_ages((first + last) / 2).probs))

    @staticmethod
    def concatenate(parts: Sequence[AgeDistribution]) -> AgeDistribution:
        """The faces of several distributions, in order; no part at all is a distribution of no faces."""
        return AgeDistribution(np.concatenate([part.probs for part in parts] or [np.empty((0, len(AGES)))]))

    @property
    def mean(self) -> NDArray[np.float64]:
        """Expected age (N,) in years."""
        return self.probs @ AGES

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation (N,) in years."""
        variance = self.probs @ AGES**2 - self.mean**2
        return np.sqrt(np.maximum(variance, 0.0))

    @property
    def median(self) -> NDArray[np.float64]:
        """Age (N,) with half of the probability below it: the decision with the least expected absolute error."""
        return self.quantile(0.5)

    @property
    def mode(self) -> NDArray[np.float64]:
        """Most probable age (N,)."""
        return AGES[self.probs.argmax(axis=1)]

    def decided(self, rule: Decision) -> NDArray[np.float64]:
        """The age (N,) by a decision rule: `mean`, `median` or `mode`.

        >>> two = AgeDistribution.concatenate([AgeDistribution.of_groups([20], [29]), AgeDistribution.of_ages([80])])
        >>> mixed = AgeDistribution(two.probs.sum(axis=0, keepdims=True))
        >>> [float(mixed.decided(rule).round()[0]) for rule in ("mean", "median", "mode")]
        [52.0, 30.0, 80.0]
        """
        if rule not in ("mean", "median", "mode"):
            raise ValueError(f"no decision rule {rule!r}; there are mean, median, mode")
        return np.asarray(getattr(self, rule), dtype=np.float64)

    def quantile(self, level: float) -> NDArray[np.float64]:
        """Age (N,) below which `level` of the probability lies; the mass of age k is spread over k +- 0.5 years."""
        if not 0.0 <= level <= 1.0:
            raise ValueError(f"a quantile level is {level}; 0..1 is allowed")
        cumulative = np.minimum(self.probs.cumsum(axis=1), 1.0)
        index = np.minimum((cumulative < max(level - 1e-12, 1e-12)).sum(axis=1), len(AGES) - 1)
        row = np.arange(len(self.probs))
        mass = np.maximum(self.probs[row, index], 1e-12)
        share = np.clip((level - (cumulative[row, index] - self.probs[row, index])) / mass, 0.0, 1.0)
        return np.clip(AGES[index] - 0.5 + share, AGES[0], AGES[-1])

    def interval(self, level: float = LEVEL) -> NDArray[np.float64]:
        """Ages (N, 2) with `level` of the probability between them and equal tails outside.

        >>> AgeDistribution.gaussian([40.0], [5.0]).interval(0.9).round(1).tolist()
        [[31.8, 48.2]]
        """
        tail = (1.0 - level) / 2
        return np.stack([self.quantile(tail), self.quantile(1.0 - tail)], axis=1)

    def summary(self) -> list[Age]:
        """One `Age` a face."""
        bounds = self.interval()
        rows = np.column_stack([self.mean, self.std, bounds])
        return [Age(*(float(value) for value in row)) for row in rows]

    def __len__(self) -> int:
        return len(self.probs)

    def __getitem__(self, rows: slice | NDArray[np.intp] | NDArray[np.bool_]) -> AgeDistribution:
        return AgeDistribution(self.probs[rows])

    def __iter__(self) -> Iterator[Age]:
        return iter(self.summary())

    def __repr__(self) -> str:
        return f"AgeDistribution({len(self)} faces)"


class Predictor(Protocol):
    """Anything that maps face crops to ages: a model, a teacher, an ensemble, an ONNX file."""

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        """Ages of uint8 RGB crops (N, H, W, 3) in the standard frame (docs/geometry.md), in order."""
        ...


def nearest_groups(bounds: Sequence[tuple[int, int]]) -> NDArray[np.intp]:
    """The number (101,) of each age's group; between two groups the nearer one's, of two equally near the younger's.

    >>> nearest_groups(SCHEMES["adience"])[[2, 3, 7, 13, 14, 57]].tolist()
    [0, 0, 1, 2, 3, 7]
    """
    edges = np.array(bounds)
    beyond = np.maximum(edges[:, :1] - AGES, AGES - edges[:, 1:])
    return np.maximum(beyond, 0).argmin(axis=0)


def checked_ages(ages: ArrayLike) -> NDArray[np.float64]:
    """Ages (N,) as floats. Raises ValueError naming the first one that is no person's age."""
    years = np.atleast_1d(np.asarray(ages, dtype=np.float64))
    wrong = ~((years >= 0) & (years <= OLDEST))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"row {row} has the age {years[row]:g}; 0..{OLDEST:g} years is allowed")
    return years


def _on_axis(ages: ArrayLike) -> NDArray[np.float64]:
    return np.minimum(checked_ages(ages), AGES[-1])
