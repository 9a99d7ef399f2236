from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage, signal
from skimage.filters import gaussian

from agewise.evaluation.corruptions.blur import (
    DISCS,
    SIGMAS,
    ZOOMS,
    disc,
    filtered,
    mean_zoom,
    smear,
    streak,
    zoom_factors,
)
from agewise.evaluation.corruptions.profiles import PROFILES, Profile, smooth

Picture = NDArray[np.uint8]
HALF_LEVEL = 0.01
"""How far float32 and Fourier transforms may lead from the exact grey level."""


def discs(height: int, profile: Profile) -> list[NDArray[np.float32]]:
    return [disc(radius * height / 48, sigma * height / 48, profile) for radius, sigma in DISCS]


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_gaussian_is_that_of_scipy_and_scikit_image(sigma: float, portrait: Picture) -> None:
    found = smooth(portrait, sigma)
    expected = ndimage.gaussian_filter(portrait.astype(float), (sigma, sigma, 0), mode="nearest", truncate=4)
    np.testing.assert_allclose(found, expected, atol=HALF_LEVEL)
    skimage = gaussian(portrait / 255, sigma, mode="nearest", truncate=4, channel_axis=2)
    np.testing.assert_allclose(found, 255 * skimage, atol=HALF_LEVEL)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("height", [16, 48, 224, 256])
def test_a_point_out_of_focus_keeps_its_light(height: int, profile: Profile) -> None:
    for kernel in discs(height, profile):
        brighter = 0.05 if profile == "released" and height > 48 else 1e-5
        assert 1 - 1e-5 < kernel.sum() < 1 + brighter
        assert kernel.min() >= 0
        assert not kernel.flags.writeable


def test_the_released_discs_have_the_taps_and_the_shifts_of_their_grid() -> None:
    kernels = discs(256, "released")
    assert [len(kernel) for kernel in kernels] == [17, 23, 23, 28, 33]
    assert [len(kernel) for kernel in discs(224, "released")] == [17, 20, 20, 25, 29]
    centres = [np.average(np.arange(len(kernel)), weights=kernel.sum(axis=0)) for kernel in kernels]
    shifts = [len(kernel) // 2 - centre for kernel, centre in zip(kernels, centres, strict=True)]
    np.testing.assert_allclose(shifts, [0, 1 / 3, 1 / 3, 2 / 3, 0], atol=0.07)
    light = [kernel.sum() for kernel in kernels]
    np.testing.assert_allclose(light, [1.016, 1.028, 1.034, 1.030, 1.022], atol=0.001)


def test_the_paper_s_discs_are_centred_and_smoothed_in_full() -> None:
    for (radius, sigma), kernel in zip(DISCS, discs(256, "paper"), strict=True):
        radius, sigma = radius * 256 / 48, sigma * 256 / 48
        half = len(kernel) // 2
        assert len(kernel) == 2 * half + 1
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-8)
        y, x = np.mgrid[-half : half + 1, -half : half + 1]
        flat = (x**2 + y**2 <= radius**2).astype(float)
        expected = ndimage.gaussian_filter(flat / flat.sum(), sigma, mode="constant", truncate=4)
        np.testing.assert_allclose(kernel, expected, atol=1e-7)


@pytest.mark.parametrize("shape", [(40, 56, 3), (224, 224, 3), (256, 120, 3)])
@pytest.mark.parametrize("taps", [5, 28, 43, 60])
def test_a_filter_is_a_correlation_reflected_at_the_edge(shape: tuple[int, ...], taps: int) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, shape, dtype=np.uint8)
    kernel = rng.random((taps, taps), dtype=np.float32)
    kernel /= kernel.sum()
    half, rest = taps // 2, taps - 1 - taps // 2
    padded = np.pad(image.astype(float), [(half, rest), (half, rest), (0, 0)], mode="reflect")
    expected = signal.fftconvolve(padded, kernel[::-1, ::-1, None], mode="valid", axes=(0, 1))
    np.testing.assert_allclose(filtered(image, kernel), expected, atol=HALF_LEVEL)


