"""Recalibration: a known response is found again from ages and from age groups, and Bayes' rule is done right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from agewise.ages import AGES, AgeDistribution
from agewise.teachers.recalibrate import Response, blurred, fit_response


def answer(age: NDArray[np.float64]) -> NDArray[np.float64]:
    """A teacher that reads the young too old and the old too young."""
    return np.interp(age, [0, 20, 50, 100], [9, 24, 47, 74])


@pytest.fixture(scope="module")
def simulated() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Whole ages of 12,000 people, most of them around 30, and the teacher's mean age of each."""
    rng = np.random.default_rng(0)
    age = np.round(np.concatenate([rng.uniform(0, 80, 6000), rng.normal(30, 10, 6000).clip(0, 80)]))
    return age, answer(age) + rng.normal(0, 3 + age / 20)


def test_a_response_is_found_from_exact_ages(simulated: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    age, estimate = simulated
    found = fit_response(estimate, AgeDistribution.of_ages(age).probs)
    seen = slice(0, 79)
    assert np.abs(found.mean - answer(AGES))[seen].max() < 1.0
    assert np.abs(found.std - (3 + AGES / 20))[seen].max() < 0.7
    assert (np.diff(found.mean) >= 0).all()
    again = found.posterior(estimate)
    assert abs((again.mean - age).mean()) < 0.3
    raw, fixed = np.abs(estimate - age).mean(), np.abs(again.mean - age).mean()
    assert fixed < raw - 0.5


def test_a_response_is_found_from_groups_of_ten_years(
    simulated: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    age, estimate = simulated
    low = np.floor(age / 10) * 10
    found = fit_response(estimate, AgeDistribution.of_groups(low, low + 9).probs)
    assert np.abs(found.mean - answer(AGES))[3:76].max() < 3.0
    assert np.abs(found.mean - answer(AGES))[3:76].mean() < 1.0
    assert (np.diff(found.mean) >= 0).all()


def test_sums_in_another_order_give_the_same_response(
    simulated: tuple[NDArray[np.float64], NDArray[np.float64]], tmp_path: Path
) -> None:
    """As another number of threads adds up; and what is read back is what was fitted."""
    age, estimate = simulated
    known, order = AgeDistribution.of_ages(age).probs, np.random.default_rng(1).permutation(len(age))
    found, shuffled = fit_response(estimate, known), fit_response(estimate[order], known[order])
    found.write(tmp_path / "r.json")
    for other in (shuffled, Response.read(tmp_path / "r.json")):
        for name in ("mean", "std", "prior"):
            assert np.array_equal(getattr(other, name), getattr(found, name)), name


def test_the_posterior_is_bayes_rule() -> None:
    prior = AgeDistribution.gaussian([35.0], [15.0]).probs[0]
    response = Response(answer(AGES), 3 + AGES / 20, prior)
    given = np.array([20.0, 60.0])
    joint = norm.pdf(given[:, None], response.mean, response.std) * prior
    expected = joint / joint.sum(axis=1, keepdims=True)
    assert response.posterior(given).probs == pytest.approx(expected, abs=1e-12)
    group = AgeDistribution.of_groups([20, 50], [29, 59]).probs
    inside = expected * (group > 0)
    constrained = response.posterior(given, group).probs
    assert constrained == pytest.approx(inside / inside.sum(axis=1, keepdims=True), abs=1e-12)


def test_a_known_group_holds_however_far_off_the_teacher_is() -> None:
    prior = AgeDistribution.of_groups([0], [80]).probs[0]
    response = Response(AGES, np.full(101, 2.0), prior)
    found = response.posterior(np.array([5.0, 100.0, 0.0]), AgeDistribution.of_groups([90, 0, 40], [99, 2, 40]).probs)
    assert found.probs[0, 90:100].sum() == pytest.approx(1.0)
    assert found.probs[1, :3].sum() == pytest.approx(1.0)
    assert found.mode[2] == 40


def test_a_predictor_recalibrated() -> None:
    def half(crops: NDArray[np.uint8]) -> AgeDistribution:
        return AgeDistribution.of_ages(crops[:, 0, 0, 0] / 2)

    flat = Response(AGES / 2, np.full(101, 0.5), np.full(101, 1 / 101))
    crops = np.array([20, 60], np.uint8).reshape(2, 1, 1, 1)
    assert flat.revised(half(crops)).mean == pytest.approx([20.0, 60.0], abs=1e-6)


def test_blurred_ages_spread_less_among_children() -> None:
    sharp = AgeDistribution.of_ages([60.0, 9.0]).probs
    assert np.array_equal(blurred(sharp, 0.0), sharp)
    even = AgeDistribution(blurred(sharp, 3.0))
    assert even.mean == pytest.approx([60.0, 9.0], abs=0.05)
    assert even.std == pytest.approx([3.0, 3.0], abs=0.05)
    grown = AgeDistribution(blurred(sharp, 3.0, full_at=20.0))
    assert grown.std == pytest.approx([3.0, 1.5], abs=0.05)  # 9 is half way to 20, counted from birth
    assert blurred(sharp, 3.0, 20.0).sum(axis=1) == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"the blur is -1 years; 0\.\.30 is allowed"):
        blurred(sharp, -1.0)


def test_too_few_faces() -> None:
    with pytest.raises(ValueError, match="99 labelled faces do not fix a recalibration; 100 or more are needed"):
        fit_response(np.full(99, 30.0), AgeDistribution.of_ages([30.0] * 99).probs)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = Response(answer(AGES), 3 + AGES / 20, AgeDistribution.gaussian([35.0], [15.0]).probs[0])
    path = tmp_path / "new" / "r.json"
    made.write(path)
    read = Response.read(path)
    for name in ("mean", "std", "prior"):
        assert getattr(read, name) == pytest.approx(getattr(made, name), abs=1e-6)
    assert [item.name for item in path.parent.iterdir()] == ["r.json"]


ROW = [1.0] * 101


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1, 2]",
        "3",
        json.dumps({"mean": ROW, "std": ROW}),
        json.dumps({"mean": ROW, "std": ROW, "prior": [1.0] * 100}),
        json.dumps({"mean": ROW, "std": ROW, "prior": ["a"] * 101}),
        json.dumps({"mean": ROW, "std": ROW, "prior": [[1.0], 2.0]}),
        json.dumps({"mean": ROW, "std": [0.0] * 101, "prior": ROW}),
        json.dumps({"mean": [float("nan")] * 101, "std": ROW, "prior": ROW}),
        json.dumps({"mean": ROW, "std": ROW, "prior": [-1.0] * 101}),
        json.dumps({"mean": ROW, "std": ROW, "prior": [0.0] * 101}),
        None,
    ],
)
def test_a_file_of_something_else(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "r.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"r\.json: not a recalibration \([^\n]*$"):
        Response.read(path)
