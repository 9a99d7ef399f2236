"""Each metric against a closed form, an independent library or numerical integration."""

from __future__ import annotations

import time

import numpy as np
import properscoring
import pytest
import scipy.stats
import sklearn.metrics

from agewise import metrics
from agewise.ages import AGES, AgeDistribution

PAIRS = {
    "mae": metrics.mae,
    "rmse": metrics.rmse,
    "bias": metrics.bias,
    "cumulative_score": lambda pred, true: metrics.cumulative_score(pred, true, 5),
    "epsilon_error": lambda pred, true: metrics.epsilon_error(pred, true, np.ones(np.shape(true))),
    "excess": lambda pred, true: metrics.excess(pred, true, true),
    "exact_group": lambda pred, true: metrics.exact_group(pred, true, true),
    "coverage": lambda pred, true: metrics.coverage(np.stack([pred, pred], axis=-1), true),
}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def ages(rng: np.random.Generator) -> AgeDistribution:
    return AgeDistribution(rng.dirichlet(np.full(101, 0.2), size=40))


def test_point_errors_equal_sklearn(rng: np.random.Generator) -> None:
    pred, true = rng.uniform(0, 100, 200), rng.uniform(0, 100, 200)
    assert metrics.mae(pred, true) == pytest.approx(sklearn.metrics.mean_absolute_error(true, pred))
    assert metrics.rmse(pred, true) == pytest.approx(sklearn.metrics.root_mean_squared_error(true, pred))
    assert metrics.bias(pred, true) == pytest.approx(pred.mean() - true.mean())


def test_bias_is_positive_for_faces_judged_too_old() -> None:
    assert metrics.bias([30, 30], [20, 28]) == 6.0


def test_integer_labels_do_not_wrap() -> None:
    assert metrics.mae(np.array([10], np.uint8), np.array([20], np.uint8)) == 10.0
    assert metrics.bias(np.array([10], np.uint8), np.array([20], np.uint8)) == -10.0


def test_cumulative_score_counts_the_bound_and_both_sides() -> None:
    pred, true = [20, 20, 20, 20], [15, 25, 26, 20]
    assert metrics.cumulative_score(pred, true, 5) == 0.75
    assert metrics.cumulative_score(pred, true, 4.999) == 0.25
    assert metrics.cumulative_score(pred, true, 0) == 0.25


def test_epsilon_error_is_the_gaussian_shortfall(rng: np.random.Generator) -> None:
    pred, mean, std = rng.uniform(10, 60, 50), rng.uniform(10, 60, 50), rng.uniform(1, 8, 50)
    bell = scipy.stats.norm(mean, std)
    assert metrics.epsilon_error(pred, mean, std) == pytest.approx(np.mean(1 - bell.pdf(pred) / bell.pdf(mean)))


def test_epsilon_error_of_unanimous_annotators_is_zero_only_for_the_exact_age() -> None:
    assert metrics.epsilon_errors([30.0, 30.01, 30.0001], [30, 30, 30], [0, 0, 0]).tolist() == pytest.approx(
        [0.0, 1.0, 1 - np.exp(-1e-8 / np.finfo(np.float32).eps)]
    )


def test_nll_equals_sklearn_log_loss(ages: AgeDistribution, rng: np.random.Generator) -> None:
    true = np.array([rng.choice(101, p=row) for row in ages.probs])
    assert metrics.nll(ages, true) == pytest.approx(sklearn.metrics.log_loss(true, ages.probs, labels=AGES))


def test_nll_takes_the_nearest_year_and_stays_finite() -> None:
    ages = AgeDistribution.of_groups([20] * 4, [21] * 4)
    losses = metrics.log_losses(ages, [19.5, 21.49, 21.5, 40.0])
    never = -np.log(metrics.LEAST)
    assert losses.tolist() == pytest.approx([np.log(2), np.log(2), never, never])


def test_crps_equals_properscoring(ages: AgeDistribution, rng: np.random.Generator) -> None:
    true = rng.uniform(0, 100, len(ages))
    ensemble = np.broadcast_to(AGES, ages.probs.shape)
    theirs = properscoring.crps_ensemble(true, ensemble, weights=ages.probs)
    np.testing.assert_allclose(metrics.crps_values(ages, true), theirs, atol=1e-9)


@pytest.mark.parametrize("true", [0.0, 31.4, 62.0, 100.0])
def test_crps_equals_numerical_integration(ages: AgeDistribution, true: float) -> None:
    step = 1e-3
    x = np.arange(-1, 101, step) + step / 2
    cumulative = np.array([ages.probs[0, value >= AGES].sum() for value in np.arange(-1, 101)])
    reached = cumulative[np.floor(x).astype(int) + 1]
    area = ((reached - (x >= true)) ** 2).sum() * step
    assert metrics.crps(ages[:1], [true]) == pytest.approx(area, abs=2 * step)


def test_crps_of_a_gaussian_is_gneitings_closed_form() -> None:
    discrete = AgeDistribution.gaussian([50.0], [6.0])
    closed = properscoring.crps_gaussian(57.0, 50.0, 6.0)
    assert metrics.crps(discrete, [57.0]) == pytest.approx(closed, abs=0.03)


def test_an_age_above_the_axis_counts_as_its_end() -> None:
    ages = AgeDistribution.of_ages([100.0])
    assert metrics.crps(ages, [112.0]) == 0.0
    assert metrics.nll(ages, [112.0]) == pytest.approx(0.0)
    assert metrics.coverage(np.array([[99.0, 100.0]]), [112.0]) == 1.0


