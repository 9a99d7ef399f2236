"""Photo -> faces: BlazeFace scanned over an image pyramid, and once more near by where a small face is in doubt."""

from __future__ import annotations

from copy import copy
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from agewise.faces.blazeface import BlazeFace, keep_best
from agewise.faces.face import Face
from agewise.faces.levels import (
    CLEAR,
    DOMINANT,
    HINTS,
    LEVELS,
    REACH,
    as_finest,
    hinted,
    left_out,
    scaled,
    subject_size,
)

FILLED, BORDERS = 0.55, (0.35, 0.8)
"""The share of the long side from which a face fills its photo, and the borders tried then, as shares of that side."""
NEARER, NEARER_SIDE = (1.6, 2.2, 3.0), 192
"""Sides of the views, in face sizes and in pixels, in which a doubtful small face must be seen again."""
NOT_WANTED = 0.75
"""The share of the smallest side asked for below which a face is left out: detectors' boxes differ by as much."""
CONFIRMED, CONFIRMED_BESIDE, FEW = 0.5, 0.65, 2
"""The least mean score of a doubtful small face over first sight and those views; beside so few clear larger faces."""


class Detector:
    """Finds faces in photos.

    threshold: the lowest score of a face that is reported.
    threads: of ONNX Runtime; 0 is one a core.
    smallest: pixels of a face's side below which it need not be found: no level is finer than that needs, and faces
        below NOT_WANTED of it are left out.

    In a photo of up to 1024 pixels faces of less than 30 beside a clear one may be missed: they give no hint of
    themselves at the level at which it is seen.
    """

    def __init__(self, threshold: float = 0.55, threads: int = 0, smallest: float = 0.0) -> None:
        if not 0.0 < threshold < 1.0:
            raise ValueError(f"the detection threshold is {threshold}; between 0 and 1 is allowed")
        if not 0.0 <= smallest < np.inf:
            raise ValueError(f"the smallest face is {smallest} pixels; 0 or more is allowed")
        self.threshold = threshold
        self.threads = threads
        self.smallest = smallest

    @cached_property
    def _network(self) -> BlazeFace:
        return BlazeFace(self.threads)

    def of_shrunk(self, scale: float) -> Detector:
        """The same detector for a photo that was decoded at `scale` of its size: `smallest` is in pixels as stored."""
        if not self.smallest:
            return self
        _ = self._network  # opened once, for both
        other = copy(self)
        other.smallest = self.smallest * scale
        return other

    def __call__(self, image: NDArray[np.uint8]) -> list[Face]:
        """Faces in an RGB image (H, W, 3), the largest first; none is an empty list.

        A photo in which no face is found, or whose face fills it, is looked at again with a border around it: BlazeFace
        misses one FairFace crop in fourteen without, and one in two hundred with it (docs/LOG.md). So is one with
        doubtful faces only: in a photo that one face fills, they are its eyes and mouth.
        """
        return [face for face in self._every(image) if face.size >= NOT_WANTED * self.smallest]

    def _every(self, image: NDArray[np.uint8]) -> list[Face]:
        """Faces of a photo, clear ones that are not wanted too: they tell that no other fills it."""
        faces = self._pyramid(image)
        filled = FILLED * max(image.shape[:2])
        best = max((face.score for face in faces), default=0.0)
        within = bool(faces) and faces[0].size < filled
        if within and best >= CLEAR:
            return faces
        for border in BORDERS:
            framed = self._framed(image, border)
            if framed and (not within or (framed[0].size >= filled and framed[0].score > best)):
                return framed
        return faces

    def _framed(self, image: NDArray[np.uint8], border: float) -> list[Face]:
        side = max(image.shape[:2])
        scale = min(1.0, LEVELS[1] / side)
        height, width = image.shape[:2]
        small = scaled(image, scale) if scale < 1 else image
        pad = round(border * side * scale)
        padded = np.asarray(cv2.copyMakeBorder(small, pad, pad, pad, pad, cv2.BORDER_REPLICATE), dtype=np.uint8)
        faces = [face.moved(1 / scale, -pad / scale, -pad / scale) for face in self._pyramid(padded, scale)]
        return [f for f in faces if 0 < f.box[0] + f.box[2] < 2 * width and 0 < f.box[1] + f.box[3] < 2 * height]

    def _pyramid(self, image: NDArray[np.uint8], zoom: float = 1.0) -> list[Face]:
        """Faces of an image, which may be a photo scaled by `zoom`."""
        side = max(image.shape[:2])
        candidates = np.empty((0, 17))
        faces: list[Face] = []
        whole, shrunk = as_finest(image)
        reach, more = np.inf, True
        for level in LEVELS:
            if not more or left_out(faces, level, side):
                break
            if reach <= self.smallest * zoom:
                break
            scale = self._scale(level, side, self.smallest * zoom)
            reach = REACH / scale
            found = self._scan(whole, scale / shrunk, min(HINTS[level][0], self.threshold))
            found[:, :-1] /= shrunk
            candidates = np.concatenate([candidates, found[found[:, -1] > self.threshold]])
            faces = keep_best(candidates)
            more = hinted(found, faces, level, side, 1 / scale)
        dominant = subject_size(faces, side)
        clear = [face.size for face in faces if face.score >= CLEAR]
        faces = [face for face in faces if face.score >= CLEAR or face.size >= NOT_WANTED * self.smallest * zoom]
        faces = [face for face in faces if self._confirmed(image, face, clear)]
        return [face for face in faces if face.size >= 0.8 * dominant or face.score >= CLEAR - 0.05]

    @staticmethod
    def _scale(level: int, side: int, smallest: float) -> float:
        """Pixels of a level by those of the image: no more than the smallest face needs, but for the coarsest level."""
        needed = REACH / smallest if smallest else np.inf
        return min(level / side, max(LEVELS[0] / side, needed))

    def _confirmed(self, image: NDArray[np.uint8], face: Face, clear: list[float]) -> bool:
        """Whether a face is clear, large in its photo, or seen again from nearer, as few of the false ones are.

        clear: sizes of the clear faces. Beside one or two, most doubtful smaller ones are clothes and flags; in a crowd
        most are faces.
        """
        if face.score >= CLEAR or face.size >= DOMINANT * max(image.shape[:2]):
            return True
        seen = [self._nearer(image, face, face.size * view) for view in NEARER]
        beside = len(clear) <= FEW and face.size < 0.75 * max(clear, default=0.0)
        return (face.score + sum(seen)) / (1 + len(seen)) >= (CONFIRMED_BESIDE if beside else CONFIRMED)

    def _nearer(self, image: NDArray[np.uint8], face: Face, side: float) -> float:
        """The best score of a face of that size and place in the square of `side` pixels around it; 0.0 of none."""
        x0, y0 = np.maximum(np.round(face.centre - side / 2), 0).astype(int)
        x1, y1 = np.round(face.centre + side / 2).astype(int)
        part = image[y0:y1, x0:x1]
        if part.size == 0:
            return 0.0
        found = self._scan(part, NEARER_SIDE / max(part.shape[:2]), 0.1)
        found[:, :-1] += np.tile((x0, y0), 8)
        return float(found[_same(found, face), -1].max(initial=0.0))

    def _scan(self, image: NDArray[np.uint8], scale: float, threshold: float) -> NDArray[np.float64]:
        """Candidates (K, 17) of one level: box, six points, score, in pixels of `image`."""
        seen = scaled(image, scale)
        height, width = seen.shape[:2]
        canvas = np.zeros((1, -(-height // 32) * 32, -(-width // 32) * 32, 3), dtype=np.uint8)
        canvas[0, :height, :width] = seen
        (found,) = self._network(canvas, threshold)
        found[:, :-1] /= scale
        return found


def _same(found: NDArray[np.float64], face: Face) -> NDArray[np.bool_]:
    """Which candidates (K, 17) are of the place and size of a face: (K,)."""
    size = found[:, 2] - found[:, 0]
    away = np.abs((found[:, :2] + found[:, 2:4]) / 2 - face.centre).max(axis=1)
    return (away < 0.35 * face.size) & (size > 0.6 * face.size) & (size < 1.6 * face.size)
