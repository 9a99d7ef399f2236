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
FAINT, HINT = 0.1, 0.25
"""The scores from which a candidate of the coarsest and of the middle level hints at a small face: without a hint, and
where all faces found are clear, nothing finer is scanned."""
BESIDE = 1.5
"""Within so many sizes of a face's centre a faint candidate of the coarsest level is its neck, hair or shoulder."""
SMALL = 1.5
"""In REACH of its level: how small a candidate is that hints, and a face whose box and points are not yet right."""


def as_finest(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """A large image as its finest level, from which the coarser ones are made as well, and how it was scaled.

    Areas of areas are areas: three passes over a photo of 12 megapixels took 80 ms, one takes 28.
    """
    height, width = image.shape[:2]
    scale = LEVELS[-1] / max(height, width)
    if scale >= 1:
        return image, 1.0
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), scale


def left_out(faces: list[Face], level: int, side: int) -> bool:
    """Whether that level of a photo of that long side is left out: it would mostly add false faces, or far ones."""
    enlarged = level > 1.25 * side
    if enlarged and faces and (len(faces) == 1 or min(face.score for face in faces) >= CLEAR):
        return True
    largest = subject_size(faces, side)
    return largest > NEAR * side or (level > LEVELS[1] and largest > 0)


def hinted(found: NDArray[np.float64], faces: list[Face], level: int, side: int, small: float, many: int = 0) -> bool:
    """Whether candidates (K, 17) of a level hint at faces of less than `small` pixels in a photo of that long side.

    So do no face at all, a doubtful one, and more than `many` small ones. In a photo beyond the finest level the
    coarsest one is no guide: what gives no hint there may have 50 pixels.
    """
    if level == LEVELS[0] and side > LEVELS[-1]:
        return True
    if not faces or min(face.score for face in faces) < CLEAR or sum(face.size < small for face in faces) > many:
        return True
    likely = found[np.maximum(found[:, 2] - found[:, 0], found[:, 3] - found[:, 1]) < small]
    boxes, sizes = np.array([face.box for face in faces]), np.array([face.size for face in faces])
    centres = (likely[:, None, :2] + likely[:, None, 2:4]) / 2
    inside = np.all((centres > boxes[:, :2]) & (centres < boxes[:, 2:]), axis=2)
    if level == LEVELS[0]:
        away = np.abs(centres - (boxes[:, :2] + boxes[:, 2:]) / 2).max(axis=2)
        inside |= (away < BESIDE * sizes) & (likely[:, None, -1] < HINT)
    return not bool(np.all(np.any(inside, axis=1)))


def subject_size(faces: list[Face], side: int) -> float:
    """Size of the largest clear face that dominates the photo; 0.0 where none does."""
    largest = max((face.size for face in faces if face.score >= CLEAR), default=0.0)
    return largest if largest > DOMINANT * side else 0.0
