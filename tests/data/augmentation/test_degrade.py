"""Degraded views: each step does what a camera would, none moves the picture, and chance decides by a Generator."""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from agewise.data.augmentation.degrade import CHANCE, _coarsened, _compressed, _noisy, _refocused, _smeared, degraded

Picture = NDArray[np.uint8]
STEPS = (_refocused, _coarsened, _noisy, _compressed)


@pytest.fixture
def face() -> Picture:
    """A disc of soft edges on grey, with fine stripes, in the middle of 96 pixels."""
    y, x = np.mgrid[:96, :96]
    disc = 1 / (1 + np.exp((np.hypot(x - 47.5, y - 47.5) - 30) / 2))
    levels = 70 + 90 * disc + 20 * disc * np.sign(np.sin(x * 1.5))
    return np.repeat(levels[:, :, None], 3, axis=2).astype(np.uint8)


def detail(pixels: Picture) -> float:
    return float(cv2.Laplacian(pixels.astype(np.float32), cv2.CV_32F).var())


@pytest.mark.parametrize("step", STEPS)
def test_a_step_changes_the_view_and_keeps_its_kind(
    face: Picture, step: Callable[[Picture, np.random.Generator], Picture]
) -> None:
    before = face.copy()
    made = [step(face, np.random.default_rng(seed)) for seed in range(20)]
    assert all((one.dtype, one.shape) == (np.uint8, face.shape) for one in made)
    assert sum(not np.array_equal(one, face) for one in made) >= 18
    assert np.array_equal(face, before)


def test_nothing_moves(face: Picture) -> None:
    """What is lost is detail: the centre of what is light stays, whatever was drawn."""
    rows, columns = np.mgrid[:96, :96]

    def middle(pixels: Picture) -> NDArray[np.float64]:
        weight = cv2.GaussianBlur(pixels[..., 1].astype(float), (0, 0), 3) > 110
        return np.array([rows[weight].mean(), columns[weight].mean()])

    for seed in range(60):
        made = degraded(face, np.random.default_rng(seed))
        assert np.abs(middle(made) - middle(face)).max() < 1.5, seed
        assert abs(made.mean() - face.mean()) < 8, seed


def test_blur_and_few_pixels_take_detail_and_sharpening_adds_it(face: Picture) -> None:
    found = np.array([detail(_refocused(face, np.random.default_rng(seed))) for seed in range(60)]) / detail(face)
    assert 0.2 < np.mean(found > 1.0) < 0.5  # a third is sharpened
    assert found.max() < 20
    assert found.min() < 0.2
    assert all(detail(_coarsened(face, np.random.default_rng(seed))) <= detail(face) for seed in range(20))


def test_a_streak_runs_along_its_angle_and_keeps_the_light() -> None:
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    for angle, spread in {0.0: (0, 4), np.pi / 2: (4, 0)}.items():
        rows, columns = np.nonzero(_smeared(point, 8.0, angle)[..., 0])
        assert (np.abs(rows - 20).max(), np.abs(columns - 20).max()) == spread
    assert _smeared(point, 8.0, 0.7).sum() == pytest.approx(point.sum(), rel=0.05)


def test_noise_is_of_the_strength_drawn() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    stds = [float(_noisy(grey, np.random.default_rng(seed)).astype(float).std()) for seed in range(80)]
    assert 1.5 < min(stds) < 4
    assert 25 < max(stds) < 42
    alike = [np.ptp(_noisy(grey, np.random.default_rng(seed)), axis=2).max() == 0 for seed in range(80)]
    assert 0.3 < np.mean(alike) < 0.7


def test_noise_neither_lightens_nor_darkens() -> None:
    for level in (64, 128, 200):
        grey = np.full((64, 64, 3), level, np.uint8)
        shifts = [float(_noisy(grey, np.random.default_rng(seed)).mean()) - level for seed in range(40)]
        assert abs(np.median(shifts)) < 0.2


def test_jpeg_is_of_red_green_and_blue_in_this_order() -> None:
    """Pillow's JPEG of the same quality loses the same: chroma is coarse, and blue counts least."""
    coloured = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    view = cv2.resize(coloured, (96, 96), interpolation=cv2.INTER_CUBIC)
    quality = int(np.random.default_rng(4).integers(15, 91))
    buffer = io.BytesIO()
    Image.fromarray(view).save(buffer, "JPEG", quality=quality)
    lost = np.asarray(Image.open(buffer)).astype(float) - view
    made = _compressed(view, np.random.default_rng(4)).astype(float) - view
    assert np.abs(made - lost).mean() < 0.25 * np.abs(lost).mean()


def test_chance_decides_by_its_generator_only(face: Picture) -> None:
    first, again = (degraded(face, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, again)
    untouched = np.mean([np.array_equal(degraded(face, np.random.default_rng(seed)), face) for seed in range(300)])
    assert untouched == pytest.approx((1 - CHANCE) ** len(STEPS), abs=0.06)


@pytest.mark.parametrize("side", [1, 2, 5, 16])
def test_small_views_are_degraded_too(side: int) -> None:
    pixels = np.full((side, side, 3), 200, np.uint8)
    for seed in range(20):
        for step in STEPS:
            assert step(pixels, np.random.default_rng(seed)).shape == pixels.shape
