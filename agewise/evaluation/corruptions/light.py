"""Contrast and brightness, as tables of grey levels."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from agewise.evaluation.corruptions.profiles import Generator, Picture, Profile, grey_levels

STRONGER = (1.5, 1.9, 2.6, 3.3, 5.0)
WEAKER = (0.40, 0.33, 0.24, 0.16, 0.10)
"""Factors on the distance from the mean of the image's channel."""
STEPS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""On the value of HSV, as shares of white."""


def contrast_plus(image: Picture, severity: int, _rng: Generator, profile: Profile) -> Picture:
    """Each channel further from its mean."""
    return contrasted(image, STRONGER[severity - 1], profile)


def contrast_minus(image: Picture, severity: int, _rng: Generator, profile: Profile) -> Picture:
    """Each channel nearer to its mean."""
    return contrasted(image, WEAKER[severity - 1], profile)


def contrasted(image: Picture, factor: float, profile: Profile) -> Picture:
    """Each channel's distance from its mean, times a factor."""
    mean = np.array(cv2.mean(image)[:3])
    curves = (np.arange(256.0)[:, None] - mean) * factor + mean
    return np.asarray(cv2.LUT(image, grey_levels(curves, profile)[None]), dtype=np.uint8)


def brightness_plus(image: Picture, severity: int, _rng: Generator, profile: Profile) -> Picture:
    """A greater value, at the same hue and saturation."""
    return brightened(image, STEPS[severity - 1], profile)


def brightness_minus(image: Picture, severity: int, _rng: Generator, profile: Profile) -> Picture:
    """A smaller value, at the same hue and saturation."""
    return brightened(image, -STEPS[severity - 1], profile)


def brightened(image: Picture, step: float, profile: Profile) -> Picture:
    """The value of HSV, which is a pixel's largest channel, moved by a share of white and clipped to 0..1."""
    red, green, blue = cv2.split(image)
    value = np.asarray(cv2.max(cv2.max(red, green), blue), dtype=np.uint16)
    return np.take(_brightness_table(step, profile), (value[:, :, None] << 8) | image)


@lru_cache(maxsize=64)
def _brightness_table(step: float, profile: Profile) -> Picture:
    """What a channel becomes, at value * 256 + channel: all channels are scaled alike, and black becomes grey."""
    value = np.arange(256.0)
    moved = np.clip(value + 255 * step, 0, 255)
    table = value * (moved / np.maximum(value, 1))[:, None]
    table[0] = moved[0]
    return grey_levels(table, profile).ravel()
