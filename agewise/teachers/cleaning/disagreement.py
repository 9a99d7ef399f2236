"""Labels that a teacher contradicts: confident learning (Northcutt, Jiang and Chuang 2021) on an axis of ages.

There a network's probability of the given class is held against its mean over all faces of that class, so that a class
of which it is never sure does not lose all its faces. Ages are not classes, and a teacher reads the old too young, so

- the teacher's distribution is put right first: its ages are moved to those at which it answers so on average (the
  mean of a Response, fitted again without what is in doubt, since errors would pull it to the middle);
- its confidence in a label is the tail beyond it, both sides together, of that distribution: 1 at the median, and small
  only for what lies far from it on the axis. A probability would be small wherever the distribution is wide;
- the threshold of an age is the mean confidence of faces labelled nearly so, and a label is in doubt below a share of
  it: of neighbouring ages one is nearly always below its own.

An age group is a class, with the mean over its own faces; its tail is outside of it. What each step brings is in
benchmarks/clean.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from agewise.ages import AGES, AgeDistribution
from agewise.data.clean_rules import Rule, Values, bounds, impossible
from agewise.data.manifest import distributions, numbers
from agewise.teachers.recalibrate import blurred, fit_response

NEAR_LABEL = 3.0
"""Years, std: the faces whose labels are so near share a threshold."""

PRIOR = 5.0
"""So many faces of the mean confidence are added to each age's: of a single face the threshold would be its own."""

FEWEST = 100
"""Labelled faces without which nothing is fitted."""

FEWEST_OF_GROUP = 20
"""Faces of an age group, below which it has no threshold."""

SAMPLE = 20_000
"""Faces, at random, that the fit is made of: 30 MB, whatever the corpus holds."""

ROUNDS, DOUBTFUL = 3, 0.05
"""How often the teacher's answers are fitted, and the confidence below which a face is left out of the next fit."""

COLUMNS = ("age_probs", "age", "age_low", "age_high")

_LEAST = 1e-9
"""Confidence below which a label cannot be more in doubt; its logarithm stays finite."""


