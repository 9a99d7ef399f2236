"""A face found in a photo: its box, its five points, and how sure the detector is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face, in pixels of the image it was found in.

    box: x0, y0, x1, y1 of the face from brow to chin (floats; may leave the image).
    score: the detector's confidence, 0..1.
    landmarks: (5, 2) x, y of the eye on the image's left, the other eye, the nose tip and the two mouth corners.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: NDArray[np.float64]

    @property
    def size(self) -> float:
        """The longer side of the box in pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])

    @property
    def centre(self) -> NDArray[np.float64]:
        """The middle of the box: x, y."""
        return np.array([self.box[0] + self.box[2], self.box[1] + self.box[3]]) / 2

    def moved(self, scale: float, dx: float = 0.0, dy: float = 0.0) -> Face:
        """The same face after its image was scaled, then shifted by dx, dy pixels."""
        x0, y0, x1, y1 = self.box
        box = (x0 * scale + dx, y0 * scale + dy, x1 * scale + dx, y1 * scale + dy)
        return Face(box, self.score, self.landmarks * scale + (dx, dy))


def nearest_centre(faces: list[Face], width: int, height: int) -> Face | None:
    """The face whose box centre is nearest the image's, as MIVIA's pre-processing takes it; None of none."""

    def distance(face: Face) -> float:
        return float(np.square(face.centre - (width / 2, height / 2)).sum())

    return min(faces, key=distance, default=None)
