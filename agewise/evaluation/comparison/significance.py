"""Are methods different? Friedman's test over blocks, and the critical difference of Nemenyi (Demsar 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Ranking:
    """Mean ranks (K,) of the methods over the blocks, 1 the best, and what they must differ by to be told apart.

    statistic, p: of Friedman's test that all methods are alike, in the form of Iman and Davenport (1980).
    critical: the difference of mean ranks above which two methods differ, all pairs considered (Nemenyi 1963).
    """

    names: tuple[str, ...]
    ranks: NDArray[np.float64]
    blocks: int
    statistic: float
    p: float
    critical: float

    def differ(self, one: str, other: str) -> bool:
        """Whether two methods are told apart at the level of the test."""
        first, second = (self.ranks[self.names.index(name)] for name in (one, other))
        return bool(abs(first - second) > self.critical)

    def cliques(self) -> list[tuple[str, ...]]:
        """The longest runs of methods, by rank, that are not told apart."""
        order = np.argsort(self.ranks, kind="stable")
        runs: list[tuple[int, int]] = []
        for start in range(len(order)):
            end = start
            while end + 1 < len(order) and self.ranks[order[end + 1]] - self.ranks[order[start]] <= self.critical:
                end += 1
            if not runs or end > runs[-1][1]:
                runs.append((start, end))
        return [tuple(self.names[index] for index in order[start : end + 1]) for start, end in runs]


def rank(names: Sequence[str], errors: ArrayLike, level: float = 0.05) -> Ranking:
    """Ranks K methods by their errors (B, K), the lower the better, over B blocks of faces that have no face in common.

    Raises ValueError: fewer than 3 methods or 2 blocks, another shape, or an error that is not a number.
    """
    from scipy.stats import f, rankdata, studentized_range

    values = np.asarray(errors, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(names) or not np.isfinite(values).all():
        raise ValueError(f"errors have shape {values.shape}; finite ones of ({len(names)},) methods a block are needed")
    blocks, methods = values.shape
    if methods < 3 or blocks < 2:
        raise ValueError(f"{methods} methods on {blocks} blocks cannot be ranked; 3 and 2 are the least")
    ranks = rankdata(values, axis=1).mean(axis=0)
    scale = 12 * blocks / (methods * (methods + 1))
    friedman = scale * float(((ranks - (methods + 1) / 2) ** 2).sum())
    most = blocks * (methods - 1)
    statistic = float("inf") if friedman >= most else (blocks - 1) * friedman / (most - friedman)
    p = float(f.sf(statistic, methods - 1, (methods - 1) * (blocks - 1)))
    quantile = float(studentized_range.ppf(1 - level, methods, np.inf)) / np.sqrt(2)
    critical = quantile * float(np.sqrt(methods * (methods + 1) / (6 * blocks)))
    return Ranking(tuple(names), ranks, blocks, statistic, p, critical)


def chance(ranking: Ranking) -> float:
    """Friedman's p, but never below the odds that all blocks order the models alike: F is crude for few blocks."""
    return max(ranking.p, factorial(len(ranking.names)) ** float(1 - ranking.blocks))


def apart(ranking: Ranking) -> list[tuple[str, str]]:
    """The pairs that differ by more than the critical difference, the better model first."""
    order = [ranking.names[index] for index in np.argsort(ranking.ranks, kind="stable")]
    return [(one, other) for one, other in combinations(order, 2) if ranking.differ(one, other)]
