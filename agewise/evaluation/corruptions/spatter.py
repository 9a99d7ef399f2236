"""Spatter on the lens (Hendrycks and Dietterich 2019): drops of water at severities 1 to 3, mud at 4 and 5."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from agewise.evaluation.corruptions.profiles import Floats, Generator, Picture, Profile, grey_levels, smooth


@dataclass(frozen=True, slots=True)
class Splash:
    """A layer of liquid: the mean and std of its noise, and the sigma in pixels that smooths it.

    It begins at `least`. strength: of the water as a share, or the sigma in pixels that rounds the mud off.
    """

    mean: float
    std: float
    sigma: float
    least: float
    strength: float
    mud: bool


SPLASHES = (
    Splash(0.65, 0.3, 4, 0.69, 0.6, False),
    Splash(0.65, 0.3, 3, 0.68, 0.6, False),
    Splash(0.65, 0.3, 2, 0.68, 0.5, False),
    Splash(0.65, 0.3, 1, 0.65, 1.5, True),
    Splash(0.67, 0.4, 1, 0.65, 1.5, True),
)
WATER, MUD = (175, 238, 238), (63, 42, 20)
"""RGB; `released` lays them on BGR images, so its water is pale yellow and its mud bluish."""
DENSEST = 0.8
"""Least share of mud that stays."""
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=np.float32)


def spatter(image: Picture, severity: int, rng: Generator, profile: Profile) -> Picture:
    """The image behind drops of water or mud."""
    splash = SPLASHES[severity - 1]
    noise = rng.normal(splash.mean, splash.std, image.shape[:2]).astype(np.float32)
    return grey_levels(splashed(image, noise, splash, profile), profile)


def splashed(image: Picture, noise: Floats, splash: Splash, profile: Profile) -> Floats:
    """The image behind the layer that a plane of noise (H, W) makes."""
    layer = smooth(noise, splash.sigma)
    order = 1 if profile == "paper" else -1
    if splash.mud:
        share = mud(layer, splash)[:, :, None]
        return image * (1 - share) + share * np.array(MUD[::order], dtype=np.float32)
    return image + water(layer, splash)[:, :, None] * np.array(WATER[::order], dtype=np.float32)


def mud(layer: Floats, splash: Splash) -> Floats:
    """How much of it covers each pixel: (H, W), 0..1."""
    share = smooth((layer > splash.least).astype(np.float32), splash.strength)
    share[share < DENSEST] = 0
    return share


def water(layer: Floats, splash: Splash) -> Floats:
    """How much of it shines at each pixel, lit at the drops' edges: (H, W), 0..strength; all 0 without a drop."""
    drops = (255 * np.where(layer < splash.least, 0, layer).clip(0, 1)).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.blur(np.minimum(distance, np.float32(20)), (3, 3)).astype(np.uint8)
    relief = cv2.filter2D(cv2.equalizeHist(distance), cv2.CV_8U, EMBOSS)
    shine = drops * cv2.blur(relief, (3, 3)).astype(np.float32)
    return shine * np.float32(splash.strength / max(float(shine.max()), 1.0))
