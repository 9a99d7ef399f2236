"""Predictions of labelled faces -> a calibration of the model that made them: temperature, map of the ages, widths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import LEVEL, AgeDistribution
from agewise.data.manifest import ManifestError, distributions, metadata, numbers, read_manifest
from agewise.metrics import Floats
from agewise.model.calibration.axis import Warp
from agewise.model.calibration.calibration import Calibration, Origin, tempered
from agewise.model.calibration.conformal import checked_levels, fewest_faces, fit_spread
from agewise.model.calibration.temperature import FEWEST, fit_temperature
from agewise.model.calibration.warp import expected_warp, mixed_warp, response_warp
from agewise.teachers.recalibrate import fit_response

Style = Literal["expected", "response", "mixed"]
"""What a map of the ages aims at: least squared error, no bias at any age, or the one and, for the old, the other."""

LABELS = ("age", "age_low", "age_high")


@dataclass(frozen=True, slots=True)
class Labelled:
    """What is known of N faces: `probs` (N, 101) is one age, or uniform over an age group; `exact` (N,) says which."""

    probs: Floats
    exact: NDArray[np.bool_]

    @property
    def kinds(self) -> str:
        """`ages`, `groups` or `ages and groups`."""
        kinds = {True: "ages", False: "groups"}
        return " and ".join(kinds[kind] for kind in (True, False) if (self.exact == kind).any())


def fit_calibration(
    predictions: Path | str, levels: tuple[float, ...] = (LEVEL,), style: Style | None = None
) -> Calibration:
    """The calibration of a model, by its uncalibrated predictions (`predict_manifest`) of faces of known age or group.

    levels: of the intervals whose widths are set; 0 < level < 1. style: of the map of the ages; None leaves the ages.

    A face of which only the group is known has the ages of that group by Bayes' rule: how the model answers to each age
    is fitted on all faces by expectation-maximisation (`fit_response`), and with it the probability of each age of the
    group given the model's answer. It then has one score for each possible age, so weighted, and the promise of
    the intervals is as good as these probabilities. The worst age of the group would be safe, and the intervals would
    have to hold whole groups; uniform ages widen them by a fifth (docs/calibration.md).

    Raises:
        ManifestError: not such predictions, fewer labelled faces than are needed, or all of one age or group.
        ValueError: a level outside 0..1, or no such style.
    """
    path, wanted = Path(predictions), checked_levels(levels)
    check_style(style)
    said = metadata(path)
    if said.get("step") != "predict":
        raise ManifestError(f"{path}: not a file of predictions; predict_manifest writes one from a manifest")
    table = read_manifest(path, columns=[*LABELS, "age_probs", "error"], need=["age_probs", "error"])
    table = table.filter(table["error"].is_null())
    rows, known = labelled(table, str(said["manifest"]), wanted)
    ages = distributions(table.filter(pa.array(rows)))
    temperature = fit_temperature(ages, known.probs > 0)
    ages = tempered(ages, temperature)
    warp = None if style is None else _warp(ages, known, style)
    if warp is not None:
        ages = warp(ages)
    banded = fit_spread(ages, true_ages(ages, known), wanted)
    origin = Origin(
        str(said["manifest"]), str(said["content"]), len(ages), known.kinds, style or "", banded.edges, banded.faces
    )
    return Calibration(temperature, warp, banded.spread, origin)


def check_style(style: str | None) -> None:
    """Raises ValueError where there is no such style; None is none."""
    if style not in (None, *get_args(Style)):
        raise ValueError(f"no style {style!r} of recalibration; there are {', '.join(get_args(Style))}")


def labelled(table: pa.Table, name: str, levels: tuple[float, ...] = (LEVEL,)) -> tuple[NDArray[np.bool_], Labelled]:
    """Which rows of a manifest called `name` say an age or a group, and what these say.

    Raises ManifestError where they are too few for a calibration, or say all the same.
    """
    age, low, high = (numbers(table, column) for column in LABELS)
    exact = ~np.isnan(age)
    rows = exact | ~np.isnan(low + high)
    needed = max(FEWEST, max(fewest_faces(level) for level in levels))
    if rows.sum() < needed:
        found = f"{int(rows.sum())} faces of known age or group do not fix a calibration"
        raise ManifestError(f"{name}: {found} with intervals of {max(levels):g}; {needed} or more are needed")
    first, last = (np.where(exact, age, bound)[rows] for bound in (low, high))
    if np.ptp(first) == 0 and np.ptp(last) == 0:
        what = f"the age {first[0]:g}" if first[0] == last[0] else f"the group {first[0]:g}-{last[0]:g}"
        raise ManifestError(f"{name}: all {int(rows.sum())} labelled faces have {what}; different ages are needed")
    of_ages, of_groups = AgeDistribution.of_ages(first), AgeDistribution.of_groups(first, last)
    sharp = exact[rows]
    return rows, Labelled(np.where(sharp[:, None], of_ages.probs, of_groups.probs), sharp)


def true_ages(ages: AgeDistribution, known: Labelled) -> AgeDistribution:
    """The ages that faces may have, by what is known of them and, within a group, by how a model answers."""
    if known.exact.all():
        return AgeDistribution(known.probs)
    within = fit_response(ages.mean, known.probs).posterior(ages.mean, known.probs)
    return AgeDistribution(np.where(known.exact[:, None], known.probs, within.probs))


def _warp(ages: AgeDistribution, known: Labelled, style: Style) -> Warp:
    true = true_ages(ages, known).mean
    if style == "expected":
        return expected_warp(ages, true)
    answer = fit_response(ages.mean, known.probs).mean
    return mixed_warp(ages, true, answer) if style == "mixed" else response_warp(answer)