class Disagreement(Rule):
    """Labels that a teacher contradicts; needs column `confidence`, which `clean` makes of `Thresholds.confidence`."""

    needs = (("age_probs", "age"), ("age_probs", "age_low", "age_high"))
    meaning = "A teacher is sure of another age: mostly the label is wrong, sometimes the teacher."
    limits = "confidence below {least:g} of its mean for faces labelled so"
    reads = "confidence {value:.1g} of usual"
    least: float = Field(default=0.1, gt=0, le=1)
    near: float = Field(default=4.0, gt=0, le=20)

    def measure(self, rows: pa.Table) -> Values:
        """The teacher's confidence in the label, as a share of the label's threshold."""
        return numbers(rows, "confidence")

    def gravity(self, values: Values) -> Values:
        """How many times below, as a logarithm."""
        return np.log(self.least) - np.log(np.maximum(values, _LEAST))


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of K faces: the bounds (K,) of the label, whole years on the axis; a teacher's probs (K, 101)."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    probs: NDArray[np.float64]

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Told:
        return Told(self.low[rows], self.high[rows], self.probs[rows])

    def __add__(self, other: Told) -> Told:
        low, high = np.concatenate([self.low, other.low]), np.concatenate([self.high, other.high])
        return Told(low, high, np.concatenate([self.probs, other.probs]))

    def __len__(self) -> int:
        return len(self.low)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Mean confidence of faces that are labelled so, for each age (101,), and each group (101, 101) by its bounds.

    NaN where too few are. answers: the teacher's mean age of people of each age (101,). near: years, std, by which its
    distributions are blurred. faces: how many labels this was made of.
    """

    ages: NDArray[np.float64]
    groups: NDArray[np.float64]
    answers: NDArray[np.float64]
    near: float
    faces: int

    def confidence(self, rows: pa.Table) -> tuple[Values, Values]:
        """The teacher's confidence in each label (N,) over its threshold, and its own age, put right (N,).

        NaN where there is no label, no `age_probs`, or (the first) no threshold.
        """
        value, own = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        known, told = _told(rows)
        if known.any():
            right = put_right(told.probs, self.answers, self.near)
            value[known] = tails(right, told.low, told.high) / self._of(told)
            own[known] = AgeDistribution(right).median
        return value, own

    def _of(self, told: Told) -> NDArray[np.float64]:
        return np.where(told.low == told.high, self.ages[told.low], self.groups[told.low, told.high])


def fit_thresholds(tables: Iterable[pa.Table], near: float) -> Thresholds | None:
    """The thresholds of rows, which come a part at a time; None of fewer than FEWEST labelled faces."""
    told = _sample(tables)
    keep = np.ones(len(told), dtype=bool)
    found = None
    for _ in range(ROUNDS):
        if keep.sum() < FEWEST:
            break
        kept = told[keep]
        known = AgeDistribution.of_groups(kept.low, kept.high).probs
        # with one more face of each age, which the teacher reads right: of ages that nobody has, nothing is made up
        response = fit_response(np.append(kept.probs @ AGES, AGES), np.concatenate([known, np.eye(len(AGES))]))
        confidence = tails(put_right(told.probs, response.mean, near), told.low, told.high)
        found = Thresholds(*_means(told, confidence), response.mean, near, len(told))
        keep = ~(confidence / found._of(told) < DOUBTFUL)
    return found


def put_right(probs: NDArray[np.float64], answers: NDArray[np.float64], near: float) -> NDArray[np.float64]:
    """Distributions (N, 101) whose ages are moved to those at which the teacher `answers` (101,) so, then blurred.

    >>> answers = np.minimum(AGES, 50 + 0.5 * (AGES - 50))  # people of 70 are read as 60
    >>> put_right(np.eye(101)[[60]], answers, 0.0).argmax()
    np.int64(70)
    """
    place = np.interp(AGES, answers + 1e-6 * AGES, AGES)  # of a level stretch, its older end
    below = np.clip(np.floor(place), 0, len(AGES) - 2).astype(np.intp)
    moved, year = np.zeros((len(AGES), len(AGES))), np.arange(len(AGES))
    moved[year, below], moved[year, below + 1] = 1 - (place - below), place - below
    return blurred(probs @ moved, near)


def tails(probs: NDArray[np.float64], low: NDArray[np.intp], high: NDArray[np.intp]) -> NDArray[np.float64]:
    """Confidence (N,) in the ages low..high: twice the probability up to `high`, or from `low` on; 1 at the most."""
    row, reached = np.arange(len(probs)), np.minimum(probs.cumsum(axis=1), 1.0)
    from_low = 1 - reached[row, low] + probs[row, low]
    return np.asarray(np.clip(2 * np.minimum(reached[row, high], from_low), 0.0, 1.0), dtype=np.float64)


def joint(labelled: ArrayLike, own: ArrayLike, width: int = 10, last: int = 70) -> NDArray[np.int64]:
    """Faces by band of the label (rows) and of the teacher's own age: the confident joint of bands, (K, K).

    Bands are `width` years wide up to `last`, which holds all older ones too. Faces with a NaN are left out.
    """
    count = last // width + 1
    pairs = np.column_stack([labelled, own]).astype(np.float64)
    bands = np.minimum(pairs[~np.isnan(pairs).any(axis=1)] // width, count - 1).astype(np.int64)
    found = np.zeros((count, count), dtype=np.int64)
    np.add.at(found, (bands[:, 0], bands[:, 1]), 1)
    return found


def _means(told: Told, confidence: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean confidence by age (101,) and by group (101, 101)."""
    count, exact = len(AGES), told.low == told.high
    ages, groups = np.full(count, np.nan), np.full((count, count), np.nan)
    if exact.any():
        kernel = np.exp(-0.5 * ((AGES[:, None] - AGES) / NEAR_LABEL) ** 2)
        sums = np.bincount(told.low[exact], confidence[exact], count)
        faces = np.bincount(told.low[exact], minlength=count)
        ages = (kernel @ sums + PRIOR * confidence[exact].mean()) / (kernel @ faces + PRIOR)
    pairs, group = np.unique(np.stack([told.low[~exact], told.high[~exact]]), axis=1, return_inverse=True)
    sizes = np.bincount(group, minlength=pairs.shape[1])
    means = np.bincount(group, confidence[~exact], pairs.shape[1]) / np.maximum(sizes, 1)
    groups[pairs[0], pairs[1]] = np.where(sizes >= FEWEST_OF_GROUP, means, np.nan)
    return ages, groups


def _sample(tables: Iterable[pa.Table]) -> Told:
    """Up to SAMPLE faces of which a label and a distribution are known, at random, the same at every call."""
    rng = np.random.default_rng(0)
    lots, held = np.empty(0), Told(np.empty(0, np.intp), np.empty(0, np.intp), np.empty((0, len(AGES))))
    for rows in tables:
        _, told = _told(rows)
        lots = np.concatenate([lots, rng.random(len(told))])
        held = held + told
        if len(held) > SAMPLE:
            drawn = np.sort(np.argpartition(lots, SAMPLE)[:SAMPLE])
            lots, held = lots[drawn], held[drawn]
    return held


def _told(rows: pa.Table) -> tuple[NDArray[np.bool_], Told]:
    """Which rows (N,) have a label that can be and a distribution, and what is told of those."""
    low, high = bounds(rows)
    known = ~np.isnan(low) & ~np.isnan(high) & ~impossible(rows) & rows["age_probs"].is_valid().to_numpy()
    first, last = (np.minimum(np.round(bound[known]), len(AGES) - 1).astype(np.intp) for bound in (low, high))
    return known, Told(first, last, distributions(rows.filter(pa.array(known))).probs)
