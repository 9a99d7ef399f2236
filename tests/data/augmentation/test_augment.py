"""Training views: nothing at all, exactly a mirror, or random by a Generator and within bounds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.data.augmentation.augment import Augmentation, bounded_normal, view
from agewise.faces.align import Window, cut

NONE = Augmentation(**dict.fromkeys(set(Augmentation.model_fields) - {"policy"}, 0))
WINDOW = Window(0.5, 0.55, 0.8)


@pytest.fixture
def crop() -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (9, 9), 2), dtype=np.uint8)


@pytest.mark.parametrize("size", [20, 48, 100])
def test_no_augmentation_is_the_crop(crop: NDArray[np.uint8], size: int) -> None:
    made = view(crop, WINDOW, size, NONE, np.random.default_rng(0))
    expected = cut(crop[None], WINDOW, size)[0]
    assert np.abs(made.astype(int) - expected).max() <= 1


def test_a_flip_is_a_mirror(crop: NDArray[np.uint8]) -> None:
    flipped = view(crop, Window(), 64, NONE.model_copy(update={"flip": 1.0}), np.random.default_rng(0))
    assert np.array_equal(flipped, crop[:, ::-1])
    assert not np.array_equal(flipped, crop)


def test_a_view_depends_on_its_generator_only(crop: NDArray[np.uint8]) -> None:
    first, again, other = (view(crop, WINDOW, 40, Augmentation(), np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 2


@pytest.mark.parametrize("name", sorted(set(Augmentation.model_fields) - {"policy"}))
def test_every_step_changes_the_view_and_keeps_its_kind(crop: NDArray[np.uint8], name: str) -> None:
    before = crop.copy()
    share = name in {"grey", "flip", "erase", "degrade"}
    policy = NONE.model_copy(update={name: 1.0 if share else Augmentation.model_fields[name].default})
    made = view(crop, WINDOW, 40, policy, np.random.default_rng(2))
    assert (made.dtype, made.shape) == (np.uint8, (40, 40, 3))
    assert not np.array_equal(made, view(crop, WINDOW, 40, NONE, np.random.default_rng(2)))
    assert np.array_equal(crop, before)
    if name == "grey":
        assert np.array_equal(made[..., 0], made[..., 2])


def test_the_rest_of_a_view_is_the_same_whether_it_is_degraded_or_not(crop: NDArray[np.uint8]) -> None:
    plain, some = Augmentation(erase=0.5), Augmentation(erase=0.5, degrade=0.5)
    views = [
        [view(crop, WINDOW, 40, policy, np.random.default_rng(seed)) for policy in (plain, some)] for seed in range(60)
    ]
    same = np.mean([np.array_equal(*pair) for pair in views])
    assert 0.4 < same < 0.75  # half, and those in which no step was drawn


def test_a_hidden_rectangle_is_2_to_15_percent(crop: NDArray[np.uint8]) -> None:
    policy, plain = NONE.model_copy(update={"erase": 1.0}), view(crop, Window(), 64, NONE, np.random.default_rng())
    shares = [
        (view(crop, Window(), 64, policy, np.random.default_rng(seed)) != plain).any(axis=2).mean()
        for seed in range(60)
    ]
    assert 0.015 < min(shares) < max(shares) < 0.16


def test_a_bounded_normal_is_clipped_at_two_std() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([bounded_normal(rng, 3.0) for _ in range(20_000)])
    assert np.abs(drawn).max() == 6.0
    assert np.mean(np.abs(drawn) == 6.0) == pytest.approx(0.0455, abs=0.005)  # P(|z| > 2)
    assert drawn.mean() == pytest.approx(0, abs=0.1)
    assert bounded_normal(rng, 0.0) == 0.0
