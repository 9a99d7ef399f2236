"""Curves of the error equal their definition, and their bands those of plain resampling."""

from __future__ import annotations

import numpy as np
import pytest

from agewise import metrics
from agewise.evaluation.report.error_curves import BANDWIDTH, MOST_YEARS, by_year, cumulative
from agewise.evaluation.report.resampling import bounds, enough, resampled_sums

COUNT = 400


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    age = rng.integers(0, 90, COUNT).astype(float)
    return rng.normal(age / 30, 4), age, rng.integers(0, 150, COUNT)


def test_resampled_sums_equal_the_bootstrap_of_metrics(faces) -> None:
    error, _, unit = faces
    values = np.column_stack([np.ones(COUNT), error])
    drawn = resampled_sums(values, unit, np.zeros(COUNT, dtype=np.intp), 1, 2000)[:, 0]
    found = bounds(drawn[:, 1:] / drawn[:, :1])
    wanted = metrics.bootstrap(error, groups=unit, resamples=2000, seed=1)
    assert np.ravel(found) == pytest.approx(wanted, abs=0.1 * np.ptp(wanted))


def test_a_subject_is_drawn_with_all_faces() -> None:
    unit = np.array([7, 7, 9, 9, 4])
    drawn = resampled_sums(np.ones((5, 1)), unit, np.array([0, 1, 0, 1, 2]), 3, 50)[:, :, 0]
    assert drawn.shape == (50, 3)
    assert (drawn[:, 0] == drawn[:, 1]).all()  # each of 7 and 9 has one face in either cell
    assert (drawn[:, 0] + drawn[:, 2] == 3).all()
    assert enough(unit)
    assert not enough(unit[:4])


def test_the_cumulative_score_equals_that_of_metrics(faces) -> None:
    error, age, unit = faces
    found = cumulative(error, unit, 300)
    pred = age + error
    wanted = [metrics.cumulative_score(pred, age, k) for k in range(MOST_YEARS + 1)]
    assert found.share.tolist() == pytest.approx(wanted)
    assert (found.low <= found.share).all()
    assert (found.share <= found.high).all()
    low, high = metrics.bootstrap(metrics.within(pred, age, 5), groups=unit)
    assert (found.low[5], found.high[5]) == pytest.approx((low, high), abs=0.02)


def test_an_error_of_exactly_k_counts_at_k() -> None:
    assert cumulative(np.array([0.0, -3.0, 20.0, 20.5]), np.arange(4), 10).share[[0, 2, 3, 19, 20]].tolist() == [
        0.25,
        0.25,
        0.5,
        0.5,
        0.75,
    ]


def test_two_faces_have_a_share_and_no_band() -> None:
    found = cumulative(np.array([1.0, 4.0]), np.arange(2), 10)
    assert found.share[[0, 1, 4]].tolist() == [0.0, 0.5, 1.0]
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()


def test_the_error_by_year_equals_its_definition(faces) -> None:
    error, age, unit = faces
    found = by_year(error, age + 0.7, unit, 200)  # completed years
    assert found.faces.tolist() == np.bincount(age.astype(int), minlength=101).tolist()
    assert found.mae[30] == pytest.approx(abs(error[age == 30]).mean())
    assert np.isnan(found.mae[95])
    near = np.exp(-0.5 * ((30 - age) / BANDWIDTH) ** 2)
    assert found.absolute.value[30] == pytest.approx((near * abs(error)).sum() / near.sum())
    assert found.signed.value[30] == pytest.approx((near * error).sum() / near.sum())
    assert found.signed.low[30] < found.signed.value[30] < found.signed.high[30]
    assert np.isnan(found.signed.value[100])  # too far from any face


def test_a_known_rise_of_the_bias_is_inside_most_of_the_bands() -> None:
    rising, inside = 0.2 * (np.arange(101) + 0.5), []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        age = rng.uniform(10, 60, 2000)
        curve = by_year(0.2 * age + rng.normal(0, 3, 2000), age, np.arange(2000), 150).signed
        inside.append(((curve.low <= rising) & (rising <= curve.high))[15:55].mean())
    assert 0.88 < np.mean(inside) < 0.99


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_all_of_one_age(count) -> None:
    found = by_year(np.full(count, 2.0), np.full(count, 115.0), np.arange(count), 20)
    assert found.faces[100] == count
    assert found.mae[100] == 2.0
    assert np.isnan(found.absolute.value[100]) == (count < 5)
    if count == 30:
        assert (found.absolute.low[100], found.absolute.high[100]) == pytest.approx((2.0, 2.0))
