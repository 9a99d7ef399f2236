"""Calibration: distributions stay distributions, intervals hold what they promise, a file gives back what it got."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from agewise.ages import AGES, AgeDistribution
from agewise.model.calibration.axis import EDGES, Spread, Warp, half_widths, moved
from agewise.model.calibration.calibration import Calibration, Origin, as_metadata, from_metadata, tempered
from agewise.model.calibration.conformal import (
    band_edges,
    checked_levels,
    conformal_quantile,
    fewest_faces,
    fit_spread,
)
from agewise.model.calibration.temperature import fit_temperature
from agewise.model.calibration.warp import KNOTS, expected_warp, mixed_warp, response_warp

Floats = NDArray[np.float64]


def bells(count: int, std: float = 6.0, low: float = 20.0, high: float = 80.0) -> AgeDistribution:
    return AgeDistribution.gaussian(np.linspace(low, high, count), std)


def drawn(count: int, error: float, claimed: float, seed: int = 0) -> tuple[AgeDistribution, Floats]:
    """Gaussians of a claimed width about means that miss the true ages by `error` years."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(25, 75, count)
    true = (mean + rng.normal(0, error, count)).clip(0, 100).round()
    return AgeDistribution.gaussian(mean, claimed), true


def test_a_shift_of_the_axis_shifts_every_quantile() -> None:
    ages = bells(5, 4.0, 30, 60)
    shifted = moved(ages, EDGES - 12)
    np.testing.assert_allclose(shifted.probs[:, 12:], ages.probs[:, :-12], atol=1e-12)
    np.testing.assert_allclose(moved(ages, EDGES).probs, ages.probs, atol=1e-12)


def test_mass_beyond_the_axis_is_at_its_ends() -> None:
    moved_out = moved(AgeDistribution.of_ages([5, 95]), np.stack([EDGES + 50, EDGES - 50]))
    np.testing.assert_allclose(moved_out.probs, AgeDistribution.of_ages([0, 100]).probs)
    assert len(moved(AgeDistribution.concatenate([]), EDGES)) == 0


def test_a_warp_of_ages_maps_the_quantiles() -> None:
    warp = Warp((0.0, 50.0, 100.0), (0.0, 60.0, 100.0))
    ages = bells(7, 5.0)
    for level in (0.05, 0.5, 0.95):
        np.testing.assert_allclose(warp(ages).quantile(level), warp.mapped(ages.quantile(level)), atol=0.5)
    np.testing.assert_allclose(warp.mapped(np.array([-3.0, 25.0, 110.0])), [-3.0, 30.0, 110.0])


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.0])
def test_a_spread_dilates_about_the_median(factor: float) -> None:
    ages = AgeDistribution.concatenate([bells(6, 6.0, 30, 70), AgeDistribution.of_groups([20], [59])])
    wide = Spread((0.9,), (50.0,), ((factor,),))(ages)
    np.testing.assert_allclose(wide.median, ages.median, atol=0.5)
    down, up = half_widths(ages, (0.9,))
    given = wide.interval(0.9)
    np.testing.assert_allclose(given[:, 0], ages.median - factor * down[:, 0], atol=0.5)
    np.testing.assert_allclose(given[:, 1], ages.median + factor * up[:, 0], atol=0.5)


def test_each_level_has_its_own_factor_and_bands_are_blended() -> None:
    spread = Spread((0.5, 0.9), (30.0, 50.0), ((1.5, 1.2), (0.5, 2.0)))
    np.testing.assert_allclose(spread.at(np.array([10.0, 30.0, 35.0, 50.0, 90.0]))[:, 1], [1.2, 1.2, 1.4, 2.0, 2.0])
    ages = AgeDistribution.gaussian([50.0], [6.0])
    wide = spread(ages)
    for level, factor in ((0.5, 0.5), (0.9, 2.0)):  # mass within a year is spread evenly again
        assert np.ptp(wide.interval(level)) == pytest.approx(factor * np.ptp(ages.interval(level)), abs=1.0)


def test_inner_and_outer_intervals_never_cross() -> None:
    wide = Spread((0.5, 0.9), (50.0,), ((4.0, 0.1),))(bells(5))
    assert (np.diff([np.ptp(wide.interval(level), axis=1) for level in (0.3, 0.5, 0.7, 0.9)], axis=0) >= -1e-9).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_temperature_is_a_power(temperature: float) -> None:
    ages = bells(4)
    expected = ages.probs ** (1 / temperature)
    np.testing.assert_allclose(tempered(ages, temperature).probs, expected / expected.sum(axis=1, keepdims=True))
    assert len(tempered(AgeDistribution.concatenate([]), temperature)) == 0


def test_the_temperature_of_distributions_too_narrow_is_found() -> None:
    """A Gaussian to the power 1 / T has a std of sqrt(T) times its own."""
    ages, true = drawn(4000, error=6.0, claimed=4.0)
    found = fit_temperature(ages, AgeDistribution.of_ages(true).probs > 0)
    assert np.sqrt(found) * 4.0 == pytest.approx(6.0, rel=0.06)


