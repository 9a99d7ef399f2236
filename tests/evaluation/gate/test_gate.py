"""An age gate's rates equal those counted by hand, know their uncertainty, and say nothing that the labels do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from agewise.ages import AgeDistribution
from agewise.data.manifest import ManifestError, probs_column, write_manifest
from agewise.evaluation.gate.gate import gate
from agewise.evaluation.gate.rule import PASS, REFER, Rule, alpha_within, decide, verdicts
from agewise.evaluation.rates import Rate, difference, exact_interval, rate
from agewise.metrics import bootstrap

Write = Callable[..., Path]
NO_GROUPS: dict[str, Any] = {"groups": (), "resamples": 50}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file of predictions as predict_manifest does; keywords are columns of the manifest."""

    def predictions(ages: AgeDistribution, errors: dict[int, str] | None = None, **columns: Any) -> Path:
        failed = np.isin(np.arange(len(ages)), list(errors or {}))
        interval = ages.interval()
        years = {"mean": ages.mean, "std": ages.std, "low": interval[:, 0], "high": interval[:, 1]}
        probs = pa.FixedSizeListArray.from_arrays(probs_column(ages).flatten(), 101, mask=pa.array(failed))
        table = {
            **columns,
            "row": np.arange(len(ages)),
            "age_probs": probs,
            **{name: pa.array(values, mask=failed) for name, values in years.items()},
            "error": pa.array([(errors or {}).get(row) for row in range(len(ages))], pa.string()),
        }
        said = {"step": "predict", "name": "fake", "manifest": "faces.parquet", "content": "ab" * 32}
        return write_manifest(pa.table(table), tmp_path / "predictions.parquet", said)

    return predictions


@pytest.fixture
def crowd(write: Write) -> tuple[Path, AgeDistribution, np.ndarray, np.ndarray]:
    """600 faces of known age, with the file of their predictions."""
    rng = np.random.default_rng(5)
    true = rng.uniform(0, 60, 600).round(1)
    guess = np.clip(true + rng.normal(0, 5, 600), 0, 95)
    ages = AgeDistribution.gaussian(guess, rng.uniform(1, 7, 600))
    sexes = rng.choice(["F", "M"], 600)
    return write(ages, age=true, sex=sexes), ages, true, sexes


def test_challenge_by_hand(write: Write) -> None:
    true = [3, 14, 17.9, 17, 18, 24, 25, 40]
    path = write(AgeDistribution.of_ages([26, 25, 24.9, 10, 17, 25, 24, 90]), age=true)
    found = gate(path, **NO_GROUPS).overall.rates
    assert (found["fpr"].value, found["fpr"].n) == (2 / 4, 4)
    assert (found["fpr_near"].value, found["fpr_near"].n) == (1 / 3, 3)
    assert (found["tpr"].value, found["tpr"].n) == (2 / 4, 4)
    assert (found["tpr_buffer"].value, found["tpr_buffer"].n) == (1 / 2, 2)


def test_child_online_safety_by_hand(write: Write) -> None:
    true = [7.9, 8, 12.9, 13, 16, 16.9, 17, 22.9, 23]
    path = write(AgeDistribution.of_ages([14, 13, 12, 16.9, 17, 14, 16, 25, 14]), age=true)
    found = gate(path, **NO_GROUPS).overall.rates
    assert [(found[name].value, found[name].n) for name in ("teen_tpr", "child_fpr", "older_fpr")] == [
        (2 / 3, 3),
        (1 / 2, 2),
        (1 / 2, 2),
    ]


