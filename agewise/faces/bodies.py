"""Faces and the people they belong to: pairing boxes, and the crops of MiVOLO (Kuprashevich and Tolstykh 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST_SCORE = 1e-4
"""A face and a person whose score is not above this are not paired."""


@dataclass(frozen=True, slots=True)
class CropRule:
    """When the crop of a person can be used, and how others are cut out of it.

    smallest: pixels of the crop's shorter side, at least.
    extend: a cut-out that comes nearer to a border than this share of the crop's side goes on to that border.
    remain: the share of pixels that must not be black in the end.
    """

    smallest: int = 50
    extend: float = 0.3
    remain: float = 0.4


INFERENCE = CropRule()
TRAINING = CropRule(smallest=100, extend=0.0)


def pair(faces: ArrayLike, people: ArrayLike) -> list[tuple[int, int]]:
    """Who a face belongs to: (face, person) by index, -1 for none; every face in order, then the people left over.

    Boxes (F, 4) and (P, 4). One face a person, so that the scores (IoU + the share of the face inside) / 2 have the
    greatest sum (Kuhn 1955). Raises ValueError on an empty box.
    """
    from scipy.optimize import linear_sum_assignment  # not in the base install, which finds no people

    scores = _scores(_boxes(faces, "faces"), _boxes(people, "people"))
    rows, columns = linear_sum_assignment(scores, maximize=True)
    person_of = {int(f): int(p) for f, p in zip(rows, columns, strict=True) if scores[f, p] > LEAST_SCORE}
    found = [(face, person_of.get(face, -1)) for face in range(scores.shape[0])]
    taken = set(person_of.values())
    return found + [(-1, person) for person in range(scores.shape[1]) if person not in taken]


def face_crop(photo: NDArray[np.uint8], face: ArrayLike) -> NDArray[np.uint8] | None:
    """The part of the photo (H, W, 3) in the face's box, without a margin; None where the photo does not reach it."""
    x0, y0, x1, y1 = _inside(_boxes(np.reshape(face, (1, -1)), "face")[0], photo)
    return photo[y0:y1, x0:x1].copy() if x1 > x0 and y1 > y0 else None


def body_crop(
    photo: NDArray[np.uint8],
    person: ArrayLike,
    other_people: ArrayLike,
    faces: ArrayLike,
    rule: CropRule = INFERENCE,
) -> NDArray[np.uint8] | None:
    """The part of the photo (H, W, 3) in the person's box, other people and all faces, their own too, black.

    Black, because the network sees the face by itself, and a body must not tell the age of its neighbour.
    other_people, faces: boxes (P, 4), without the person's own, and (F, 4), with it; only the people's cut-outs are
    extended. None where the crop is too small or too little of it remains. Raises ValueError on an empty box.
    """
    others, hidden = _boxes(other_people, "other people"), _boxes(faces, "faces")
    x0, y0, x1, y1 = _inside(_boxes(np.reshape(person, (1, -1)), "person")[0], photo)
    if min(x1 - x0, y1 - y0) < max(rule.smallest, 1):
        return None
    crop = photo[y0:y1, x0:x1].copy()
    for boxes, extend in ((others, rule.extend), (hidden, 0.0)):
        for box in boxes - (x0, y0, x0, y0):
            crop[_cut_out(box, x1 - x0, y1 - y0, extend)] = 0
    return crop if crop.any(axis=2).mean() >= rule.remain else None


def letterbox(image: NDArray[np.uint8] | None, size: int) -> NDArray[np.uint8]:
    """The image (H, W, 3) as large as fits into (size, size, 3), in its middle, black around; all black for None.

    All black is MiVOLO's missing view. Bilinear; shrunk by areas where it is more than twice as fine, as `warp` does.
    Raises ValueError on an image without pixels.
    """
    out = np.zeros((size, size, 3), dtype=np.uint8)
    if image is None:
        return out
    height, width = image.shape[:2]
    if not height or not width:
        raise ValueError(f"an image of {width}x{height} pixels cannot be resized")
    scale = size / max(height, width)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    resized = cv2.resize(image, inner, interpolation=cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR)
    left, top = (size - inner[0]) // 2, (size - inner[1]) // 2
    out[top : top + inner[1], left : left + inner[0]] = resized
    return out


def _scores(faces: NDArray[np.float64], people: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the IoU plus half the share of the face inside the person: (F, P)."""
    corner = np.maximum(faces[:, None, :2], people[None, :, :2])
    overlap = np.maximum(np.minimum(faces[:, None, 2:], people[None, :, 2:]) - corner, 0.0).prod(axis=2)
    face_area = (faces[:, 2:] - faces[:, :2]).prod(axis=1)[:, None]
    person_area = (people[:, 2:] - people[:, :2]).prod(axis=1)[None]
    return np.asarray((overlap / (face_area + person_area - overlap) + overlap / face_area) / 2)


def _boxes(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Boxes (N, 4), an empty list included. Raises ValueError naming the first that is no box."""
    boxes = np.asarray(values, dtype=np.float64)
    if boxes.shape == (0,):
        return np.empty((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name}: boxes have shape {boxes.shape}; (N, 4) is needed: x0, y0, x1, y1")
    wrong = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, :2] < boxes[:, 2:]).all(axis=1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{name}: box {row} is {boxes[row].tolist()}; x0 < x1 and y0 < y1 are needed")
    return boxes


def _inside(box: NDArray[np.float64], photo: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """The box at the nearest pixel edges, cut off at the photo's; empty where they do not meet."""
    height, width = photo.shape[:2]
    x0, y0, x1, y1 = np.clip(np.rint(box), 0, (width, height, width, height)).astype(int).tolist()
    return x0, y0, x1, y1


def _cut_out(box: NDArray[np.float64], width: int, height: int, extend: float) -> tuple[slice, slice]:
    """Rows and columns of every pixel that the box touches, on to the borders it comes near to; none if it misses."""
    sides = np.array([width, height])
    first, last = np.clip(np.floor(box[:2]), 0, sides), np.clip(np.ceil(box[2:]), 0, sides)
    if (first >= last).any():
        return slice(0), slice(0)
    x0, y0 = np.where(first < extend * sides, 0, first).astype(int)
    x1, y1 = np.where(sides - last < extend * sides, sides, last).astype(int)
    return slice(y0, y1), slice(x0, x1)
