"""What a report holds, and how its numbers are called and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agewise.ages import LEVEL, Decision
from agewise.evaluation.groups import Estimate, Gap, Labels, Score
from agewise.evaluation.report.curves import Curves
from agewise.evaluation.report.worst_faces import Worst
from agewise.metrics import Floats

AGE = "age"
"""The name of the bands of age among the gaps between groups."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a model scores on a manifest.

    labels: whether ages or only age groups are known. decision: which one age of a distribution is scored.
    audit: what is known of leaks. kinds: faces by kind of age (real, apparent ...), empty where it is not known.
    protocol: its name and hash in words, empty where there is none.
    resampled: what the intervals draw, subjects or faces.
    groups: by column. gaps: by column, and between the bands of AGE. absent: columns asked for that are not there.
    pred, true, band: predicted age, known age (NaN where only a group is known), both in years, and name of the
    band of each scored face (N,).
    curves: what is drawn of the same faces. worst: those with the largest errors.
    """

    model: str
    manifest: str
    sha256: str
    predictions: str
    labels: Labels
    decision: Decision
    audit: str
    kinds: Mapping[str, int]
    protocol: str
    resampled: str
    overall: Score
    bands: tuple[Score, ...]
    groups: Mapping[str, tuple[Score, ...]]
    gaps: Mapping[str, Gap]
    absent: tuple[str, ...]
    pred: Floats
    true: Floats
    band: NDArray[np.str_]
    curves: Curves
    worst: tuple[Worst, ...]

    def parts(self) -> dict[str, tuple[Score, ...]]:
        """The bands of AGE and the groups of each other column."""
        return {AGE: self.bands, **{column: scores for column, scores in self.groups.items() if column != AGE}}


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is shown; `share` is one of 0..1 shown in percent."""

    title: str
    says: str
    share: bool = False


METRICS: dict[str, Metric] = {
    "mae": Metric("MAE", "mean absolute error, years"),
    "rmse": Metric("RMSE", "root of the mean squared error, years"),
    "cs5": Metric("CS@5", "faces with an error of at most 5 years", share=True),
    "bias": Metric("bias", "mean of predicted minus true age, years: above 0 is judged too old"),
    "crps": Metric("CRPS", "continuous ranked probability score of the distribution, years: lower is better"),
    "nll": Metric("NLL", "negative log-likelihood of the true age, nats: lower is better"),
    "coverage": Metric("coverage", f"faces whose true age is inside their {LEVEL:.0%} interval", share=True),
    "width": Metric("width", f"mean width of the {LEVEL:.0%} interval, years"),
    "epsilon_error": Metric("ε-error", "ChaLearn LAP error against the annotators' mean and spread, 0 to 1"),
    "excess": Metric("excess", "mean years by which predictions are outside the face's known age group"),
    "exact_group": Metric("exact group", "predictions inside the face's known age group", share=True),
}


def as_shown(key: str, estimate: Estimate) -> str:
    """A value and its interval: `4.21 [4.05, 4.38]`, a share in percent."""
    scale, digits = (100, 1) if METRICS[key].share else (1, 3 if key == "epsilon_error" else 2)
    value = f"{scale * estimate.value:.{digits}f}{' %' if METRICS[key].share else ''}"
    if estimate.interval is None:
        return value
    return f"{value} [{scale * estimate.interval[0]:.{digits}f}, {scale * estimate.interval[1]:.{digits}f}]"


def counted(counts: Mapping[str, int]) -> str:
    """Names and how many each: `no image in the row (3); no age known (1)`."""
    return "; ".join(f"{name} ({count})" for name, count in counts.items())