def test_every_rate_equals_a_plain_count(crowd) -> None:
    path, ages, true, _ = crowd
    rule = Rule(threshold=21, buffer=28, alpha=0.1, budget=0.3)
    report = gate(path, rule, **NO_GROUPS)

    def share(hit: Callable[[int], bool], among: Callable[[float], bool]) -> float:
        return float(np.mean([hit(face) for face in range(600) if among(true[face])]))

    def young(face: int) -> float:
        return sum(ages.probs[face, age] for age in range(21))

    def minor(age: float) -> bool:
        return age < 21

    def near(age: float) -> bool:
        return 17 <= age < 21

    def adult(age: float) -> bool:
        return age >= 21

    found = report.overall.rates
    assert found["fpr"].value == share(lambda face: ages.mean[face] >= 28, minor)
    assert found["fpr_near"].value == share(lambda face: ages.mean[face] >= 28, near)
    assert found["tpr"].value == share(lambda face: ages.mean[face] >= 28, adult)
    assert found["tpr_buffer"].value == share(lambda face: ages.mean[face] >= 28, lambda age: age >= 28)
    assert found["bound_fpr"].value == share(lambda face: young(face) <= 0.1, minor)
    assert found["bound_fpr_near"].value == share(lambda face: young(face) <= 0.1, near)
    assert found["bound_tpr"].value == share(lambda face: young(face) <= 0.1, adult)
    assert found["bound_refer"].value == share(lambda face: 0.1 < young(face) < 0.9, adult)
    assert found["bound_fail"].value == share(lambda face: young(face) >= 0.9, adult)
    for point in report.curve:
        assert point.rates["fpr"].value == share(lambda face, at=point.at: ages.mean[face] >= at, minor)
    assert [point.at for point in report.curve] == list(range(21, 37))
    alpha = report.budget_alpha
    assert found["budget_fpr"].value == share(lambda face: young(face) <= alpha + 1e-6, minor)
    assert share(lambda face: alpha + 1e-6 < young(face) < 1 - alpha - 1e-6, adult) == pytest.approx(0.3, abs=0.01)


