"""Which levels of the image pyramid are scanned: finer ones take most of the time, and mostly find nothing more."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from agewise.faces.face import Face

LEVELS = (256, 512, 1024)
"""Long sides, in pixels, of the images scanned, coarse to fine; each finds faces of REACH of its pixels and more."""
REACH = 30
CLEAR = 0.8
"""The score of a face that is beyond doubt."""
DOMINANT = 0.25
"""The share of the photo's long side from which a clear face is its subject: finer levels mostly add false ones."""
NEAR = 0.35
"""The share from which the middle level is left out too: beside so near a face, those of less than an eighth of the
photo's long side are missed."""
HINTS = {256: (0.1, 0.25), 512: (0.25, 0.35), 1024: (0.25, 0.35)}
"""By level, the scores from which a candidate hints at a small face, anywhere and beside a found one: without a hint,
and where all faces found are clear, nothing finer is scanned."""
BESIDE = {256: 1.5, 512: 2.0, 1024: 2.0}
"""Within so many sizes of a face's centre a faint candidate is its neck, hair or shoulder."""
CHEST, AS_LARGE = 1.0, 0.6
"""Below it, within so many sizes, and from so much of its size on, a candidate is mostly its chin or chest."""
SMALL, COARSE = 45, 20
"""Pixels of its level below which a candidate hints at small faces, and below which a face's box and points are not
yet right; its age is, from 12 on."""


def as_finest(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """A large image as its finest level, from which the coarser ones are made as well, and how it was scaled."""
    scale = min(1.0, LEVELS[-1] / max(image.shape[:2]))
    return (image, scale) if scale == 1 else (scaled(image, scale), scale)


def scaled(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """The image halved while that is enough, each pixel the mean of four, then resized linearly.

    It takes a fifth of the time of areas (12 megapixels to 1024 px: 5 ms for 26). Without a halving it is bilinear, and
    fine patterns alias more, at the price of 4 faces of 2,480 (docs/LOG.md). Of odd numbers of rows or columns the last
    is left out.
    """
    while scale <= 0.5 and min(image.shape[:2]) > 1:
        height, width = (side // 2 for side in image.shape[:2])
        image = _resized(image[: 2 * height, : 2 * width], width, height, cv2.INTER_AREA)
        scale *= 2
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return _resized(image, width, height, cv2.INTER_AREA if scale <= 0.5 else cv2.INTER_LINEAR)


def _resized(image: NDArray[np.uint8], width: int, height: int, how: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), dtype=np.uint8)


def left_out(faces: list[Face], level: int, side: int) -> bool:
    """Whether that level of a photo of that long side is left out: it would mostly add false faces, or far ones."""
    enlarged = level > 1.25 * side
    if enlarged and faces and (len(faces) == 1 or min(face.score for face in faces) >= CLEAR):
        return True
    largest = subject_size(faces, side)
    return largest > NEAR * side or (level > LEVELS[1] and largest > 0)


def hinted(found: NDArray[np.float64], faces: list[Face], level: int, side: int, pixel: float) -> bool:
    """Whether candidates (K, 17) of a level, whose pixels are of `pixel` of the photo's, hint at more to be seen.

    So do no face at all, a doubtful one, and one of few pixels. In a photo beyond the finest level, of that long side,
    the coarsest one is no guide: what gives no hint there may have 50 pixels.
    """
    if level == LEVELS[0] and side > LEVELS[-1]:
        return True
    if not faces or min(face.score for face in faces) < CLEAR or min(face.size for face in faces) < COARSE * pixel:
        return True
    large = np.maximum(found[:, 2] - found[:, 0], found[:, 3] - found[:, 1])
    likely, large = found[large < SMALL * pixel], large[large < SMALL * pixel]
    boxes, sizes = np.array([face.box for face in faces]), np.array([face.size for face in faces])
    centres = (likely[:, None, :2] + likely[:, None, 2:4]) / 2
    inside = np.all((centres > boxes[:, :2]) & (centres < boxes[:, 2:]), axis=2)
    across, down = np.moveaxis(centres - (boxes[:, :2] + boxes[:, 2:]) / 2, 2, 0)
    away = np.maximum(np.abs(across), np.abs(down))
    inside |= (away < BESIDE[level] * sizes) & (likely[:, None, -1] < HINTS[level][1])
    inside |= (down >= np.abs(across)) & (away < CHEST * sizes) & (large[:, None] > AS_LARGE * sizes)
    return not bool(np.all(np.any(inside, axis=1)))


def subject_size(faces: list[Face], side: int) -> float:
    """Size of the largest clear face that dominates the photo; 0.0 where none does."""
    largest = max((face.size for face in faces if face.score >= CLEAR), default=0.0)
    return largest if largest > DOMINANT * side else 0.0
