"""Stated intervals of calibrated distributions hold what they state, and their PIT is flat; others show their fault."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from agewise import metrics
from agewise.ages import AgeDistribution
from agewise.evaluation.report.curves import curves_of_groups, risk_of
from agewise.evaluation.report.reliability import BINS, LEVELS, pit_values, reliability
from agewise.evaluation.risk import risk_at

COUNT = 4000


def drawn(stated: float, real: float, shift: float = 0.0) -> tuple[AgeDistribution, np.ndarray]:
    """Distributions around 30 to 60 of a stated standard deviation, and ages that have another one around them."""
    rng = np.random.default_rng(9)
    centre = rng.uniform(30, 60, COUNT)
    return AgeDistribution.gaussian(centre, stated), centre + shift + rng.normal(0, real, COUNT)


def test_calibrated_distributions_hold_what_they_state() -> None:
    ages, true = drawn(5.0, 5.0)
    found = reliability(ages, ages.interval(), true, np.arange(COUNT), 100)
    assert [one.stated for one in found.levels] == list(LEVELS)
    for one in found.levels:
        assert one.coverage.value == pytest.approx(one.stated, abs=0.02)
        assert one.coverage.value == metrics.coverage(ages.interval(one.stated), true)
        low, high = one.coverage.interval
        assert low < one.coverage.value < high
        assert one.width.value == pytest.approx(2 * 5 * stats.norm.ppf((1 + one.stated) / 2), rel=0.02)
    assert found.pit.sum() == COUNT
    assert stats.chisquare(found.pit).pvalue > 0.001


@pytest.mark.parametrize(("stated", "real", "ends"), [(3.0, 6.0, True), (9.0, 3.0, False)], ids=["narrow", "wide"])
def test_the_pit_shows_what_is_wrong(stated, real, ends) -> None:
    ages, true = drawn(stated, real)
    found = reliability(ages, ages.interval(), true, np.arange(COUNT), 10)
    edges, middle = found.pit[[0, -1]].mean(), found.pit[BINS // 2 - 2 : BINS // 2 + 2].mean()
    assert (edges > 2 * middle) == ends
    assert (middle > 2 * edges) != ends
    assert (found.levels[1].coverage.value < 0.7) == ends


def test_people_older_than_predicted_are_on_the_right() -> None:
    found = reliability(*_with(drawn(4.0, 4.0, shift=5.0)), np.arange(COUNT), 10)
    assert found.pit[-1] > 5 * found.pit[0]


def _with(pair: tuple[AgeDistribution, np.ndarray]) -> tuple[AgeDistribution, np.ndarray, np.ndarray]:
    ages, true = pair
    return ages, ages.interval(), true


def test_the_pit_is_the_inverse_of_the_quantile() -> None:
    ages = AgeDistribution.gaussian(np.linspace(10, 80, 50), 6.0)
    for level in (0.05, 0.4, 0.99):
        assert pit_values(ages, ages.quantile(level)) == pytest.approx(np.full(50, level), abs=1e-9)


def test_a_distribution_of_one_age_and_ages_beyond_the_axis() -> None:
    ages = AgeDistribution.of_ages([20.0, 20.0, 20.0, 100.0, 0.0])
    assert pit_values(ages, np.array([20.0, 10.0, 30.0, 115.0, 0.0])).tolist() == [0.5, 0.0, 1.0, 0.5, 0.5]


def test_the_interval_that_is_given_is_the_one_of_its_level() -> None:
    ages, true = drawn(5.0, 5.0)
    wide = np.column_stack([true - 1, true + 1])
    found = reliability(ages, wide, true, np.arange(COUNT), 10)
    assert (found.levels[2].coverage.value, found.levels[2].width.value) == pytest.approx((1.0, 2.0))


def test_the_risk_of_all_is_the_mean_and_falls_where_uncertainty_knows() -> None:
    rng = np.random.default_rng(1)
    std = rng.uniform(1, 10, 500)
    error = abs(rng.normal(0, std))
    found = risk_of(error, std)
    assert [found.kept[1.0], found.risk[-1]] == pytest.approx([error.mean()] * 2)
    assert found.kept[0.5] == risk_at(error, std, 0.5) == pytest.approx(error[np.argsort(std)[:250]].mean())
    assert found.best < found.area < error.mean()
    assert found.coverage[0] == pytest.approx(30 / 500)  # the mean of fewer faces says little
    assert len(found.coverage) <= 200


@pytest.mark.parametrize("count", [1, 2, 40])
def test_equal_uncertainty_tells_nothing(count) -> None:
    error = np.linspace(1, 5, count)
    found = risk_of(error, np.zeros(count))
    assert found.coverage.tolist() == [1.0]
    assert found.risk == pytest.approx([error.mean()])
    assert set(np.round(list(found.kept.values()), 9)) == {round(float(error.mean()), 9)}


def test_groups_have_no_calibration() -> None:
    found = curves_of_groups(np.array([0.0, 2.5, 7.0]), AgeDistribution.gaussian([20.0, 30, 40], 5.0), np.arange(3), 20)
    assert (found.by_year, found.agreement, found.reliability) == (None, None, None)
    assert found.cumulative.share[[0, 2, 3, 7]].tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1])
