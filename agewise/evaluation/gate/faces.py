"""What an age gate knows of the faces of a file of predictions: the true age's bounds, the estimate, the odds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import AgeDistribution, Decision
from agewise.data.manifest import ManifestError, distributions, numbers
from agewise.data.sources.labels import sex
from agewise.evaluation.predictions import LABELS
from agewise.evaluation.rates import Flags
from agewise.metrics import Floats


@dataclass(frozen=True, slots=True)
class Faces:
    """What a gate knows of N faces, one entry a face, in years.

    least, most: the true age is in least..most, which are equal where it is known. guess: the decided age. young, old:
    probability below the threshold, and from it on. sex: F, M or "". unit: number of the subject.
    """

    least: Floats
    most: Floats
    guess: Floats
    young: Floats
    old: Floats
    sex: NDArray[np.str_]
    unit: NDArray[np.intp]

    def __getitem__(self, rows: Flags) -> Faces:
        return Faces(*(getattr(self, name)[rows] for name in self.__slots__))

    def aged(self, first: float, over: float = np.inf) -> Flags:
        """Whose true age is surely in first <= age < over (N,)."""
        return (self.least >= first) & (self.most < over)


def why_dropped(path: Path, table: pa.Table) -> NDArray[np.str_]:
    """Why each face is not scored (N,), "" where it is."""
    age, low, high = (numbers(table, name) for name in LABELS if name != "age_std")
    unknown = np.isnan(age) & np.isnan(low + high)
    if unknown.all():
        raise ManifestError(f"{path}: no row has a known age (column age, or age_low and age_high) to score against")
    reasons = np.array([error or "" for error in table["error"].to_pylist()], dtype=object)
    reasons[(reasons == "") & unknown] = "no age known"
    if (reasons != "").all():
        raise ManifestError(f"{path}: none of the {len(table)} faces can be scored: {reasons[0]}")
    return reasons.astype(np.str_)


def read_faces(path: Path, table: pa.Table, threshold: int, decision: Decision) -> Faces:
    """The rows of a file of predictions, all of which can be scored."""
    try:
        ages = distributions(table)
    except ValueError as error:  # neither a prediction nor a reason: another program wrote the file
        raise ManifestError(f"{path}: {error}") from error
    age, low, high = (numbers(table, name) for name in LABELS if name != "age_std")
    known = ~np.isnan(age)
    young, old = sides(ages, threshold)
    subjects = table["subject"].to_pylist() if "subject" in table.column_names else [None] * len(table)
    people = [f"row {row}" if name is None else f"subject {name}" for row, name in enumerate(subjects)]
    sexes = table["sex"].to_pylist() if "sex" in table.column_names else [None] * len(table)
    return Faces(
        least=np.where(known, age, low),
        most=np.where(known, age, np.nextafter(high + 1, 0)),  # completed years: up to, but not, the next birthday
        guess=ages.decided(decision).round(4),  # stored in single precision: 25 may come back as 24.999999
        young=young,
        old=old,
        sex=np.array([sex(str(value)) or "" for value in sexes], dtype=np.str_),
        unit=np.unique(people, return_inverse=True)[1].astype(np.intp),
    )


def sides(ages: AgeDistribution, threshold: int) -> tuple[Floats, Floats]:
    """The probabilities (N,) below the threshold and from it on; class k of a distribution is k completed years."""
    below, above = ages.probs[:, :threshold].sum(axis=1), ages.probs[:, threshold:].sum(axis=1)
    return below.round(6), above.round(6)  # as above: 0.05 may come back as 0.0500000007
