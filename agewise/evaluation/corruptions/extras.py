"""Corruptions that the paper does not have: hidden parts, low light, low resolution, rotation.

The hidden parts lie where `TEMPLATE` puts the face: they are for whole crops of the standard frame.
"""

from __future__ import annotations

import cv2
import numpy as np

from agewise.evaluation.corruptions.noise import developed, photon_counts
from agewise.evaluation.corruptions.profiles import Floats, Generator, Picture, grey_levels
from agewise.faces.align import TEMPLATE

MASK_TOPS = (0.66, 0.615, 0.57, 0.53, 0.49)
"""Upper edge, as shares of the frame: over the mouth only, under the nose, over its tip, over the nose, to the eyes."""
MASK_OUTLINE = ((0.46, 0.235), (0.62, 0.225), (0.76, 0.180), (0.86, 0.080), (0.88, 0.0))
"""How far the mask reaches to each side at a height, as shares of the frame."""
MASK_COLOUR = (143, 188, 208)
LENSES = ((0.075, 0.050), (0.085, 0.060), (0.095, 0.070), (0.105, 0.080), (0.115, 0.090))
"""Half axes around each eye, as shares of the frame."""
TINTS = (0.55, 0.70, 0.85, 0.95, 1.0)
LENS_COLOUR = (18, 18, 20)
PATCHES = (0.16, 0.24, 0.32, 0.40, 0.48)
"""Side of the square that a hand hides, as a share of the frame; an open hand is about as long as a face."""
NIGHTS = ((1.5, 100), (2.0, 60), (2.5, 35), (3.0, 20), (4.0, 12))
"""Gamma, and photons of white."""
SCALES = (0.5, 0.35, 0.25, 0.18, 0.125)
"""Of the sides: 112 to 28 pixels where the crop has 224."""
ANGLES = (5, 10, 20, 30, 45)
"""Degrees."""


def mask(image: Picture, severity: int, _rng: Generator) -> Picture:
    """A surgical mask, worn ever higher."""
    x, y = _grid(image)
    height, width = image.shape[:2]
    half = np.interp(y, *np.transpose(MASK_OUTLINE))
    inside = _edge((half - abs(x - 0.5)) * width) * _edge((y - MASK_TOPS[severity - 1]) * height)
    return _painted(image, inside * _edge((MASK_OUTLINE[-1][0] - y) * height), MASK_COLOUR)


def sunglasses(image: Picture, severity: int, _rng: Generator) -> Picture:
    """Two lenses and their bridge, ever larger and darker."""
    x, y = _grid(image)
    wide, high = LENSES[severity - 1]
    size = min(image.shape[:2])
    (left, level), (right, _) = TEMPLATE[:2]
    inside = _edge(np.minimum(0.012 - abs(y - level), (right - left) / 2 - abs(x - 0.5)) * size)
    for eye in (left, right):
        distance = np.hypot((x - eye) / wide, (y - level) / high)
        inside = np.maximum(inside, _edge((1 - distance) * high * size))
    return _painted(image, inside * TINTS[severity - 1], LENS_COLOUR)


def patch(image: Picture, severity: int, rng: Generator) -> Picture:
    """A hand before the face: a rounded square somewhere on it, in a darker tone of its own colour."""
    x, y = _grid(image)
    centre, half, round_by = rng.uniform((0.38, 0.42), (0.62, 0.72)), PATCHES[severity - 1] / 2, 0.05
    across, down = (np.maximum(abs(v - c) - half + round_by, 0) for v, c in zip((x, y), centre, strict=True))
    inside = _edge((round_by - np.hypot(across, down)) * min(image.shape[:2]))
    rows, columns = (slice(int(0.45 * side), int(0.65 * side) + 1) for side in image.shape[:2])
    red, green, blue = image[rows, columns].reshape(-1, 3).mean(axis=0) * 0.8
    return _painted(image, inside, (red, green, blue))


def low_light(image: Picture, severity: int, rng: Generator) -> Picture:
    """A darker picture, counted in photons."""
    gamma, photons = NIGHTS[severity - 1]
    return developed(photon_counts(image, photons, rng, gamma), photons, "paper")


def low_resolution(image: Picture, severity: int, _rng: Generator) -> Picture:
    """The image shrunk by areas and enlarged by cubic curves, as a pipeline does with a face of few pixels."""
    height, width = image.shape[:2]
    small = round(width * SCALES[severity - 1]), round(height * SCALES[severity - 1])
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def rotation(image: Picture, severity: int, rng: Generator) -> Picture:
    """The image turned about its centre, to either side; its edge repeats."""
    height, width = image.shape[:2]
    angle = float(ANGLES[severity - 1] * rng.choice((-1, 1)))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)


def _grid(image: Picture) -> tuple[Floats, Floats]:
    """The pixels' centres as shares of the frame: x (1, W), y (H, 1)."""
    height, width = image.shape[:2]
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    return x.astype(np.float32)[None], y.astype(np.float32)[:, None]


def _edge(depth: Floats) -> Floats:
    """0 outside, 1 inside, and a ramp of a pixel between them; depth: pixels behind the edge."""
    return np.asarray(np.clip(depth + 0.5, 0, 1), dtype=np.float32)


def _painted(image: Picture, share: Floats, colour: tuple[float, float, float]) -> Picture:
    paint = np.array(colour, dtype=np.float32)
    return grey_levels(image.astype(np.float32) + share[:, :, None] * (paint - image), "paper")