def test_coverage_of_a_true_model_is_its_level(rng: np.random.Generator) -> None:
    mean = rng.uniform(30, 60, 4000)
    ages = AgeDistribution.gaussian(mean, np.full(4000, 6.0))
    true = rng.normal(mean, 6.0)
    assert metrics.coverage(ages.interval(0.9), true) == pytest.approx(0.9, abs=0.015)
    assert metrics.coverage(ages.interval(0.5), true) == pytest.approx(0.5, abs=0.025)


def test_coverage_counts_both_bounds() -> None:
    assert metrics.coverage([[20, 30]] * 4, [20, 30, 19.99, 30.01]) == 0.5


def test_groups_are_completed_years() -> None:
    pred = [18.0, 20.0, 29.999, 30.0, 33.5]
    low, high = np.full(5, 20), np.full(5, 29)
    assert metrics.excesses(pred, low, high).tolist() == pytest.approx([2, 0, 0, 0, 3.5])
    assert metrics.inside_group(pred, low, high).tolist() == [0, 1, 1, 0, 0]
    assert metrics.excess(pred, low, high) == pytest.approx(1.1)
    assert metrics.exact_group(pred, low, high) == pytest.approx(0.4)


@pytest.mark.parametrize("metric", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize(
    ("pred", "true", "said"),
    [
        ([20.0, np.nan], [20.0, 30.0], "face 1 is nan"),
        ([20.0, 30.0], [np.inf, 30.0], "face 0 is inf"),
        ([], [], "is empty"),
        ([20.0], [20.0, 30.0], "same shape"),
        ([[20.0], [21.0]], [[20.0], [21.0]], "same shape|shape"),
    ],
)
def test_bad_input_is_one_clear_line(metric, pred, true, said) -> None:
    with pytest.raises(ValueError, match=said) as error:
        metric(np.array(pred), np.array(true))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("metric", [metrics.nll, metrics.crps])
@pytest.mark.parametrize(
    ("true", "said"),
    [([30.0], "1 ages and the distribution 2"), ([30.0, np.nan], "face 1 is nan"), ([30.0, -1.0], "row 1 has the age")],
)
def test_distribution_metrics_refuse(metric, true, said) -> None:
    with pytest.raises(ValueError, match=said):
        metric(AgeDistribution.of_ages([30.0, 31.0]), true)


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        metrics.cumulative_score([20], [20], -1)
    with pytest.raises(ValueError, match="std of face 1 is -2"):
        metrics.epsilon_error([20, 20], [20, 20], [1, -2])
    with pytest.raises(ValueError, match="low 29 above high 20"):
        metrics.excess([20], [29], [20])
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        metrics.coverage([20, 30], [20, 30])
    with pytest.raises(ValueError, match="level"):
        metrics.bootstrap([1, 2, 3], level=1.0)
    with pytest.raises(ValueError, match="resamples"):
        metrics.bootstrap([1, 2, 3], resamples=0)
    with pytest.raises(ValueError, match="groups has shape"):
        metrics.bootstrap([1, 2, 3], groups=["a"])


def test_bootstrap_equals_scipy(rng: np.random.Generator) -> None:
    values = rng.exponential(4.0, 300)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=1).confidence_interval
    assert metrics.bootstrap(values, resamples=4000) == pytest.approx(tuple(theirs), abs=0.06)


def test_bootstrap_of_a_median_equals_scipy(rng: np.random.Generator) -> None:
    values = rng.exponential(4.0, 300)
    theirs = scipy.stats.bootstrap((values,), np.median, method="percentile", rng=1).confidence_interval
    assert metrics.bootstrap(values, np.median) == pytest.approx(tuple(theirs), abs=0.12)


def test_bootstrap_by_subject_is_as_wide_as_of_subjects(rng: np.random.Generator) -> None:
    person = rng.normal(0, 1, 200)
    groups = np.repeat(np.arange(200), 10)
    values = person[groups]  # ten equal faces a person say no more than one
    low, high = metrics.bootstrap(values, groups=groups)
    alone = metrics.bootstrap(person)
    assert (low, high) == pytest.approx(alone)
    faces = metrics.bootstrap(values)
    assert (high - low) / (faces[1] - faces[0]) == pytest.approx(np.sqrt(10), rel=0.2)


def test_quick_mean_is_the_slow_mean(rng: np.random.Generator) -> None:
    values, groups = rng.normal(size=500), rng.integers(0, 90, 500).astype(str)
    slow = metrics.replicates(values, lambda sample: float(np.mean(sample)), groups, resamples=200)
    np.testing.assert_allclose(metrics.replicates(values, np.mean, groups, resamples=200), slow)


def test_bootstrap_is_repeatable_and_needs_three_units() -> None:
    values = [1.0, 2.0, 5.0, 9.0]
    assert metrics.bootstrap(values, seed=3) == metrics.bootstrap(values, seed=3)
    assert metrics.bootstrap(values, seed=3) != metrics.bootstrap(values, np.var, seed=3)
    assert metrics.bootstrap(values[:2]) is None
    assert metrics.bootstrap(values, groups=[0, 0, 1, 1]) is None
    assert metrics.bootstrap(values, groups=[0, 2, 1, 1]) is not None


def test_bootstrap_of_ten_thousand_faces_is_quick(rng: np.random.Generator) -> None:
    values, groups = rng.normal(size=10_000), rng.integers(0, 4000, 10_000)
    start = time.process_time()
    metrics.bootstrap(values, groups=groups)
    assert time.process_time() - start < 2.0