def test_a_temperature_needs_faces_of_known_age() -> None:
    known = np.zeros((150, len(AGES)), bool)
    known[:99, 30] = True
    with pytest.raises(ValueError, match="99 faces of known age do not fix a temperature; 100 or more are needed"):
        fit_temperature(bells(150), known)


def test_the_quantile_is_that_of_split_conformal_prediction() -> None:
    scores = np.random.default_rng(0).normal(size=199)
    for level in (0.5, 0.9, 0.95):
        place = int(np.ceil(200 * level)) - 1
        assert conformal_quantile(scores, np.ones(199), 199, level) == np.sort(scores)[place]
    halves = np.repeat(scores, 2)  # each score twice with half its weight says the same
    assert conformal_quantile(halves, np.full(398, 0.5), 199, 0.9) == np.sort(scores)[179]


@pytest.mark.parametrize(("level", "fewest"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_the_fewest_faces_of_a_level(level: float, fewest: int) -> None:
    assert fewest_faces(level) == fewest
    assert np.ceil((fewest + 1) * level - 1e-9) <= fewest
    assert np.ceil(fewest * level - 1e-9) > fewest - 1


def test_bands_have_faces_enough() -> None:
    predicted = np.concatenate([np.full(120, 5.0), np.full(40, 12.0), np.full(150, 22.0), np.full(90, 60.0)])
    edges = band_edges(predicted, 100)
    counts = np.bincount(np.searchsorted(edges, predicted, side="right"))
    assert edges == (7.0,)
    assert counts.tolist() == [120, 280]
    assert band_edges(predicted[:150], 100) == ()


@pytest.mark.parametrize(("error", "claimed"), [(8.0, 4.0), (4.0, 8.0)])
def test_intervals_hold_on_new_faces_in_every_band(error: float, claimed: float) -> None:
    ages, true = drawn(6000, error, claimed)
    banded = fit_spread(ages, AgeDistribution.of_ages(true), (0.5, 0.9))
    assert sum(banded.faces) == 6000
    assert min(banded.faces) >= 100
    fresh, truth = drawn(6000, error, claimed, seed=1)
    wide = banded.spread(fresh)
    for level in (0.5, 0.9):
        low, high = wide.interval(level).T
        inside = (low <= truth) & (truth <= high)
        assert inside.mean() == pytest.approx(level, abs=0.03)
        bands = np.searchsorted((30.0, 50.0, 60.0), fresh.mean)
        assert all(inside[bands == band].mean() == pytest.approx(level, abs=0.06) for band in range(4))
    raw = (fresh.interval(0.9)[:, 0] <= truth) & (truth <= fresh.interval(0.9)[:, 1])
    assert abs(raw.mean() - 0.9) > 0.08  # there was something to put right


def test_a_known_group_of_one_age_is_that_age() -> None:
    ages, true = drawn(500, 6.0, 4.0)
    exact = fit_spread(ages, AgeDistribution.of_ages(true), (0.9,))
    assert exact == fit_spread(ages, AgeDistribution.of_groups(true, true), (0.9,))


def test_levels_and_faces_that_cannot_be() -> None:
    ages, true = drawn(150, 4.0, 4.0)
    known = AgeDistribution.of_ages(true)
    with pytest.raises(ValueError, match=r"the levels of the intervals are 0.9, 1; shares between 0 and 1 are allowed"):
        fit_spread(ages, known, (0.9, 1.0))
    with pytest.raises(ValueError, match=r"150 labelled faces do not fix intervals of 0.995; 199 or more are needed"):
        fit_spread(ages, known, (0.9, 0.995))
    with pytest.raises(ValueError, match=r"99 labelled faces do not fix intervals of 0.9; 100 or more"):
        fit_spread(ages[:99], known[:99], (0.9,))
    assert checked_levels((0.9, 0.5, 0.9)) == (0.5, 0.9)
    with pytest.raises(ValueError, match="are none"):
        checked_levels(())


def test_the_expected_map_is_the_constrained_least_squares_of_scipy() -> None:
    rng = np.random.default_rng(3)
    true = rng.uniform(1, 95, 2000)
    ages = AgeDistribution.gaussian(np.clip(30 + 0.6 * (true - 30) + rng.normal(0, 4, 2000), 0, 100), 5.0)
    warp = expected_warp(ages, true)
    hat = np.stack([np.interp(AGES, KNOTS, row) for row in np.eye(len(KNOTS))], axis=1)
    slopes = np.diff(np.eye(len(KNOTS)), axis=0) / np.diff(KNOTS)[:, None]
    rows = np.concatenate([ages.probs @ hat, np.sqrt(10) * np.eye(len(KNOTS)), np.sqrt(2000) * np.diff(slopes, axis=0)])
    aim = np.concatenate([true, np.sqrt(10) * KNOTS, np.zeros(len(KNOTS) - 2)])
    rises = np.tril(np.ones((len(KNOTS), len(KNOTS))))
    least = np.concatenate([[0.0], 0.2 * np.diff(KNOTS)])
    found = rises @ lsq_linear(rows @ rises, aim, bounds=(least - 1e-12, np.inf), method="bvls").x
    np.testing.assert_allclose(warp.meant, found, atol=1e-3)
    mapped = warp(ages).mean
    assert np.abs(mapped - true).mean() < 0.75 * np.abs(ages.mean - true).mean()
    assert mapped.mean() == pytest.approx(true.mean(), abs=0.3)


def test_a_model_that_is_right_keeps_its_ages() -> None:
    rng = np.random.default_rng(4)
    mean = rng.uniform(5, 80, 3000)
    warp = expected_warp(AgeDistribution.gaussian(mean, 3.0), (mean + rng.normal(0, 3, 3000)).clip(0, 100))
    np.testing.assert_allclose(warp.meant[1:-2], KNOTS[1:-2], atol=1.0)


def test_the_response_map_undoes_the_response() -> None:
    answer = 20 + 0.7 * (AGES - 20)
    warp = response_warp(answer)
    inner = np.array([10.0, 20.0, 40.0, 60.0])
    np.testing.assert_allclose(warp.mapped(20 + 0.7 * (inner - 20)), inner, atol=0.8)
    flat = response_warp(np.full(len(AGES), 40.0))
    assert np.diff(flat.meant).min() > 0
    assert (np.diff(flat.meant) / np.diff(KNOTS)).max() <= 5 + 1e-9


def test_the_mixed_map_is_the_expected_one_and_that_of_the_response_for_the_old() -> None:
    answer = np.where(AGES < 40, AGES + 3, 43 + 0.6 * (AGES - 40))
    true = np.random.default_rng(0).integers(0, 90, 3000).astype(float)
    ages = AgeDistribution.of_ages(np.round(np.interp(true, AGES, answer)))
    mixed, expected, response = mixed_warp(ages, true, answer), expected_warp(ages, true), response_warp(answer)
    early, late, between = np.array([5.0, 20.0, 40.0]), np.array([60.0, 67.0, 70.0]), np.array([50.0])
    assert mixed.mapped(early) == pytest.approx(expected.mapped(early), abs=1e-6)
    assert mixed.mapped(late) == pytest.approx(response.mapped(late), abs=1.0)
    assert mixed.mapped(between) == pytest.approx(
        2 / 3 * expected.mapped(between) + 1 / 3 * response.mapped(between), abs=1e-6
    )


def example() -> Calibration:
    origin = Origin("faces.parquet", "0" * 64, 300, "groups", "expected", (30.0,), (150, 150))
    spread = Spread((0.5, 0.9), (20.0, 45.0), ((1.0, 1.1), (0.9, 1.3)))
    return Calibration(1.25, Warp((0.0, 50.0, 100.0), (1.0, 55.0, 104.0)), spread, origin)


@pytest.mark.parametrize("made", [example(), Calibration(0.8, None, Spread((0.9,), (40.0,), ((1.5,),)))])
def test_a_calibration_survives_its_metadata(made: Calibration) -> None:
    read = from_metadata(json.loads(json.dumps(as_metadata(made))))
    assert read == made
    np.testing.assert_array_equal(read(bells(5)).probs, made(bells(5)).probs)


def test_the_steps_come_in_their_order() -> None:
    made, ages = example(), bells(5)
    assert made.warp is not None
    np.testing.assert_array_equal(made(ages).probs, made.spread(made.warp(tempered(ages, 1.25))).probs)
    one_by_one = np.concatenate([made(ages[row : row + 1]).probs for row in range(5)])
    np.testing.assert_allclose(made(ages).probs, one_by_one, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"temperature": 0.0}, "the temperature is 0.0; above 0"),
        ({"temperature": float("nan")}, "the temperature is nan"),
        ({"temperature": None}, "the calibration is wrong"),
        ({"spread": None}, "the calibration is wrong"),
        ({"spread": {"levels": [0.9], "centres": [40.0]}}, "the calibration has no 'factors'"),
        ({"spread": {"levels": [1.5], "centres": [40.0], "factors": [[1.0]]}}, "rising shares between 0 and 1"),
        ({"spread": {"levels": [0.9], "centres": [40.0, 30.0], "factors": [[1.0], [1.0]]}}, "rising ages"),
        ({"spread": {"levels": [0.9], "centres": [40.0], "factors": [[0.0]]}}, "not 1 x 1 factors"),
        ({"spread": {"levels": [0.9], "centres": [40.0], "factors": [[1.0], [1.0]]}}, "not 1 x 1 factors"),
        ({"ages": {"given": [0.0, 1.0], "meant": [5.0, 5.0]}}, "does not rise"),
        ({"ages": {"given": [0.0], "meant": [5.0]}}, "2 or more are needed"),
    ],
)
def test_damaged_metadata_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_metadata({**as_metadata(example()), **changes})


def test_what_a_model_file_applies_needs_neither_torch_nor_scipy() -> None:
    code = "import sys, agewise.model.calibration.calibration; print({'torch', 'scipy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
