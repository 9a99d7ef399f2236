"""What a student is to learn: means, widened targets and weights, against Gaussians, convolutions and moments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.ages import AGES, AgeDistribution
from agewise.data.settings import SettingsError, check
from agewise.data.targets import TargetSettings, shaped, weights_of, widened

Floats = NDArray[np.float64]


def settings(**values: Any) -> TargetSettings:
    return check(values, TargetSettings, "target")


def targets(*means: float, std: float = 4.0) -> NDArray[np.float32]:
    return AgeDistribution.gaussian(means, std).probs.astype(np.float32)


def unknown(count: int) -> Floats:
    return np.full(count, np.nan)


def test_the_whole_distribution_is_the_very_target() -> None:
    given = targets(10, 50, 90)
    assert shaped(given, unknown(3), settings()) is given
    assert shaped(given, np.full(3, 5.0), settings(agreement="weight")) is given


def test_the_mean_alone_is_shared_by_its_two_years() -> None:
    two = np.zeros((2, 101), np.float32)
    two[0, [10, 41]], two[1, 100] = (0.75, 0.25), 1
    found = shaped(two, unknown(2), settings(learn="mean"))
    assert found.dtype == np.float32
    assert {int(age): round(float(found[0, age]), 5) for age in np.flatnonzero(found[0])} == {17: 0.25, 18: 0.75}
    assert found[1].tolist() == two[1].tolist()
    many = targets(*np.linspace(1, 99, 40), std=9.0)
    np.testing.assert_allclose(shaped(many, unknown(40), settings(learn="mean")) @ AGES, many @ AGES, atol=1e-4)


@pytest.mark.parametrize("age", [0, 1, 30, 98, 100])
@pytest.mark.parametrize("spread", [0.6, 2.0, 15.0])
def test_a_mean_as_wide_as_its_members_disagree_is_a_dldl_target(age: float, spread: float) -> None:
    """A discrete Gaussian on the axis (Gao et al. 2017), with the members in the annotators' place."""
    made = shaped(targets(age, std=0.0), np.array([spread]), settings(learn="mean", agreement="width"))
    np.testing.assert_allclose(made, AgeDistribution.gaussian([age], spread).probs, atol=1e-6)


def test_widening_is_a_convolution() -> None:
    ages = AgeDistribution(np.random.default_rng(0).random((5, 101)) ** 8 * (np.abs(AGES - 50) < 20))
    spread = np.array([0.0, 0.8, 3.0, 4.0, np.pi])
    found = widened(ages, spread)
    for row, std in enumerate(spread):
        kernel = np.exp(-0.5 * (np.arange(-100, 101) / max(std, 1e-3)) ** 2)
        expected = np.convolve(ages.probs[row], kernel / kernel.sum())[100:201]
        np.testing.assert_allclose(found.probs[row], expected / expected.sum(), atol=1e-9)
    np.testing.assert_allclose(found.probs[0], ages.probs[0], atol=1e-12)
    np.testing.assert_allclose(found.mean, ages.mean, atol=1e-6)  # nothing leaves the axis: variances add up
    np.testing.assert_allclose(found.std[2:], np.hypot(ages.std, spread)[2:], atol=1e-3)


def test_at_the_ends_each_age_keeps_its_share() -> None:
    ages = AgeDistribution([np.where(AGES == 0, 0.5, 0) + np.where(AGES == 50, 0.5, 0)])
    found = widened(ages, np.array([5.0]))
    assert found.probs[0, :25].sum() == pytest.approx(0.5, abs=1e-5)
    everywhere = widened(AgeDistribution.of_ages([0.0, 37.0, 100.0]), np.full(3, 1e4))
    np.testing.assert_allclose(everywhere.probs, 1 / 101, atol=1e-4)  # members that say nothing of it


def test_faces_without_an_agreement_are_learned_as_they_are() -> None:
    given = targets(20, 40, 60)
    spread = np.array([np.nan, 6.0, np.nan])
    found = shaped(given, spread, settings(agreement="width"))
    np.testing.assert_allclose(found[[0, 2]], given[[0, 2]], atol=1e-7)
    assert AgeDistribution(found[1:2]).std == pytest.approx(np.hypot(4, 6), abs=0.01)
    assert weights_of(spread, settings(agreement="weight", agreement_years=6)).tolist() == [1.0, 0.5, 1.0]


def test_weights_fall_with_the_square_of_the_spread() -> None:
    spread = np.array([0.0, 1.5, 3.0, 6.0, 30.0])
    found = weights_of(spread, settings(agreement="weight"))
    assert found.tolist() == pytest.approx([1, 0.8, 0.5, 0.2, 1 / 101])
    assert (
        weights_of(spread, settings()).tolist() == weights_of(spread, settings(agreement="width")).tolist() == [1] * 5
    )


@pytest.mark.parametrize("values", [{"learn": "mean"}, {"agreement": "width"}, {"learn": "mean", "agreement": "width"}])
def test_a_group_stays_a_group(values: dict[str, str]) -> None:
    """Its loss is that of an interval: the middle alone would be falsely sure, and a blurred one would say nothing."""
    given = AgeDistribution.of_groups([20, 20], [29, 29]).probs.astype(np.float32)
    found = shaped(given, np.array([3.0, 3.0]), settings(**values), np.array([True, False]))
    assert found[0].tolist() == given[0].tolist()
    assert np.count_nonzero(found[1] > 1e-3) != 10


def test_blocks_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    given, spread = targets(*np.linspace(0, 100, 23)), np.linspace(0, 9, 23)
    for values in ({"learn": "mean"}, {"agreement": "width"}):
        whole = shaped(given, spread, settings(**values))
        with monkeypatch.context() as few:
            few.setattr("agewise.data.targets._BLOCK", 5)
            np.testing.assert_allclose(shaped(given, spread, settings(**values)), whole, atol=1e-7)


@pytest.mark.parametrize("values", [{"learn": "median"}, {"agreement": "mean"}, {"agreement_years": 0}, {"width": 3}])
def test_what_cannot_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        settings(**values)