def test_bands_and_years_sum_to_one(crowd) -> None:
    path, _, true, _ = crowd
    report = gate(path, **NO_GROUPS)
    assert [band.name for band in report.bands] == ["0-13", "14-17", "18-24", "25-29", "30+"]
    assert sum(band.shares[PASS].n for band in report.bands) == 600
    assert [year.name for year in report.years] == [str(age) for age in range(10, 31)]
    assert report.years[4].shares[PASS].n == np.sum(np.floor(true) == 14)
    for one in (*report.bands, *report.years):
        assert sum(share.value for share in one.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("alpha", [0.01, 0.2, 0.5])
def test_a_pass_is_a_lower_bound_at_the_threshold(alpha: float) -> None:
    probs = np.random.default_rng(0).dirichlet(np.full(101, 0.02), 300)
    for row, verdict in zip(probs, decide(AgeDistribution(probs), 30, alpha), strict=True):
        lower = int(np.flatnonzero(np.cumsum(row) > alpha)[0])  # P(age < lower) <= alpha: the age is at least this
        upper = int(np.flatnonzero(np.cumsum(row[::-1]) > alpha)[0])
        assert verdict == ("pass" if lower >= 30 else "fail" if 100 - upper < 30 else "refer")


def test_even_odds_never_pass() -> None:
    half = np.array([0.5])
    assert verdicts(half, half, 0.5).tolist() == ["fail"]
    assert verdicts(half, half, 0.49).tolist() == ["refer"]


def test_odds_of_exactly_alpha_decide() -> None:
    twentieth = AgeDistribution.of_groups([17, 17], [36, 36]).probs  # 1/20 below 18
    twentieth[1, :40] = twentieth[1, 39::-1]
    assert decide(AgeDistribution(twentieth), 18, 0.05) == ["pass", "refer"]
    assert decide(AgeDistribution(twentieth), 22, 0.05) == ["refer", "fail"]


def test_alpha_within_is_the_least_that_keeps_the_budget() -> None:
    doubt = np.random.default_rng(1).choice([0.0, 0.1, 0.2, 0.25, 0.4, 0.5], 97)
    for budget in (0.0, 0.1, 0.5, 0.9):
        alpha = alpha_within(budget, doubt)
        assert np.mean(doubt > alpha) <= budget
        for smaller in np.unique(doubt[doubt < alpha]):
            assert np.mean(doubt > smaller) > budget
    assert alpha_within(0.2, np.array([])) is None


def test_budgets_refer_what_they_may(crowd) -> None:
    report = gate(crowd[0], Rule(budget=0.15), **NO_GROUPS)
    assert [point.budget for point in report.budgets] == [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8]
    for point in report.budgets:
        assert point.rates["refer"].value <= point.budget
        assert point.rates["refer"].value > point.budget - 0.01 or point.at == 0.0  # the others are beyond any doubt
    rates = [point.rates["fpr"].value for point in report.budgets]
    assert rates == sorted(rates, reverse=True)


def test_an_estimate_of_exactly_the_buffer_passes_after_single_precision(write: Write) -> None:
    ages = AgeDistribution.gaussian(np.full(40, 25.0), np.linspace(1, 6, 40))
    assert gate(write(ages, age=np.full(40, 30.0)), **NO_GROUPS).overall.rates["tpr"].value == 1.0


@pytest.mark.parametrize(("hits", "n"), [(0, 3), (1, 3), (7, 275), (275, 275), (40, 8100)])
def test_exact_interval_is_that_of_scipy(hits: int, n: int) -> None:
    wanted = binomtest(hits, n).proportion_ci(0.95, method="exact")
    assert exact_interval(hits, n) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_subjects_are_resampled() -> None:
    hit, unit = np.tile([True, False, False], 40), np.repeat(np.arange(30), 4)
    everyone = np.ones(120, np.bool_)
    found = rate(hit, everyone, unit, 200)
    assert found.interval == bootstrap(hit.astype(float), np.mean, unit, 200, 0.95)
    assert rate(hit, everyone, np.arange(120), 200).interval == exact_interval(40, 120)


def test_agreeing_subjects_count_once_each() -> None:
    unit = np.repeat(np.arange(30), 4)
    found = rate(np.zeros(120, np.bool_), np.ones(120, np.bool_), unit, 200)
    assert (found.value, found.interval, found.n) == (0.0, exact_interval(0, 30), 120)


def test_two_faces_have_a_rate_but_no_interval() -> None:
    two = np.array([True, True, False])
    assert rate(two, two, np.arange(3), 50) == Rate(1.0, None, 2)
    assert rate(two, ~np.ones(3, np.bool_), np.arange(3), 50) == Rate(None, None, 0)


def test_difference_of_the_published_example() -> None:
    """Newcombe 1998 (Statistics in Medicine 17), example (a), method 10: 56/70 - 48/80."""

    def wilson(hits: int, n: int) -> Rate:
        bounds = binomtest(hits, n).proportion_ci(0.95, method="wilson")
        return Rate(hits / n, (bounds.low, bounds.high), n)

    value, interval = difference(wilson(56, 70), wilson(48, 80))
    assert value == pytest.approx(0.2)
    assert interval == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference(Rate(0.5, None, 2), wilson(1, 2)) == (0.0, None)


def test_a_group_counts_where_all_of_it_is(write: Write) -> None:
    low, high = [0, 10, 14, 10, 18, 20, 25, None], [9, 17, 17, 19, 24, 29, 100, None]
    path = write(AgeDistribution.of_ages([30.0] * 8), age_low=low, age_high=high)
    report = gate(path, **NO_GROUPS)
    counts = {name: one.n for name, one in report.overall.rates.items()}
    assert (counts["fpr"], counts["fpr_near"], counts["tpr"], counts["tpr_buffer"]) == (3, 1, 3, 1)
    assert (report.overall.n, report.straddling, report.grouped) == (7, 1, 7)
    assert report.dropped == {"no age known": 1}
    assert [band.name for band in report.bands] == ["0-9", "10-17", "10-19", "14-17", "18-24", "20-29", "25+"]
    assert report.overall.nist.error is None


def test_a_group_of_one_year_is_a_group(write: Write) -> None:
    path = write(AgeDistribution.of_ages([30.0] * 6), age_low=[20.0] * 6, age_high=[20.0] * 6, sex=["F"] * 6)
    report = gate(path, **NO_GROUPS)
    assert (report.grouped, report.overall.rates["tpr"].n, report.overall.nist.cells) == (6, 6, 0)


def test_ages_and_groups_together(write: Write) -> None:
    columns = {"age": [17.0, 30.0, None, None], "age_low": [None, None, 10, 60], "age_high": [None, None, 19, 69]}
    report = gate(write(AgeDistribution.of_ages([30.0] * 4), **columns), **NO_GROUPS)
    assert (report.overall.rates["fpr"].n, report.overall.rates["tpr"].n, report.straddling) == (1, 2, 1)


def test_nist_error_weighs_cells_alike(write: Write) -> None:
    true = [18] * 6 + [18.9] * 30 + [30] * 5 + [31] * 9 + [20] * 4
    error = [1] * 6 + [1] * 30 + [7] * 5 + [50] * 9 + [50] * 4
    sexes = ["F"] * 36 + ["male"] * 5 + ["F"] * 9 + ["M"] * 4
    path = write(AgeDistribution.of_ages(np.add(true, error)), age=true, sex=sexes)
    nist = gate(path, **NO_GROUPS).overall.nist
    assert (nist.cells, nist.thin, nist.error.n) == (2, 1, 41)
    assert nist.error.value == pytest.approx((1 + 7) / 2, abs=1e-3)
    assert nist.error.interval == pytest.approx((4, 4), abs=1e-3)  # within a cell, all errors are the same


def test_nist_interval_is_of_subjects(write: Write) -> None:
    rng = np.random.default_rng(2)
    error, subjects = np.repeat(rng.uniform(0, 10, 5), 8), np.repeat(list("abcde"), 8)
    columns = {"age": np.full(40, 20.0), "sex": ["F"] * 40}
    alone = gate(write(AgeDistribution.of_ages(20 + error), **columns), groups=()).overall.nist.error
    shared = gate(write(AgeDistribution.of_ages(20 + error), **columns, subject=subjects), groups=()).overall.nist.error
    assert shared.value == alone.value
    assert np.diff(shared.interval) > 1.5 * np.diff(alone.interval)
    columns["age"][:20] = 22.0
    people = ["a", "b"] * 10 + list("abcde") * 4  # enough of them in one of two cells
    two = gate(write(AgeDistribution.of_ages(20 + error), **columns, subject=people), groups=())
    assert two.overall.nist.error.interval is None
    assert two.overall.nist.cells == 2


def test_the_worst_group_is_named_where_groups_are_large(write: Write) -> None:
    names = ["a"] * 40 + ["b"] * 40 + ["small"] * 10 + [None] * 40
    guess = [30.0] * 10 + [10.0] * 30 + [30.0] * 2 + [10.0] * 38 + [30.0] * 50
    path = write(AgeDistribution.of_ages(guess), age=[15.0] * 130, tribe=names)
    report = gate(path, groups=["tribe", "absent"], resamples=50)
    assert report.absent == ("absent",)
    assert [one.name for one in report.groups["tribe"]] == ["a", "b", "small", "unknown"]
    (near, everyone, bound) = report.gaps["tribe"]
    assert (near.rate, near.worst, near.best, near.difference) == ("fpr_near", "a", "b", pytest.approx(0.2))
    assert near.interval[0] < 0.2 < near.interval[1]
    assert (everyone.rate, bound.rate) == ("fpr", "bound_fpr_near")


def test_a_low_true_positive_rate_is_the_worst(write: Write) -> None:
    guess = [30.0] * 40 + [20.0] * 20 + [30.0] * 20
    path = write(AgeDistribution.of_ages(guess), age=[40.0] * 80, tribe=["a"] * 40 + ["b"] * 40)
    (gap,) = gate(path, groups=["tribe"], resamples=50).gaps["tribe"]  # nobody is referred: no gap of that
    assert (gap.rate, gap.worst, gap.best, gap.difference) == ("tpr", "b", "a", 0.5)


def test_without_minors_the_rest_is_said(write: Write) -> None:
    report = gate(write(AgeDistribution.of_ages([30.0, 20.0, 26.0]), age=[30.0, 30, 40]), **NO_GROUPS)
    assert report.overall.rates["fpr"] == Rate(None, None, 0)
    assert report.overall.rates["tpr"].value == pytest.approx(2 / 3)


def test_without_adults_there_is_no_budget(write: Write) -> None:
    report = gate(write(AgeDistribution.of_ages([30.0, 5.0, 5.0]), age=[3.0, 3, 4]), **NO_GROUPS)
    assert (report.budget_alpha, report.budgets) == (None, ())
    assert "budget_fpr" not in report.overall.rates
    assert report.overall.rates["fpr"].value == pytest.approx(1 / 3)


def test_a_face_without_prediction_is_dropped_with_its_reason(write: Write) -> None:
    ages = AgeDistribution.of_ages([30.0, 30, 30, 30])
    report = gate(write(ages, {1: "not an image file"}, age=[10.0, 10, None, 40]), **NO_GROUPS)
    assert report.dropped == {"not an image file": 1, "no age known": 1}
    assert (report.overall.n, report.overall.rates["fpr"].n) == (2, 1)


@pytest.mark.parametrize("threshold", [1, 99])
def test_the_outermost_thresholds(crowd, threshold: int) -> None:
    report = gate(crowd[0], Rule(threshold=threshold, buffer=99), **NO_GROUPS)
    assert report.overall.rates["fpr" if threshold == 99 else "tpr"].n > 580
    assert report.curve[-1].at <= 100


def test_a_far_buffer_is_on_the_curve(crowd) -> None:
    report = gate(crowd[0], Rule(buffer=50), **NO_GROUPS)
    assert [point.at for point in report.curve] == [*range(18, 34), 50]
    assert report.curve[-1].rates["tpr"] == report.overall.rates["tpr"]
    values = [point.rates["tpr"].value for point in report.curve]
    assert values == sorted(values, reverse=True)


def test_the_median_may_be_the_estimate(write: Write) -> None:
    both = AgeDistribution.of_ages([20.0]).probs * 0.6 + AgeDistribution.of_ages([60.0]).probs * 0.4
    path = write(AgeDistribution(both.repeat(3, axis=0)), age=[16.0] * 3)
    assert gate(path, Rule(), **NO_GROUPS).overall.rates["fpr"].value == 1.0
    assert gate(path, Rule(decision="median"), **NO_GROUPS).overall.rates["fpr"].value == 0.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"threshold": 0}, "the threshold is 0; 1..99 years is allowed"),
        ({"threshold": 100, "buffer": 100}, "the threshold is 100"),
        ({"threshold": 18, "buffer": 17}, r"the buffer is 17; .* 18 \(the threshold\)\.\.100 years"),
        ({"buffer": 101}, "the buffer is 101"),
        ({"alpha": 0.0}, "alpha is 0; above 0 and up to 0.5"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"budget": 1.0}, "the budget is 1; a share from 0 to below 1"),
        ({"decision": "best"}, "no decision rule 'best'"),
    ],
)
def test_a_rule_that_cannot_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rule(**given)


