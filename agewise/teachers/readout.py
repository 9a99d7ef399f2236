"""An ensemble read by its training faces: the age of those whose distributions are alike (Huo et al. 2016, DADL).

The distributions of several networks are averaged. A face's age is then no expectation over the 101 ages but the mean
of the training faces' labels, each weighted by exp(-alpha d2), d2 being the squared distance of the two averaged
distributions: the kernel regression of Nadaraya (1964) and Watson (1964) in the space of distributions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from agewise.ages import AgeDistribution, checked_ages
from agewise.data.manifest import (
    ManifestError,
    distributions,
    metadata,
    numbers,
    probs_column,
    read_manifest,
    write_manifest,
)
from agewise.teachers.layers import read_distributions

Floats = NDArray[np.float64]

ALPHA = 1000.0
"""The kernel's steepness in the authors' code."""
APART = 6.0
"""Years of `mode_spread` from which on the authors' code flags a face; it does nothing with the flag."""
CELLS = 4_000_000
"""Weights (32 MB of them) that are held at a time."""


def kernel_readout(
    train_probs: ArrayLike, train_ages: ArrayLike, test_probs: ArrayLike, alpha: float = ALPHA
) -> Floats:
    """Ages (N,) in years of test faces (N, K) from the labels (T,) of training faces (T, K).

    >>> kernel_readout([[1.0, 0.0], [0.0, 1.0]], [20.0, 60.0], [[0.5, 0.5], [0.0, 1.0]]).tolist()
    [40.0, 60.0]
    """
    ages = checked_ages(train_ages)
    return _weighted(train_probs, ages[:, None], test_probs, alpha)[:, 0]


