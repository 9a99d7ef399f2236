"""Noise of the sensor (Gaussian) and of the light (shot)."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from agewise.evaluation.corruptions.profiles import Generator, Picture, Profile, grey_levels

SIGMAS = (0.08, 0.12, 0.18, 0.24, 0.30)
"""Of the Gaussian noise, as shares of white."""
PHOTONS = (60, 29, 15, 8, 5)
"""That white sends to a pixel and channel, on average."""

BUCKETS = 4096
"""Of equal chance; all draws of most of them are one count, so that one look at a table settles them."""
UNSETTLED = 255


def gaussian_noise(image: Picture, severity: int, rng: Generator, profile: Profile) -> Picture:
    """Normal noise on each pixel and channel."""
    values = rng.standard_normal(image.shape, dtype=np.float32)
    values *= 255 * SIGMAS[severity - 1]
    values += image
    return grey_levels(values, profile)


def shot_noise(image: Picture, severity: int, rng: Generator, profile: Profile) -> Picture:
    """Each pixel and channel counted in photons (a Poisson draw)."""
    photons = PHOTONS[severity - 1]
    return developed(photon_counts(image, photons, rng), photons, profile)


def developed(counts: Picture, photons: int, profile: Profile) -> Picture:
    """Counts as grey levels, where white has so many photons."""
    levels = grey_levels(np.arange(256.0) * (255 / photons), profile)
    return np.asarray(cv2.LUT(counts, levels), dtype=np.uint8)


def photon_counts(image: Picture, photons: int, rng: Generator, gamma: float = 1.0) -> Picture:
    """Poisson draws, of the mean photons * (level / 255) ** gamma; photons: 100 at the most."""
    settled, chances = _photon_tables(photons, gamma)
    bucket = rng.integers(0, BUCKETS, image.size, dtype=np.uint16)
    levels = image.ravel()
    counts = np.take(settled, levels.astype(np.int32) * BUCKETS + bucket)
    rest = np.flatnonzero(counts == UNSETTLED)
    draws = (bucket[rest] + rng.random(len(rest))) / BUCKETS
    counts[rest] = (chances[levels[rest]] <= draws[:, None]).sum(axis=1)
    return counts.reshape(image.shape)


@lru_cache(maxsize=16)
def _photon_tables(photons: int, gamma: float) -> tuple[Picture, NDArray[np.float64]]:
    """For each level and bucket its count or UNSETTLED (flat), and the chances of at most k photons (256, K)."""
    mean = photons * (np.arange(256) / 255) ** gamma
    most = int(photons + 12 * photons**0.5 + 12)  # more than that is rarer than a draw can tell
    ratios = mean[:, None] / np.arange(1, most)
    chances = np.exp(-mean)[:, None] * np.cumprod(np.hstack([np.ones((256, 1)), ratios]), axis=1)
    chances = np.cumsum(chances, axis=1)
    edges = np.arange(BUCKETS + 1) / BUCKETS
    settled = np.empty((256, BUCKETS), dtype=np.uint8)
    for row, chance in zip(settled, chances, strict=True):
        low, high = np.searchsorted(chance, edges[:-1], side="right"), np.searchsorted(chance, edges[1:], side="left")
        row[:] = np.where(low == high, low, UNSETTLED)
    return settled.ravel(), np.asarray(chances, dtype=np.float64)
