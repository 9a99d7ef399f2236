"""AgeDistribution against closed forms, NumPy and SciPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from agewise.ages import AGES, OLDEST, Age, AgeDistribution, checked_ages

EDGES = np.arange(102) - 0.5
"""The mass of age k lies between k - 0.5 and k + 0.5 years."""


@pytest.fixture
def rough() -> AgeDistribution:
    """Five distributions without any shape."""
    return AgeDistribution(np.random.default_rng(0).gamma(0.3, size=(5, 101)) + 1e-6)


def test_rows_are_normalised() -> None:
    ages = AgeDistribution(np.full((2, 101), 7.0))
    np.testing.assert_allclose(ages.probs, 1 / 101)
    assert ages.mean == pytest.approx([50.0, 50.0])


def test_moments_equal_scipys(rough: AgeDistribution) -> None:
    for row, mean, std in zip(rough.probs, rough.mean, rough.std, strict=True):
        same = stats.rv_discrete(values=(np.arange(101), row))
        assert mean == pytest.approx(same.mean())
        assert std == pytest.approx(same.std())


@pytest.mark.parametrize("level", [0.001, 0.05, 0.25, 0.5, 0.75, 0.95, 0.999])
def test_quantiles_equal_those_of_the_histogram(rough: AgeDistribution, level: float) -> None:
    scipys = [stats.rv_histogram((row, EDGES), density=False).ppf(level) for row in rough.probs]
    numpys = [np.interp(level, np.concatenate([[0.0], row.cumsum()]), EDGES) for row in rough.probs]
    np.testing.assert_allclose(rough.quantile(level), np.clip(scipys, 0, 100), atol=1e-6)
    np.testing.assert_allclose(rough.quantile(level), np.clip(numpys, 0, 100), atol=1e-6)


def test_an_interval_of_all_is_where_there_is_any_probability() -> None:
    assert AgeDistribution.of_groups([30], [40]).interval(1.0).tolist() == [[29.5, 40.5]]


def test_an_interval_holds_its_share_and_equal_tails(rough: AgeDistribution) -> None:
    low, high = rough.interval(0.8).T
    for row, first, last in zip(rough.probs, low, high, strict=True):
        cumulative = np.interp([first, last], EDGES, np.concatenate([[0.0], row.cumsum()]))
        inner = [0.1 if first > 0 else cumulative[0], 0.9 if last < 100 else cumulative[1]]
        np.testing.assert_allclose(cumulative, inner, atol=1e-9)


def test_the_median_is_the_best_guess_under_absolute_error(rough: AgeDistribution) -> None:
    fine = np.linspace(0, 100, 2001)
    for row, median in zip(rough.probs, rough.median, strict=True):
        nodes = (EDGES[:-1, None] + (np.arange(50) + 0.5) / 50).ravel()
        cost = np.abs(nodes - fine[:, None]) @ np.repeat(row / 50, 50)
        assert fine[cost.argmin()] == pytest.approx(median, abs=0.06)


def test_of_ages_keeps_the_mean_of_a_fractional_age() -> None:
    years = np.array([0.0, 0.25, 33.5, 99.9, 100.0])
    ages = AgeDistribution.of_ages(years)
    np.testing.assert_allclose(ages.mean, years)
    np.testing.assert_allclose(ages.std, np.sqrt((years % 1) * (1 - years % 1)), atol=1e-6)
    assert (np.count_nonzero(ages.probs, axis=1) <= 2).all()


def test_ages_beyond_the_axis_count_as_100() -> None:
    assert AgeDistribution.of_ages([OLDEST]).mode.tolist() == [100.0]
    assert AgeDistribution.gaussian([110.0], [3.0]).mode.tolist() == [100.0]


@pytest.mark.parametrize(("mean", "std"), [(50.0, 1.0), (30.3, 2.5), (42.7, 9.0)])
def test_a_gaussian_has_the_mean_and_std_asked_for(mean: float, std: float) -> None:
    ages = AgeDistribution.gaussian([mean], [std])
    density = stats.norm(mean, std).pdf(AGES)
    np.testing.assert_allclose(ages.probs[0], density / density.sum(), atol=1e-12)
    assert ages.mean[0] == pytest.approx(mean, abs=1e-3)
    assert ages.std[0] == pytest.approx(std, abs=1e-3)


def test_a_gaussian_without_spread_is_the_exact_age() -> None:
    np.testing.assert_array_equal(AgeDistribution.gaussian([20.25], 0.0).probs, AgeDistribution.of_ages([20.25]).probs)


def test_a_gaussian_far_below_a_year_wide_does_not_vanish() -> None:
    ages = AgeDistribution.gaussian([30.5, 99.9, 0.0], [0.06, 0.1, 0.2])
    np.testing.assert_allclose(ages.probs.sum(axis=1), 1.0)
    np.testing.assert_allclose(ages.mean, [30.5, 100.0, 0.0], atol=0.51)


@pytest.mark.parametrize(("low", "high"), [(0, 2), (3, 9), (70, 100), (18, 18)])
def test_a_group_is_uniform_over_its_ages(low: int, high: int) -> None:
    ages = AgeDistribution.of_groups([low], [high])
    np.testing.assert_allclose(ages.probs[0], stats.randint(low, high + 1).pmf(np.arange(101)))
    assert ages.mean[0] == pytest.approx((low + high) / 2)
    assert ages.std[0] == pytest.approx(np.sqrt(((high - low + 1) ** 2 - 1) / 12), abs=1e-6)


def test_a_group_narrower_than_a_year_is_its_middle() -> None:
    assert AgeDistribution.of_groups([3.2], [3.8]).mean[0] == pytest.approx(3.5)


def test_the_summary_is_what_the_arrays_say(rough: AgeDistribution) -> None:
    low, high = rough.interval()[3]
    assert rough.summary()[3] == Age(rough.mean[3], rough.std[3], low, high)
    assert list(rough) == rough.summary()
    assert all(age.low <= median <= age.high for age, median in zip(rough, rough.median, strict=True))


def test_rows_are_taken_and_put_together_in_order(rough: AgeDistribution) -> None:
    back = AgeDistribution.concatenate([rough[:2], rough[np.array([2, 3])], rough[np.arange(5) == 4]])
    np.testing.assert_allclose(back.probs, rough.probs)
    assert repr(back) == "AgeDistribution(5 faces)"


def test_no_faces_are_an_empty_distribution_and_not_an_error() -> None:
    none = AgeDistribution.concatenate([])
    assert len(none) == 0
    assert none.summary() == []
    assert none.interval().shape == (0, 2)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: AgeDistribution(np.ones((2, 100))), r"shape \(2, 100\); \(N, 101\) is needed"),
        (lambda: AgeDistribution(np.ones(101)), r"shape \(101,\)"),
        (lambda: AgeDistribution(np.full((1, 101), np.nan)), "finite and not negative"),
        (lambda: AgeDistribution(-np.eye(1, 101)), "finite and not negative"),
        (lambda: AgeDistribution(np.eye(2, 101) * [[1.0], [0.0]]), "row 1 sum to 0"),
        (lambda: AgeDistribution.of_ages([30.0, np.nan]), r"row 1 has the age nan; 0\.\.122 years"),
        (lambda: AgeDistribution.of_ages([300.0]), r"row 0 has the age 300; 0\.\.122 years"),
        (lambda: AgeDistribution.of_ages([-1.0]), "row 0 has the age -1"),
        (lambda: AgeDistribution.gaussian([30.0], [-1.0]), "at least 0 years"),
        (lambda: AgeDistribution.gaussian([30.0], [np.inf]), "finite"),
        (lambda: AgeDistribution.of_groups([9.0], [3.0]), "low bound is above its high bound"),
        (lambda: AgeDistribution.of_ages([30.0]).quantile(1.5), r"level is 1\.5; 0\.\.1 is allowed"),
    ],
)
def test_what_is_no_age_is_refused_in_one_line(make: Callable[[], object], line: str) -> None:
    with pytest.raises(ValueError, match=line) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_checked_ages_takes_one_age_or_many() -> None:
    assert checked_ages(30).tolist() == [30.0]
    assert checked_ages(np.array([1, 2], dtype=np.uint8)).dtype == np.float64
