"""Predictions -> calibration: what is found for ages and for groups, and one line for what cannot calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from agewise.ages import SCHEMES, AgeDistribution
from agewise.data.manifest import ManifestError, probs_column, write_manifest
from agewise.evaluation.calibration_fit import fit_calibration, labelled, true_ages

Floats = NDArray[np.float64]


def people(count: int, seed: int = 0) -> tuple[Floats, AgeDistribution]:
    """True ages, and a model that reads the old too young, by 6 years more or less, and claims 4."""
    rng = np.random.default_rng(seed)
    true = rng.gamma(4.0, 10.0, count).clip(3, 95).round()
    mean = np.where(true > 40, 40 + 0.6 * (true - 40), true) + rng.normal(0, 6, count)
    return true, AgeDistribution.gaussian(mean.clip(0, 100), 4.0)


def groups_of(ages: Floats) -> dict[str, Floats]:
    bounds = np.array([max(group for group in SCHEMES["fairface"] if group[0] <= age) for age in ages], dtype=float)
    return {"age_low": bounds[:, 0], "age_high": bounds[:, 1]}


def predictions(path: Path, ages: AgeDistribution, **columns: Any) -> Path:
    errors = columns.pop("error", [None] * len(ages))
    table = {**columns, "age_probs": probs_column(ages), "error": pa.array(errors, pa.string())}
    return write_manifest(pa.table(table), path, {"step": "predict", "manifest": "faces.parquet", "content": "ab" * 32})


def coverage(ages: AgeDistribution, true: Floats, level: float = 0.9) -> float:
    low, high = ages.interval(level).T
    return float(((low <= true) & (true <= high)).mean())


@pytest.mark.parametrize("style", [None, "expected", "response", "mixed"])
def test_intervals_hold_on_new_faces(tmp_path: Path, style: Any) -> None:
    true, ages = people(2000)
    made = fit_calibration(predictions(tmp_path / "p.parquet", ages, age=true), (0.5, 0.9), style)
    fresh_true, fresh = people(2000, seed=1)
    assert coverage(fresh, fresh_true) < 0.75
    assert coverage(made(fresh), fresh_true) == pytest.approx(0.9, abs=0.025)
    assert coverage(made(fresh), fresh_true, 0.5) == pytest.approx(0.5, abs=0.05)
    assert made.origin is not None
    assert (made.origin.faces, made.origin.labels, made.origin.style) == (2000, "ages", style or "")
    assert (made.origin.manifest, made.origin.sha256) == ("faces.parquet", "ab" * 32)
    assert sum(made.origin.faces_by_band) == 2000


def test_the_styles_keep_what_they_promise(tmp_path: Path) -> None:
    true, ages = people(2500)
    path = predictions(tmp_path / "p.parquet", ages, age=true)
    fresh_true, fresh = people(2500, seed=1)
    plain, expected, response = (fit_calibration(path, style=style)(fresh) for style in (None, "expected", "response"))

    def error(found: AgeDistribution) -> float:
        return float(np.sqrt(np.mean((found.mean - fresh_true) ** 2)))

    def bias(found: AgeDistribution) -> float:
        old = fresh_true >= 65
        return float(np.mean((found.mean - fresh_true)[old]))

    assert np.abs(plain.mean - fresh.mean).mean() < 0.5
    assert error(expected) < 0.9 * error(plain)
    assert error(expected) < error(response)
    assert bias(plain) < -8
    assert abs(bias(response)) < 0.35 * abs(bias(plain))


def test_groups_say_nearly_what_ages_say(tmp_path: Path) -> None:
    true, ages = people(2500)
    made = fit_calibration(predictions(tmp_path / "g.parquet", ages, **groups_of(true)), style="expected")
    fresh_true, fresh = people(2500, seed=1)
    assert made.origin is not None
    assert made.origin.labels == "groups"
    assert 0.88 < coverage(made(fresh), fresh_true) < 0.95
    assert np.abs(made(fresh).mean - fresh_true).mean() < np.abs(fresh.mean - fresh_true).mean()


def test_ages_within_a_group_stay_within_it() -> None:
    true, ages = people(600)
    table = pa.table({**groups_of(true), "age": pa.array([40.0] + [None] * 599, pa.float64())})
    rows, known = labelled(table, "faces.parquet")
    assert rows.all()
    assert known.kinds == "ages and groups"
    within = true_ages(ages, known)
    assert (within.probs[known.probs == 0] == 0).all()
    assert within.mean[0] == 40.0
    middle = AgeDistribution(known.probs).mean
    assert np.abs(within.mean - true)[1:].mean() < np.abs(middle - true)[1:].mean()


def test_faces_without_label_or_prediction_do_not_count(tmp_path: Path) -> None:
    true, ages = people(400)
    known = pa.array([age if row < 300 else None for row, age in enumerate(true)], pa.float64())
    path = predictions(tmp_path / "p.parquet", ages, age=known, error=["unreadable"] * 50 + [None] * 350)
    made = fit_calibration(path)
    assert made.origin is not None
    assert made.origin.faces == 250


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (
            {},
            r"faces.parquet: 0 faces of known age or group do not fix a calibration with intervals of 0.9; 100 or more",
        ),
        ({"age": [30.0] * 90 + [None] * 60}, "faces.parquet: 90 faces of known age"),
        ({"age": [30.0] * 150}, "faces.parquet: all 150 labelled faces have the age 30; different ages are needed"),
        ({"age_low": [20.0] * 150, "age_high": [29.0] * 150}, "have the group 20-29; different ages are needed"),
    ],
)
def test_labels_that_do_not_calibrate_are_one_line(tmp_path: Path, columns: dict[str, Any], reason: str) -> None:
    _, ages = people(150)
    with pytest.raises(ManifestError, match=reason):
        fit_calibration(predictions(tmp_path / "p.parquet", ages, **columns))


def test_levels_and_styles_that_cannot_be(tmp_path: Path) -> None:
    true, ages = people(150)
    path = predictions(tmp_path / "p.parquet", ages, age=true)
    with pytest.raises(ValueError, match=r"the levels of the intervals are 1.2; shares between 0 and 1"):
        fit_calibration(path, (1.2,))
    with pytest.raises(ValueError, match="no style 'best' of recalibration; there are expected, response, mixed"):
        fit_calibration(path, style="best")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ManifestError, match=r"with intervals of 0.999; 999 or more are needed"):
        fit_calibration(path, (0.9, 0.999))
    other = write_manifest(pa.table({"age": true}), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match="not a file of predictions"):
        fit_calibration(other)
