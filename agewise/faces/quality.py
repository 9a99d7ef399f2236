"""How well a face can be judged, by its picture: size, sharpness, pose and the detector's score; and when it cannot."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from agewise.ages import Age
from agewise.faces.align import Window, align, cut
from agewise.faces.face import Face

VIEW, SIDE = Window(0.5, 0.55, 0.55), 64
"""The part of the standard frame, from brow to chin, whose sharpness is measured, and its side in pixels then."""
POINTS: NDArray[np.float64] = np.array([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8], [0.0, 1.1, 0.35]])
"""From eye to eye, and from between the eyes to the nose tip and the mouth's centre, in eye distances: x right, y down,
z to the camera. Of those tried, the values that make 12,340 faces of FairFace and UTKFace most nearly rigid heads."""

_TURNS = ("turned", "nodding", "tilted")


@dataclass(frozen=True, slots=True)
class Quality:
    """What is measured of one face.

    size: the longer side of its box, in pixels of the photo as stored. sharpness: see `sharpness`. yaw, pitch, roll: of
    the head in degrees, 0 looking into an upright camera (see `pose`); NaN where the points show no head. score: the
    detector's, 0..1.
    """

    size: float
    sharpness: float
    yaw: float
    pitch: float
    roll: float
    score: float


@dataclass(frozen=True, slots=True)
class Rules:
    """Which faces are not judged: the limits that a face may reach, chosen by measurement (docs/calibration.md).

    size, sharpness, score: the least of `Quality`. yaw, pitch, roll: the greatest, in degrees to either side. std: the
    greatest of the predicted distribution, in years.
    """

    size: float = 24.0
    sharpness: float = 0.1
    score: float = 0.6
    yaw: float = 45.0
    pitch: float = 30.0
    roll: float = 30.0
    std: float = 15.0

    def __post_init__(self) -> None:
        """Raises ValueError on a limit that is negative or no number.

        0 leaves out a rule of the least (size, sharpness, score), infinity one of the most.
        """
        for name in self.__slots__:
            if not getattr(self, name) >= 0:
                raise ValueError(f"the limit of {name} is {getattr(self, name)}; 0 or more is allowed")

    def reason(self, found: Quality, age: Age) -> str | None:
        """Why a face is not judged, every rule that it breaks; None where it keeps them all.

        >>> Rules().reason(Quality(18.0, 0.3, 2.0, 3.0, -60.0, 0.9), Age(30, 5, 22, 38))
        'too small: 18 px; tilted: 60 degrees'
        """
        angles = (found.yaw, self.yaw), (found.pitch, self.pitch), (found.roll, self.roll)
        said = [
            f"too small: {found.size:.0f} px" if found.size < self.size else "",
            f"blurred: sharpness {found.sharpness:.3f}" if found.sharpness < self.sharpness else "",
            f"hardly a face: score {found.score:.2f}" if found.score < self.score else "",
            *(f"{how}: {abs(a):.0f} degrees" for how, (a, most) in zip(_TURNS, angles, strict=True) if abs(a) > most),
            "no pose: its eyes are at one place" if np.isnan(found.yaw) else "",
            f"too unsure: +-{age.std:.0f} years" if age.std > self.std else "",
        ]
        return "; ".join(filter(None, said)) or None


def quality(pixels: NDArray[np.uint8], face: Face, scale: float = 1.0) -> Quality:
    """The quality of a face in a photo (H, W, 3) that was read at `scale` of its stored size."""
    return Quality(face.size / scale, sharpness(align(pixels, face, SIDE, VIEW)), *pose(face.landmarks), face.score)


def crop_quality(crop: NDArray[np.uint8], face: Face) -> Quality:
    """The same from a stored crop (H, H, 3) in the standard frame, `face` being in pixels of the source photo."""
    return Quality(face.size, sharpness(cut(crop[None], VIEW, SIDE)[0]), *pose(face.landmarks), face.score)


def sharpness(view: NDArray[np.uint8]) -> float:
    """The standard deviation of the Laplacian over that of the greys, of a view (SIDE, SIDE, 3): 0 for one colour.

    White noise has the root of 20 at any contrast; a ramp of grey has 0. After Pech-Pacheco et al. (2000), whose
    variance of the Laplacian grows with contrast as well.
    """
    grey = np.asarray(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), dtype=np.float64)
    spread = float(grey.std())
    inner = cv2.Laplacian(grey, cv2.CV_64F)[1:-1, 1:-1]
    return float(np.std(inner)) / spread if spread > 0 else 0.0


def pose(landmarks: NDArray[np.float64]) -> tuple[float, float, float]:
    """Yaw, pitch and roll of a head in degrees from its five points (5, 2), as of a rigid head seen from afar.

    Yaw is above 0 where the nose points to the image's right, pitch where it points down, roll where the eye on the
    right is lower. The weak-perspective camera that shows the eyes, nose and mouth of POINTS so is found in closed form
    (DeMenthon and Davis 1995), and the nearest rotation taken: first nodded, then turned, then tilted. People's noses
    differ: some 10 degrees of pitch are theirs. NaN where both eyes are at one place.
    """
    between = (landmarks[0] + landmarks[1]) / 2
    seen = np.stack([landmarks[1] - landmarks[0], landmarks[2] - between, landmarks[3:].mean(axis=0) - between])
    if np.hypot(*seen[0]) < 1e-9:
        return np.nan, np.nan, np.nan
    left, _, right = np.linalg.svd(np.linalg.solve(POINTS, seen).T, full_matrices=False)
    x, y = left @ right
    z = np.cross(x, y)
    angles = (-z[0], np.hypot(x[0], y[0])), (-z[1], z[2]), (y[0], x[0])
    yaw, pitch, roll = (float(np.degrees(np.arctan2(*sides))) for sides in angles)
    return yaw, pitch, roll