def kernel_weights(train_probs: ArrayLike, test_probs: ArrayLike, alpha: float = ALPHA) -> Iterator[Floats]:
    """Each training face's share (B, T) in the age of each test face, a block of test faces at a time; rows sum to 1.

    The nearest training face's distance is subtracted first: at alpha 1000 every weight may be below the least float.
    """
    train, test = (np.asarray(probs, dtype=np.float64) for probs in (train_probs, test_probs))
    _check(train, test, alpha)
    lengths = (train**2).sum(axis=1)
    block = max(1, CELLS // len(train))
    for start in range(0, len(test), block):
        part = test[start : start + block]
        energy = part @ train.T  # |a - b|^2 = |a|^2 + |b|^2 - 2 ab, and |a|^2 is the same in all of a row
        energy *= 2
        energy -= lengths
        energy -= energy.max(axis=1, keepdims=True)
        energy *= alpha
        weights = np.exp(energy, out=energy)
        weights /= weights.sum(axis=1, keepdims=True)
        yield weights


def mode_spread(votes: Sequence[AgeDistribution]) -> Floats:
    """Standard deviation (N,) in years of the networks' most probable ages.

    Its variance is divided by their number less 1, as MATLAB's `std` does unless told otherwise; that the authors told
    it nothing is our assumption.

    >>> mode_spread([AgeDistribution.of_ages([30.0, 8.0]), AgeDistribution.of_ages([40.0, 8.0])]).round(2).tolist()
    [7.07, 0.0]
    """
    if len(votes) < 2:
        raise ValueError(f"the spread of {len(votes)} network's ages is not defined; 2 or more are needed")
    return np.asarray(np.std([vote.mode for vote in votes], axis=0, ddof=1), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Bank:
    """The training faces: an ensemble's mean distributions of them, and their labels, each shared by two whole years.

    models: digests of the networks by name, as files of features have them; empty where they are not known.
    """

    seen: AgeDistribution
    labels: AgeDistribution
    alpha: float = ALPHA
    models: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self.seen.probs, self.labels.probs, self.alpha)
        if len(self.labels) != len(self.seen):
            raise ValueError(f"{len(self.labels)} labels for {len(self.seen)} training faces; one each is needed")

    @property
    def ages(self) -> Floats:
        """The labels (T,) in years; above 100 they count as 100."""
        return self.labels.mean

    def read_out(self, given: AgeDistribution) -> AgeDistribution:
        """Ages of faces by the ensemble's distributions: the training labels with their weights.

        Their mean is `kernel_readout`.
        """
        return AgeDistribution(_weighted(self.seen.probs, self.labels.probs, given.probs, self.alpha))

    def write(self, path: Path | str) -> None:
        """Saves as Parquet: columns age and age_probs."""
        table = pa.table({"age": self.ages, "age_probs": probs_column(self.seen)})
        write_manifest(table, path, {"step": "readout", "alpha": self.alpha, "models": dict(self.models)})

    @classmethod
    def read(cls, path: Path | str, alpha: float | None = None) -> Bank:
        """What `write` saved, or any manifest with ages that the ensemble has annotated; rows of no age are left out.

        alpha: none: as the file says, or else ALPHA.
        """
        table = read_manifest(path, need=["age", "age_probs"])
        said = metadata(path)
        known, labels = _labelled(table, numbers(table, "age"), path)
        steep = float(said.get("alpha", ALPHA)) if alpha is None else alpha
        return cls(distributions(table.filter(pa.array(known))), labels, steep, said.get("models", {}))

    @classmethod
    def of_features(cls, path: Path | str, alpha: float = ALPHA) -> Bank:
        """The training faces of a file of features: the label is `age`, or else the mean of soft labels `age_probs`.

        Raises ManifestError where no row has a label.
        """
        table, votes = read_distributions(path)
        ages = numbers(table, "age")
        if "age_probs" in table.column_names:
            soft = np.isnan(ages) & table["age_probs"].is_valid().to_numpy()
            ages[soft] = distributions(table.filter(pa.array(soft))).mean
        known, labels = _labelled(table, ages, path)
        return cls(_mean(votes)[known], labels, alpha, metadata(path)["models"])


def read_out_features(path: Path | str, bank: Bank) -> tuple[AgeDistribution, AgeDistribution, Floats]:
    """Of the faces of a file of features: the networks' mean distributions, their readout, and `mode_spread`.

    The spread is NaN where there is one network. Raises ManifestError where the bank is another ensemble's.
    """
    models = metadata(path).get("models", {})
    _, votes = read_distributions(path)
    if dict(bank.models) != models:
        raise ManifestError(f"{path}: its networks are not those of the bank; write both by the same ones")
    mean = _mean(votes)
    spread = mode_spread(votes) if len(votes) > 1 else np.full(len(mean), np.nan)
    return mean, bank.read_out(mean), spread


def _mean(votes: Sequence[AgeDistribution]) -> AgeDistribution:
    return AgeDistribution(np.mean([vote.probs for vote in votes], axis=0))


def _labelled(table: pa.Table, ages: Floats, path: Path | str) -> tuple[NDArray[np.bool_], AgeDistribution]:
    """Which rows (N,) have a label, and these. Raises ManifestError where there is none."""
    known = ~np.isnan(ages)
    if not known.any():
        raise ManifestError(f"{path}: none of its {len(table)} rows has an age to read out")
    return known, AgeDistribution.of_ages(ages[known])


def _weighted(train: ArrayLike, values: Floats, test: ArrayLike, alpha: float) -> Floats:
    """The mean (N, V) of the training faces' values (T, V), by their weights for each test face."""
    if len(values) != len(np.asarray(train)):
        raise ValueError(f"{len(values)} labels for {len(np.asarray(train))} training faces; one each is needed")
    blocks = [weights @ values for weights in kernel_weights(train, test, alpha)]
    return np.concatenate([np.empty((0, values.shape[1])), *blocks])


def _check(train: Floats, test: Floats, alpha: float) -> None:
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        raise ValueError(f"distributions have shapes {train.shape} and {test.shape}; (T, K) and (N, K) are needed")
    if not len(train):
        raise ValueError("no training face to read out; at least one is needed")
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise ValueError("a distribution holds a value that is no number")
    if not 0 <= alpha < np.inf:
        raise ValueError(f"the kernel's steepness alpha is {alpha:g}; a finite number of at least 0 is needed")