@pytest.mark.parametrize("shape", [(40, 40, 3), (47, 31, 3)])
@pytest.mark.parametrize("zoom", ZOOMS)
def test_the_released_zoom_is_that_of_scipy(zoom: tuple[float, float], shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    factors = zoom_factors(*zoom, "released")
    total = image.astype(float)
    for factor in factors:
        parts, cuts = [], []
        for side in shape[:2]:
            part = int(np.ceil(side / factor))
            parts.append(slice((side - part) // 2, (side - part) // 2 + part))
            cut = (round(part * factor) - side) // 2
            cuts.append(slice(cut, cut + side))
        large = ndimage.zoom(image[tuple(parts)].astype(float), (factor, factor, 1), order=1)
        total += large[tuple(cuts)]
    found = mean_zoom(image, factors, "released")
    np.testing.assert_allclose(found, total / (len(factors) + 1), atol=HALF_LEVEL)


def test_the_paper_s_zoom_keeps_the_centre_and_counts_the_image_once(portrait: Picture) -> None:
    factors = zoom_factors(*ZOOMS[4], "paper")
    centre = (224 - 1) / 2
    expected = np.zeros(portrait.shape)
    for factor in factors:
        places = centre + (np.arange(224) - centre) / factor
        at = np.stack(np.meshgrid(places, places, indexing="ij"))
        for channel in range(3):
            expected[:, :, channel] += ndimage.map_coordinates(portrait[:, :, channel].astype(float), at, order=1)
    found = mean_zoom(portrait, factors, "paper")
    np.testing.assert_allclose(found, expected / len(factors), atol=HALF_LEVEL)


def test_the_last_factor_is_the_largest_where_the_steps_meet_it() -> None:
    last = {profile: [zoom_factors(*zoom, profile)[-1] for zoom in ZOOMS] for profile in PROFILES}
    np.testing.assert_allclose(last["paper"], [1.11, 1.18, 1.26, 1.32, 1.39])
    np.testing.assert_allclose(last["released"], [1.11, 1.17, 1.24, 1.32, 1.39])


def test_the_motion_grows_with_the_image_and_is_floored_in_the_release() -> None:
    released = [[streak(severity, height, "released") for severity in range(1, 6)] for height in (256, 48)]
    assert released[0] == [(17, 5), (26, 8), (26, 14), (26, 21), (35, 26)]
    assert released[1] == [(3, 1), (5, 1), (5, 2), (5, 4), (6, 5)]
    paper = np.array([streak(severity, 48, "paper") for severity in range(1, 6)])
    np.testing.assert_allclose(paper, [(3.3, 1), (5, 1.7), (5, 2.7), (5, 4), (6.7, 5)], atol=0.05)


@pytest.mark.parametrize("shape", [(60, 60, 3), (224, 120, 3)])
@pytest.mark.parametrize("angle", [-45.0, -33.3, 0.0, 10.0, 45.0])
def test_motion_is_a_sum_of_shifted_images_with_repeated_edges(angle: float, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    radius, sigma = 17.8, 6.0
    weights = [np.exp(-(step**2) / (2 * sigma**2)) for step in range(37)]
    padded = np.pad(image.astype(float), [(40, 40), (40, 40), (0, 0)], mode="edge")
    expected = np.zeros(shape)
    for step, weight in enumerate(weights):
        x = int(np.ceil(step * np.cos(np.deg2rad(angle)) - 0.5))
        y = int(np.ceil(step * np.sin(np.deg2rad(angle)) - 0.5))
        expected += weight / sum(weights) * padded[40 + y : 40 + y + shape[0], 40 + x : 40 + x + shape[1]]
    np.testing.assert_allclose(smear(image, radius, sigma, angle), expected, atol=HALF_LEVEL)


def test_a_dot_is_smeared_as_imagemagick_does() -> None:
    """`convert dot.png -virtual-pixel edge -motion-blur 5x3+30` of ImageMagick 6.9.11, read off around a white dot."""
    seen = {(-4, -7): 1, (-3, -6): 3, (-3, -5): 8, (-2, -4): 14, (-2, -3): 24, (-1, -3): 36, (-1, -2): 47}
    seen |= {(0, -1): 56, (0, 0): 59}
    dot = np.zeros((41, 41, 3), dtype=np.uint8)
    dot[20, 20] = 255
    expected = np.zeros(dot.shape)
    for (row, column), level in seen.items():
        expected[20 + row, 20 + column] = level
    np.testing.assert_array_equal(np.floor(smear(dot, 5, 3, 30.0) + 1e-3), expected)


def test_without_a_sigma_nothing_moves(portrait: Picture) -> None:
    np.testing.assert_allclose(smear(portrait, 3, 0, 20.0), portrait, atol=HALF_LEVEL)
