from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from agewise.evaluation.corruptions import corrupt
from agewise.evaluation.corruptions.digital import QUALITIES, compressed, jpeg_compression, pixelate

Picture = NDArray[np.uint8]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("severity", "quality"), list(enumerate(QUALITIES, 1)))
def test_jpeg_is_that_of_pillow(severity: int, quality: int, portrait: Picture) -> None:
    buffer = BytesIO()
    Image.fromarray(portrait).save(buffer, "JPEG", quality=quality)
    np.testing.assert_array_equal(corrupt(portrait, "jpeg_compression", severity, 0), np.asarray(Image.open(buffer)))


def test_the_released_jpeg_takes_red_for_blue(portrait: Picture) -> None:
    swapped = jpeg_compression(np.ascontiguousarray(portrait[:, :, ::-1]), 3, RNG, "paper")[:, :, ::-1]
    released = jpeg_compression(portrait, 3, RNG, "released")
    np.testing.assert_array_equal(released, swapped)
    assert (released != jpeg_compression(portrait, 3, RNG, "paper")).any()


def test_jpeg_halves_the_resolution_of_colours() -> None:
    stripes = np.zeros((32, 32, 3), dtype=np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (200, 60, 60), (60, 107, 200)
    out = compressed(stripes, 95).astype(float)
    assert abs(out[:, ::2, 0].mean() - out[:, 1::2, 0].mean()) < 30


@pytest.mark.parametrize(("severity", "block"), [(2, 2), (5, 4)])
def test_pixels_are_the_means_of_their_blocks(severity: int, block: int, portrait: Picture) -> None:
    count = 224 // block
    means = portrait.reshape(count, block, count, block, 3).mean(axis=(1, 3))
    expected = np.kron(means, np.ones((block, block, 1)))
    np.testing.assert_allclose(pixelate(portrait, severity, RNG, "paper"), expected, atol=1)


def test_the_release_takes_height_for_width(portrait: Picture) -> None:
    tall = portrait[:, :100]
    assert (pixelate(tall, 4, RNG, "paper") != pixelate(tall, 4, RNG, "released")).any()
    np.testing.assert_array_equal(pixelate(portrait, 4, RNG, "paper"), pixelate(portrait, 4, RNG, "released"))
