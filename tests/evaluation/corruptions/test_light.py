from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import hsv2rgb, rgb2hsv

from agewise.evaluation.corruptions.light import STRONGER, WEAKER, brightened, contrasted


@pytest.mark.parametrize("factor", [*STRONGER, *WEAKER])
def test_contrast_is_the_distance_from_the_channel_s_mean(factor: float, portrait: NDArray[np.uint8]) -> None:
    x = portrait / 255
    mean = x.mean(axis=(0, 1))
    expected = 255 * np.clip((x - mean) * factor + mean, 0, 1)
    np.testing.assert_array_equal(contrasted(portrait, factor, "paper"), np.rint(expected))
    np.testing.assert_array_equal(contrasted(portrait, factor, "released"), np.floor(expected + 1e-6))


@pytest.mark.parametrize("step", [0.1, 0.5, -0.1, -0.5])
def test_brightness_is_the_value_of_hsv(step: float) -> None:
    levels = np.array([0, 1, 2, *range(15, 256, 20)], dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, len(levels), 3)
    hsv = rgb2hsv(colours)
    hsv[:, :, 2] = np.clip(hsv[:, :, 2] + step, 0, 1)
    expected = 255 * hsv2rgb(hsv)
    paper, released = brightened(colours, step, "paper"), brightened(colours, step, "released")
    np.testing.assert_allclose(paper, expected, atol=0.5 + 1e-6)
    assert (expected - released).min() > -1e-2
    assert (expected - released).max() < 1


def test_black_becomes_grey() -> None:
    black = np.zeros((20, 20, 3), dtype=np.uint8)
    assert np.unique(brightened(black, 0.2, "paper")).tolist() == [51]
    assert np.unique(brightened(black, -0.2, "paper")).tolist() == [0]
