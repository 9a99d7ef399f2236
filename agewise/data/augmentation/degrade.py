"""What cameras and storage do to a picture, for training views: blur or sharpening, few pixels, noise, JPEG.

Each is drawn over a wide range. These kinds are also in the corruption benchmark (`agewise robustness`: Gaussian and
motion blur, both noises, pixelate, JPEG, the extra of low resolution); its defocus, zoom and spatter stay unseen.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

CHANCE = 0.4
"""Of each step, in a picture that is degraded at all."""
SOFTEST = 0.02
"""Standard deviation of the strongest Gaussian, as a share of the side; the least has a tenth of it."""
LONGEST = 0.08
"""Length of the longest streak, as a share of the side; the shortest has an eighth of it."""
SHARPEST = 1.5
"""Share of what a Gaussian of half a hundredth of the side takes away that sharpening adds, at the most."""
FEWEST = 0.15
"""Least share of the pixels' rows that is kept."""
NOISIEST = 40.0
"""Largest standard deviation of the noise, in grey levels (at level 128, where it grows with light); the least is 2."""
WORST_QUALITY, BEST_QUALITY = 15, 90
"""Of JPEG."""


def degraded(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """An RGB view (S, S, 3) as a worse camera would have stored it; each step by chance, none of them in 13 %."""
    for step in (_refocused, _coarsened, _noisy, _compressed):
        if rng.random() < CHANCE:
            pixels = step(pixels, rng)
    return pixels


def _between(low: float, high: float, rng: np.random.Generator) -> float:
    """Drawn evenly on a logarithmic scale."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _refocused(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blurred, smeared along a line, or sharpened, with equal chance."""
    side = len(pixels)
    kind = rng.integers(3)
    if kind == 0:
        return _blurred(pixels, _between(SOFTEST / 10, SOFTEST, rng) * side)
    if kind == 1:
        return _smeared(pixels, _between(LONGEST / 8, LONGEST, rng) * side, rng.uniform(0, np.pi))
    soft, more = _blurred(pixels, 0.005 * side), rng.uniform(0, SHARPEST)
    return np.asarray(cv2.addWeighted(pixels, 1 + more, soft, -more, 0), dtype=np.uint8)


def _blurred(pixels: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), dtype=np.uint8)


def _smeared(pixels: NDArray[np.uint8], length: float, angle: float) -> NDArray[np.uint8]:
    """Moved along a straight line of so many pixels while it was taken."""
    reach = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    steps = np.linspace(-length / 2, length / 2, 4 * reach + 1)
    x, y = reach + np.cos(angle) * steps, reach + np.sin(angle) * steps
    np.add.at(kernel, (np.rint(y).astype(int), np.rint(x).astype(int)), 1.0)
    return np.asarray(cv2.filter2D(pixels, -1, kernel / kernel.sum()), dtype=np.uint8)


def _coarsened(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Taken with fewer pixels and enlarged again."""
    side = len(pixels)
    fewer = max(1, round(side * _between(FEWEST, 1.0, rng)))
    small = cv2.resize(pixels, (fewer, fewer), interpolation=cv2.INTER_AREA)
    back = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(small, (side, side), interpolation=back), dtype=np.uint8)


def _noisy(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Normal noise, alike in all channels or not, and half the time stronger where it is light, as photons make it."""
    rows, columns = pixels.shape[:2]
    std = _between(2.0, NOISIEST, rng)
    noise = rng.standard_normal((rows, columns, 1 if rng.random() < 0.5 else 3), dtype=np.float32) * np.float32(std)
    levels = pixels.astype(np.float32)
    if rng.random() < 0.5:
        noise = noise * np.sqrt(levels / 128)
    return np.rint(np.clip(levels + noise, 0, 255)).astype(np.uint8)


def _compressed(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Stored as JPEG and read again."""
    quality = int(rng.integers(WORST_QUALITY, BEST_QUALITY + 1))
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)
