"""Confident learning on an axis of ages: thresholds in closed form, a biased teacher, groups, and no opinion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from agewise.ages import AGES, AgeDistribution
from agewise.data.manifest import probs_column
from agewise.teachers.cleaning import disagreement as step
from agewise.teachers.cleaning.disagreement import (
    PRIOR,
    Disagreement,
    Thresholds,
    fit_thresholds,
    joint,
    put_right,
    tails,
)
from agewise.teachers.recalibrate import blurred


def rows(ages: AgeDistribution, **columns: Any) -> pa.Table:
    return pa.table({"age_probs": probs_column(ages), **columns})


def fitted(table: pa.Table) -> Thresholds:
    found = fit_thresholds([table], Disagreement().near)
    assert found is not None
    return found


def dropped(table: pa.Table) -> np.ndarray[Any, Any]:
    rule = Disagreement()
    value, _ = fitted(table).confidence(table)
    return np.where(np.isnan(value), -1.0, rule.gravity(value)) > 0


def test_confidence_is_the_tail_beyond_the_label_on_both_sides() -> None:
    even = AgeDistribution.of_groups([20] * 5, [29] * 5).probs  # a tenth a year
    low, high = np.array([20, 24, 29, 40, 10]), np.array([20, 24, 29, 45, 60])
    np.testing.assert_allclose(tails(even, low, high), [0.2, 1.0, 0.2, 0.0, 1.0], atol=1e-12)


def test_ages_are_moved_to_where_the_teacher_answers_so() -> None:
    answers = np.where(AGES > 50, 50 + 0.5 * (AGES - 50), AGES)
    right = put_right(AgeDistribution.of_ages([30.0, 60.0, 62.5]).probs, answers, 0.0)
    np.testing.assert_allclose(AgeDistribution(right).mean, [30.0, 70.0, 75.0], atol=1e-3)
    np.testing.assert_allclose(right.sum(axis=1), 1.0)
    flat = np.full(101, 40.0)  # a teacher that always says 40: anything may be true, and nothing is lost
    np.testing.assert_allclose(put_right(np.full((1, 101), 1 / 101), flat, 2.0).sum(), 1.0)


def test_a_threshold_is_the_mean_confidence_of_faces_labelled_nearly_so() -> None:
    """120 faces of 20 and 80 of 60, 40 years apart: neither counts for the other's threshold."""
    label = np.repeat([20.0, 60.0], [120, 80])
    rng = np.random.default_rng(0)
    ages = AgeDistribution.gaussian(label + rng.normal(0, 3, 200), np.full(200, 5.0))
    found = fitted(rows(ages, age=label))
    own = tails(put_right(ages.probs, found.answers, found.near), label.astype(int), label.astype(int))
    assert found.ages[20] == pytest.approx((own[:120].sum() + PRIOR * own.mean()) / (120 + PRIOR))
    assert found.ages[60] == pytest.approx((own[120:].sum() + PRIOR * own.mean()) / (80 + PRIOR))
    assert found.ages[100] == pytest.approx(own.mean(), rel=1e-3)  # where nobody is, the mean of all
    assert found.faces == 200


def test_parts_give_what_the_whole_gives() -> None:
    rng = np.random.default_rng(0)
    table = rows(AgeDistribution(rng.random((250, 101))), age=rng.integers(0, 100, 250).astype(float))
    parted = fit_thresholds([table.slice(0, 77), table.slice(77)], Disagreement().near)
    assert parted is not None
    np.testing.assert_allclose(parted.ages, fitted(table).ages, rtol=1e-12)


def test_a_sample_is_drawn_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "SAMPLE", 150)
    label = np.arange(1000.0) % 70
    table = rows(AgeDistribution.gaussian(label, np.full(1000, 4.0)), age=label)
    parts = [table.slice(start, 100) for start in range(0, 1000, 100)]
    drawn = step._sample(parts)
    assert len(drawn) == 150
    assert np.ptp(drawn.low) > 50
    np.testing.assert_array_equal(drawn.probs.argmax(axis=1), drawn.low)  # a face keeps its own
    np.testing.assert_array_equal(step._sample(parts).low, drawn.low)


@pytest.fixture(scope="module")
def biased() -> tuple[AgeDistribution, np.ndarray[Any, Any]]:
    """A teacher that reads the old up to 24 years too young, and the true ages of 4,000 faces."""
    rng = np.random.default_rng(1)
    true = rng.integers(1, 91, 4000).astype(float)
    seen = np.clip(np.where(true > 50, 50 + 0.4 * (true - 50), true) + rng.normal(0, 4, 4000), 0, 100)
    return AgeDistribution.gaussian(seen, np.full(4000, 5.0)), true


