"""Ranks of methods: Friedman's statistic as SciPy has it, the critical difference of Demsar's example, a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import friedmanchisquare

from agewise.evaluation.comparison.rank_figure import draw
from agewise.evaluation.comparison.significance import rank


def test_friedman_in_the_form_of_iman_and_davenport() -> None:
    errors = np.random.default_rng(0).normal(size=(9, 5)) + 0.3 * np.arange(5)
    found = rank(list("abcde"), errors)
    chi = float(friedmanchisquare(*errors.T).statistic)
    assert found.statistic == pytest.approx(8 * chi / (9 * 4 - chi))
    assert found.ranks.sum() == pytest.approx(15)
    assert 0 < found.p < 0.05


def test_the_critical_difference_of_demsars_example() -> None:
    """Four classifiers on 14 data sets: 2.569 sqrt(4 * 5 / (6 * 14)) = 1.25 (Demsar 2006, section 3.2.4)."""
    found = rank(list("abcd"), np.random.default_rng(0).normal(size=(14, 4)))
    assert found.critical == pytest.approx(1.25, abs=0.005)


def test_ties_share_their_ranks_and_equal_methods_are_one_clique() -> None:
    found = rank(list("abc"), np.ones((6, 3)))
    assert found.ranks.tolist() == [2, 2, 2]
    assert found.p == pytest.approx(1.0)
    assert found.cliques() == [("a", "b", "c")]


def test_methods_are_told_apart_by_more_than_the_critical_difference() -> None:
    errors = np.tile(np.arange(6.0), (8, 1))  # the same order on every block: ranks 1..6
    found = rank(list("abcdef"), errors)
    assert found.statistic == np.inf
    assert found.p == 0
    assert 2 < found.critical < 3
    assert [found.differ("a", other) for other in "bcdef"] == [False, False, True, True, True]
    assert found.cliques() == [("a", "b", "c"), ("b", "c", "d"), ("c", "d", "e"), ("d", "e", "f")]


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (np.ones((4, 2)), r"errors have shape \(4, 2\)"),
        (np.ones((1, 3)), "3 methods on 1 blocks"),
        (np.array([[1, 2, np.nan]] * 3), "finite ones"),
    ],
)
def test_what_cannot_be_ranked(errors: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rank(list("abc"), errors)


def test_the_figure_has_a_label_for_every_method(tmp_path: Path) -> None:
    found = rank([f"method {n}" for n in range(7)], np.random.default_rng(1).normal(size=(5, 7)) + np.arange(7))
    texts = draw(found, tmp_path / "ranks.svg").read_text()
    assert all(texts.count(f"method {n} (") == 1 for n in range(7)) or "<text" not in texts
    with Image.open(draw(found, tmp_path / "ranks.png")) as picture:
        assert picture.width > 800
        assert np.asarray(picture.convert("L")).std() > 5
