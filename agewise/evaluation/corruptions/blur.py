"""Blurs: Gaussian, defocus, zoom and motion; those of defocus and motion grow with the image's height."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from agewise.evaluation.corruptions.profiles import Floats, Generator, Picture, Profile, grey_levels, smooth

SIGMAS = (1.0, 1.8, 2.6, 3.4, 4.0)
"""Of the Gaussian blur, in pixels of the image, whatever its size."""
DISCS = ((1.5, 0.1), (2.0, 0.2), (2.0, 0.3), (2.5, 0.4), (3.0, 0.4))
"""Radius and smoothing of the defocused point, in pixels at a height of 48."""
ZOOMS = ((1.11, 0.01), (1.18, 0.01), (1.26, 0.02), (1.32, 0.02), (1.40, 0.03))
"""Largest factor and step."""
STREAKS = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
"""Radius and sigma of the motion, in pixels at a height of 144."""
STEEPEST = 45.0
"""Degrees between the motion and the rows, at the most."""
DFT_TAPS = 130
"""From so many on OpenCV filters by Fourier transforms."""


def gaussian_blur(image: Picture, severity: int, _rng: Generator, profile: Profile) -> Picture:
    """The image under a Gaussian, its edge repeated."""
    return grey_levels(smooth(image, SIGMAS[severity - 1]), profile)


def defocus_blur(image: Picture, severity: int, _rng: Generator, profile: Profile) -> Picture:
    """The image under a smoothed disc, reflected at its edge."""
    radius, sigma = (value * len(image) / 48 for value in DISCS[severity - 1])
    return grey_levels(filtered(image, disc(radius, sigma, profile)), profile)


def filtered(
    image: Picture, kernel: Floats, anchor: tuple[int, int] | None = None, border: int = cv2.BORDER_REFLECT_101
) -> Floats:
    """The image correlated with a kernel around its anchor x, y (the middle one, or the one behind the middle)."""
    x, y = anchor or (kernel.shape[1] // 2, kernel.shape[0] // 2)
    if kernel.size >= DFT_TAPS:
        kernel = np.pad(kernel, [(0, _missing(*sides)) for sides in zip(kernel.shape, image.shape[:2], strict=True)])
    return np.asarray(cv2.filter2D(image.astype(np.float32), -1, kernel, anchor=(x, y), borderType=border), np.float32)


def _missing(taps: int, side: int) -> int:
    """Zeros that make OpenCV transform the image in one block: its blocks are 4.5 kernels or 257 pixels less a kernel.

    It cuts 224 pixels under 43 taps into four overlapping blocks, which took 4.8 ms instead of 2.0.
    """
    return 0 if max(4.5 * taps, 257 - taps) >= side else int(np.ceil(side / 4.5)) - taps


@lru_cache(maxsize=64)
def disc(radius: float, sigma: float, profile: Profile) -> Floats:
    """A point out of focus: a disc smoothed by a Gaussian, both in pixels, that sums to 1.

    `released` keeps what Hendrycks and Dietterich (2019) compute: a grid from -radius in steps of 1, off centre unless
    the radius is whole, at least 17 wide, and a Gaussian of 3 x 3 taps, of 5 x 5 where the radius is above 8. It
    reflects the disc where that meets the grid's edge, so the sum may reach 1.05: the blur brightens.
    """
    if profile == "paper":
        reach = int(4 * sigma + 0.5)
        side, taps, border = np.arange(-np.ceil(radius) - reach, np.ceil(radius) + reach + 1), 2 * reach + 1, 0
    elif radius <= 8:
        side, taps, border = np.arange(-8.0, 9.0), 3, cv2.BORDER_DEFAULT
    else:
        side, taps, border = np.arange(-radius, radius + 1), 5, cv2.BORDER_DEFAULT
    flat = (side[:, None] ** 2 + side**2 <= radius**2).astype(np.float32)
    kernel = np.asarray(cv2.GaussianBlur(flat / flat.sum(), (taps, taps), sigma, borderType=border), dtype=np.float32)
    kernel.flags.writeable = False
    return kernel


def zoom_blur(image: Picture, severity: int, _rng: Generator, profile: Profile) -> Picture:
    """The mean of the image's enlargements."""
    factors = zoom_factors(*ZOOMS[severity - 1], profile)
    return grey_levels(mean_zoom(image, factors, profile), profile)