def test_a_biased_teacher_does_not_drop_the_old(biased: tuple[AgeDistribution, Any]) -> None:
    ages, true = biased
    hit = dropped(rows(ages, age=true))
    assert hit[true <= 50].mean() < 0.01
    assert hit[true > 70].mean() < 0.02
    assert (np.abs(ages.mean - true) > 15)[true > 80].mean() > 0.9  # a fixed distance would drop them all


def test_planted_errors_are_found(biased: tuple[AgeDistribution, Any]) -> None:
    ages, true = biased
    rng = np.random.default_rng(2)
    label, wrong = true.copy(), rng.permutation(4000)[:400]
    label[wrong] = np.where(true[wrong] < 45, true[wrong] + 30, true[wrong] - 30)
    hit, bad = dropped(rows(ages, age=label)), np.isin(np.arange(4000), wrong)
    assert (hit & bad).sum() / hit.sum() > 0.9
    assert (hit & bad).sum() / bad.sum() > 0.85
    far = bad & (true < 45)
    assert (hit & far).sum() / far.sum() > 0.95


def test_a_year_beside_the_truth_is_no_contradiction() -> None:
    true = np.repeat(np.arange(20.0, 60.0), 10)
    ages = AgeDistribution.of_ages(true)  # a teacher that is never in doubt
    assert not dropped(rows(ages, age=np.clip(true + np.tile([-1.0, 1.0], 200), 0, 100))).any()


def test_groups_have_thresholds_of_their_own() -> None:
    low, high = np.repeat([3.0, 20.0, 70.0], 60), np.repeat([9.0, 29.0, 100.0], 60)
    seen = np.repeat([7.0, 25.0, 75.0], 60) + np.tile(np.linspace(-3, 3, 60), 3)
    seen[0], seen[70] = 60.0, 2.0
    ages = AgeDistribution.gaussian(seen, np.full(180, 4.0))
    table = rows(ages, age_low=low, age_high=high)
    assert np.flatnonzero(dropped(table)).tolist() == [0, 70]
    found = fitted(table)
    right = put_right(ages.probs[60:120], found.answers, found.near)
    inside = tails(right, np.full(60, 20), np.full(60, 29))
    assert found.groups[20, 29] == pytest.approx(inside.mean())
    assert np.isnan(found.groups[3, 10])
    assert np.isnan(found.ages).all()


def test_nothing_is_said_without_a_label_or_a_teacher() -> None:
    label = pa.array([30.0] * 198 + [None, 300.0], pa.float64())
    ages = AgeDistribution.gaussian(np.linspace(26, 34, 200), np.full(200, 4.0))
    probs = pa.array([None, *probs_column(ages).to_pylist()[1:]], pa.list_(pa.float32(), 101))
    table = pa.table({"age_probs": probs, "age": label})
    value, own = fitted(table).confidence(table)
    assert np.flatnonzero(np.isnan(value)).tolist() == [0, 198, 199]
    assert np.flatnonzero(np.isnan(own)).tolist() == [0, 198, 199]
    assert own[100] == pytest.approx(30.0, abs=3)
    empty = table.slice(198)
    assert np.isnan(fitted(table).confidence(empty)[0]).all()


def test_a_teacher_that_knows_nothing_contradicts_nobody() -> None:
    label = np.arange(20.0, 80.0).repeat(5)
    assert not dropped(rows(AgeDistribution(np.ones((300, 101))), age=label)).any()


def test_too_few_faces_have_no_threshold() -> None:
    table = rows(AgeDistribution.of_ages(np.full(99, 30.0)), age=np.full(99, 30.0))
    assert fit_thresholds([table], 3.0) is None
    assert fit_thresholds([], 3.0) is None
    low, high = np.repeat([3.0, 20.0], [19, 100]), np.repeat([9.0, 29.0], [19, 100])
    found = fitted(rows(AgeDistribution.gaussian((low + high) / 2, np.full(119, 3.0)), age_low=low, age_high=high))
    assert np.isnan(found.groups[3, 9])
    assert found.groups[20, 29] > 0


def test_ages_above_the_axis_count_as_its_end() -> None:
    flat = Thresholds(np.full(101, 0.5), np.full((101, 101), np.nan), AGES, 3.0, 100)
    value, own = flat.confidence(rows(AgeDistribution.of_ages([100.0]), age=[116.0]))
    end = blurred(np.eye(101)[100:], 3.0)[0, 100]
    assert value[0] == pytest.approx(min(1.0, 2 * end) / 0.5, rel=1e-3)
    assert own[0] > 95


def test_the_joint_counts_bands() -> None:
    found = joint([5.0, 12.0, 95.0, np.nan, 70.0], [5.0, 33.0, 71.0, 4.0, np.nan])
    assert found.shape == (8, 8)
    assert (found[0, 0], found[1, 3], found[7, 7], found.sum()) == (1, 1, 1, 3)
    assert len(AGES) == 101