def test_files_that_cannot_be_scored(write: Write, tmp_path: Path) -> None:
    one = AgeDistribution.of_ages([30.0])
    with pytest.raises(ManifestError, match="no row has a known age"):
        gate(write(one, age=pa.array([None], pa.float64())))
    with pytest.raises(ManifestError, match="the age groups of all 1 faces are on both sides of 18"):
        gate(write(one, age_low=[10.0], age_high=[19.0]))
    with pytest.raises(ManifestError, match="none of the 1 faces can be scored: too dark"):
        gate(write(one, {0: "too dark"}, age=[20.0]))
    with pytest.raises(ManifestError, match="column camera has 101 values; a group has at most 100"):
        gate(write(AgeDistribution.of_ages([30.0] * 101), age=[20.0] * 101, camera=range(101)), groups=["camera"])
    plain = write_manifest(pa.table({"age": [20.0]}), tmp_path / "plain.parquet")
    with pytest.raises(ManifestError, match="not a file of predictions"):
        gate(plain)


def test_a_prediction_that_is_no_distribution(write: Write) -> None:
    path = write(AgeDistribution.of_ages([30.0, 40.0]), age=[20.0, 20.0])
    table = pq.read_table(path)
    broken = np.ones(202, np.float32)
    broken[7] = np.nan
    column = pa.FixedSizeListArray.from_arrays(pa.array(broken), 101)
    place = table.column_names.index("age_probs")
    pq.write_table(table.set_column(place, "age_probs", column), path)
    with pytest.raises(ManifestError, match=r"predictions.parquet: age probabilities must be finite"):
        gate(path)


def test_kinds_of_age_are_counted(write: Write) -> None:
    path = write(AgeDistribution.of_ages([30.0] * 3), age=[20.0] * 3, age_kind=["real", "apparent", "real"])
    assert gate(path, **NO_GROUPS).kinds == {"real": 2, "apparent": 1}


def test_verdicts_of_a_crowd_are_the_shares(crowd) -> None:
    path, ages, true, sexes = crowd
    report = gate(path, groups=["sex"], resamples=50)
    women = (true >= 18) & (sexes == "F")
    wanted = np.mean(np.array(decide(ages))[women] == REFER)
    assert report.groups["sex"][0].rates["bound_refer"].value == wanted
    assert sum(one.n for one in report.groups["sex"]) == 600
