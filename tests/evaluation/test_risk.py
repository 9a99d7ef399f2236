"""Risk and coverage: closed forms, brute force, and equals that no order may favour."""

from __future__ import annotations

import numpy as np
import pytest

from agewise.evaluation.risk import best_area, risk_at, risk_coverage


def test_the_curve_of_three_faces() -> None:
    coverage, risk, area = risk_coverage([4.0, 1.0, 2.5], [9.0, 1.0, 5.0])
    np.testing.assert_allclose(coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(risk, [1.0, 1.75, 2.5])
    assert area == pytest.approx((1 + 1.75 + 2.5) / 3)


def test_the_curve_is_that_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    errors, doubt = rng.exponential(5, 300), rng.normal(size=300)
    coverage, risk, area = risk_coverage(errors, doubt)
    for share, mean in zip(coverage[::37], risk[::37], strict=True):
        kept = np.argsort(doubt)[: round(share * 300)]
        assert mean == pytest.approx(errors[kept].mean())
    assert area == pytest.approx(np.mean([errors[np.argsort(doubt)[:k]].mean() for k in range(1, 301)]))


def test_equals_are_kept_together_and_count_in_every_order() -> None:
    errors, doubt = np.array([0.0, 6.0, 3.0, 9.0]), np.array([1.0, 1.0, 2.0, 2.0])
    coverage, risk, area = risk_coverage(errors, doubt)
    assert (coverage.tolist(), risk.tolist()) == ([0.5, 1.0], [3.0, 4.5])
    rng = np.random.default_rng(1)
    orders = [np.lexsort((rng.random(4), doubt)) for _ in range(4000)]
    areas = [np.mean(errors[order].cumsum() / np.arange(1, 5)) for order in orders]
    assert area == pytest.approx(np.mean(areas), abs=0.03)
    assert risk_coverage(errors[::-1], doubt[::-1])[2] == pytest.approx(area)


def test_a_constant_uncertainty_is_one_point() -> None:
    coverage, risk, area = risk_coverage([1.0, 3.0], [7.0, 7.0])
    assert (coverage.tolist(), risk.tolist(), area) == ([1.0], [2.0], 2.0)


def test_nobody_is_below_the_oracle() -> None:
    rng = np.random.default_rng(2)
    errors = rng.exponential(5, 200)
    areas = [risk_coverage(errors, rng.normal(size=200))[2] for _ in range(20)]
    assert best_area(errors) == pytest.approx(np.mean(np.sort(errors).cumsum() / np.arange(1, 201)))
    assert min(areas) > best_area(errors)
    assert np.mean(areas) == pytest.approx(errors.mean(), rel=0.1)


def test_the_risk_at_a_coverage() -> None:
    errors, doubt = [1.0, 2.0, 3.0, 10.0], [1.0, 2.0, 3.0, 4.0]
    assert [risk_at(errors, doubt, share) for share in (0.01, 0.5, 0.75, 1.0)] == [1.0, 1.5, 2.0, 4.0]
    assert risk_at([1.0, 5.0, 9.0, 1.0], [1.0, 2.0, 2.0, 0.0], 0.75) == pytest.approx((1 + 1 + 7) / 3)


@pytest.mark.parametrize(
    ("errors", "doubt", "reason"),
    [
        ([], [], "one of each a face"),
        ([1.0], [1.0, 2.0], r"errors are \(1,\) and uncertainty \(2,\)"),
        ([[1.0]], [[1.0]], "one of each a face"),
        ([1.0, np.nan], [1.0, 2.0], "the error of face 1 is nan"),
        ([1.0, 2.0], [np.inf, 2.0], "the uncertainty of face 0 is inf"),
    ],
)
def test_what_cannot_be_ranked_is_refused(errors: object, doubt: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        risk_coverage(errors, doubt)  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("share", [0.0, 1.1, float("nan")])
def test_a_share_outside_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="above 0, up to 1"):
        risk_at([1.0], [1.0], share)
