from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from agewise.evaluation.corruptions.profiles import PROFILES, Profile
from agewise.evaluation.corruptions.spatter import MUD, SPLASHES, WATER, Splash, mud, splashed, water

BLACK = np.zeros((120, 90, 3), dtype=np.uint8)


def noise(splash: Splash) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(splash.mean, splash.std, BLACK.shape[:2]).astype(np.float32)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("splash", SPLASHES)
def test_a_layer_without_a_drop_leaves_the_picture_alone(splash: Splash, profile: Profile) -> None:
    image = np.full(BLACK.shape, 77, dtype=np.uint8)
    out = splashed(image, np.zeros(BLACK.shape[:2], dtype=np.float32), splash, profile)
    np.testing.assert_array_equal(out, image)


@pytest.mark.parametrize("splash", SPLASHES[:3])
def test_water_shines_only_where_it_is_and_reaches_its_strength(splash: Splash) -> None:
    layer = ndimage.gaussian_filter(noise(splash), splash.sigma, mode="nearest", truncate=4)
    shine = water(layer, splash)
    assert shine.min() == 0
    assert shine.max() == pytest.approx(splash.strength, abs=1e-6)
    assert not shine[layer < splash.least].any()
    assert 0 < (shine > 0).mean() < 0.6


@pytest.mark.parametrize("splash", SPLASHES[3:])
def test_mud_is_the_smoothed_mask_where_it_is_dense(splash: Splash) -> None:
    layer = ndimage.gaussian_filter(noise(splash), splash.sigma, mode="nearest", truncate=4)
    share = ndimage.gaussian_filter((layer > splash.least).astype(float), splash.strength, mode="nearest", truncate=4)
    share[share < 0.8] = 0
    np.testing.assert_allclose(mud(layer, splash), share, atol=1e-5)
    white = np.full(BLACK.shape, 255, dtype=np.uint8)
    expected = 255 * (1 - share[:, :, None]) + share[:, :, None] * np.array([63, 42, 20])
    np.testing.assert_allclose(splashed(white, noise(splash), splash, "paper"), expected, atol=0.01)


@pytest.mark.parametrize(("profile", "order"), [("paper", 1), ("released", -1)])
def test_colours_are_swapped_in_the_release(profile: Profile, order: int) -> None:
    for splash, colour in ((SPLASHES[2], WATER), (SPLASHES[4], MUD)):
        out = splashed(BLACK, noise(splash), splash, profile)
        lit = out.max(axis=2) > 0
        assert lit.any()
        np.testing.assert_allclose(
            out[lit] / out[lit].max(axis=1, keepdims=True),
            [np.array(colour[::order]) / max(colour)] * int(lit.sum()),
            rtol=1e-5,
        )