def zoom_factors(largest: float, step: float, profile: Profile) -> list[float]:
    """1 and on in steps to the largest factor; `released` steps in float64, where the end is met by chance only.

    >>> [len(zoom_factors(*zoom, "paper")) for zoom in ZOOMS], [len(zoom_factors(*zoom, "released")) for zoom in ZOOMS]
    ([12, 19, 14, 17, 14], [12, 18, 13, 17, 14])
    """
    if profile == "released":
        return [float(factor) for factor in np.arange(1, largest, step)]
    return [1 + n * step for n in range(int((largest - 1) / step + 1e-6) + 1)]


def mean_zoom(image: Picture, factors: list[float], profile: Profile) -> Floats:
    """The mean of the enlargements, of which the first is the image itself; `released` counts it twice."""
    height, width = image.shape[:2]
    pixels = image.astype(np.float32)
    columns = np.asarray(cv2.transpose(pixels), dtype=np.float32).reshape(width, height * 3)
    total = pixels.reshape(height, width * 3) * (2 if profile == "released" else 1)
    for factor in factors[1:]:  # rows are contiguous and columns are not: both are blended as rows
        stretched = _blended(columns, *_taps(width, factor, profile)).reshape(width, height, 3)
        rows = np.asarray(cv2.transpose(stretched), dtype=np.float32).reshape(height, width * 3)
        total += _blended(rows, *_taps(height, factor, profile))
    count = len(factors) + (profile == "released")
    return (total * np.float32(1 / count)).reshape(image.shape)


def _blended(rows: Floats, first: NDArray[np.intp], share: Floats) -> Floats:
    """Between each of the rows named and the next one, the share of the way; the last is its own next one."""
    out = np.take(rows, first, axis=0, mode="clip")
    step = np.take(rows, first + 1, axis=0, mode="clip")
    step -= out
    step *= share
    out += step
    return out


@lru_cache(maxsize=512)
def _taps(length: int, factor: float, profile: Profile) -> tuple[NDArray[np.intp], Floats]:
    """For each place of an enlarged line: the place before it in the line, and how far it lies behind that (N, 1).

    `released` does as scipy.ndimage.zoom of order 1 on the middle ceil(length / factor) places, cut to the length: the
    ends of both lines coincide. `paper` enlarges about the centre.
    """
    places = np.arange(length)
    if profile == "released":
        part = int(np.ceil(length / factor))
        large = round(part * factor)
        source = (length - part) // 2 + (places + (large - length) // 2) * ((part - 1) / (large - 1))
    else:
        centre = (length - 1) / 2
        source = centre + (places - centre) / factor
    first = source.astype(np.intp)
    return first, (source - first).astype(np.float32)[:, None]


def motion_blur(image: Picture, severity: int, rng: Generator, profile: Profile) -> Picture:
    """The image smeared to one side, along a line within 45 degrees of the rows."""
    radius, sigma = streak(severity, len(image), profile)
    return grey_levels(smear(image, radius, sigma, float(rng.uniform(-STEEPEST, STEEPEST))), profile)


def streak(severity: int, height: int, profile: Profile) -> tuple[float, float]:
    """Radius and sigma of the motion in pixels; `released` floors both.

    >>> streak(1, 256, "released")
    (17, 5)
    """
    radius, sigma = STREAKS[severity - 1]
    if profile == "released":
        return radius * height // 144, sigma * height // 144
    return radius * height / 144, sigma * height / 144


def smear(image: Picture, radius: float, sigma: float, angle: float) -> Floats:
    """ImageMagick's motion blur: half a Gaussian of 2 ceil(radius) + 1 taps that starts at each pixel; edges repeat.

    angle: in degrees, clockwise from the rows. Taps lie on whole pixels, halves rounded down. sigma 0 is the image.
    """
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * max(sigma, 1e-6) ** 2))
    turn = np.deg2rad(angle)
    x, y = (np.ceil(steps * share - 0.5).astype(int) for share in (np.cos(turn), np.sin(turn)))
    left, top = int(x.min()), int(y.min())
    kernel = np.zeros((int(y.max()) - top + 1, int(x.max()) - left + 1), dtype=np.float32)
    np.add.at(kernel, (y - top, x - left), weights / weights.sum())
    return filtered(image, kernel, (-left, -top), cv2.BORDER_REPLICATE)
