"""The limits of agreement equal their definition, their intervals the closed form of Bland and Altman."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from agewise.evaluation.report.agreement import agreement


def test_limits_and_their_intervals_equal_the_closed_form() -> None:
    error = np.random.default_rng(4).normal(-1.5, 6, 900)
    found = agreement(error, np.arange(900), 4000)
    std = error.std(ddof=1)
    assert found.bias.value == pytest.approx(error.mean())
    assert found.lower.value == pytest.approx(error.mean() + stats.norm.ppf(0.025) * std)
    assert found.upper.value == pytest.approx(error.mean() + stats.norm.ppf(0.975) * std)
    assert found.inside == np.mean((error >= found.lower.value) & (error <= found.upper.value))
    half = stats.norm.ppf(0.975) * std * np.sqrt(1 / 900 + stats.norm.ppf(0.975) ** 2 / (2 * 899))
    for one in (found.lower, found.upper):
        assert one.interval == pytest.approx((one.value - half, one.value + half), abs=0.25 * half)
    mean = stats.norm.ppf(0.975) * std / 30
    assert found.bias.interval == pytest.approx((found.bias.value - mean, found.bias.value + mean), abs=0.15 * mean)


def test_one_face_agrees_with_itself_and_has_no_interval() -> None:
    found = agreement(np.array([3.0]), np.zeros(1, dtype=np.intp), 10)
    assert [one.value for one in (found.bias, found.lower, found.upper)] == [3.0, 3.0, 3.0]
    assert {one.interval for one in (found.bias, found.lower, found.upper)} == {None}
    assert found.inside == 1.0


def test_equal_errors_have_no_spread() -> None:
    found = agreement(np.full(5, -2.0), np.arange(5), 10)
    assert (found.lower.value, found.upper.value) == pytest.approx((-2.0, -2.0))
    assert found.bias.interval == pytest.approx((-2.0, -2.0))
