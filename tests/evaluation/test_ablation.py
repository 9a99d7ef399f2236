"""What each part of a teacher adds, by files of predictions that can be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.data.manifest import numbers, read_manifest
from agewise.evaluation.ablation import ablation, predict_steps, steps_of, tables
from agewise.teachers.ensemble import Ensemble

AGES = [float(age) for age in [*range(2, 22), *range(30, 70)]]


class Shifted:
    """Reads the age off the crop's shade (faces_of), and errs by so many years; counts what it is asked."""

    def __init__(self, years: float, oldest: float = 100.0) -> None:
        self.years, self.oldest, self.asked = years, oldest, 0

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        self.asked += len(crops)
        age = (crops.reshape(len(crops), -1).mean(axis=1) - 40) / 1.6
        return AgeDistribution.gaussian(np.clip(age + self.years, 0, self.oldest), np.full(len(crops), 2.0))


@pytest.fixture
def manifest(tmp_path: Path, faces_of: Callable[..., Path]) -> Path:
    return faces_of(tmp_path / "faces.parquet", AGES)


def test_the_steps_are_those_that_the_teacher_has() -> None:
    one = Shifted(0)
    assert steps_of(Ensemble([one, one])) == ("one member", "vote")
    assert steps_of(Ensemble([one, one], views=("original", "mirror"))) == ("one member", "vote", "views")
    assert steps_of(Ensemble([one, one], children=[one])) == ("one member", "vote", "children")


def test_each_step_is_what_the_teacher_says_by_then(manifest: Path, tmp_path: Path) -> None:
    views = ("original", "mirror")
    teacher = Ensemble([Shifted(-6), Shifted(6)], children=[Shifted(0, 12.0)], views=views)
    files = predict_steps(teacher, manifest, tmp_path / "steps", name="toy", batch=7)
    said = {path.stem: numbers(read_manifest(path), "mean") for path in files}
    assert list(said) == ["one-member", "vote", "views", "children"]
    error = {step: said[step] - AGES for step in said}
    assert error["one-member"][20::2].mean() == pytest.approx(-6, abs=0.7)
    assert error["one-member"][21::2].mean() == pytest.approx(6, abs=0.7)
    assert np.abs(error["vote"][20:]).max() < 1.5
    young = said["views"] <= 12
    assert young.any()
    assert (said["children"][young] <= 12).all()
    assert np.allclose(said["children"][~young], said["views"][~young], atol=1e-6)

    found = ablation(files, resamples=100)
    assert next(one.models for one in found) == ("one member of toy", "vote of toy")
    scores, gains = tables(found)
    assert scores[1] == ["age", "faces", "one member", "vote", "views", "children"]
    assert gains[1][2:] == ["+ vote", "+ views", "+ children"]
    assert scores[2][0][0] == "all"
    assert gains[2][0][2].startswith("-")
    assert gains[2][0][2].endswith("better")


def test_a_second_call_asks_nobody(manifest: Path, tmp_path: Path) -> None:
    members = [Shifted(1), Shifted(2)]
    files = predict_steps(Ensemble(members), manifest, tmp_path / "steps", name="toy")
    asked = members[0].asked
    assert predict_steps(Ensemble(members), manifest, tmp_path / "steps", name="toy") == files
    assert members[0].asked == asked > 0
