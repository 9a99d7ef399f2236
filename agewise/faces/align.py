"""Face -> crop: five-point similarity into the standard frame, and the expanded square crop of the paper."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from agewise.faces.face import Face

TEMPLATE: NDArray[np.float64] = np.array(
    [[0.3860, 0.4300], [0.6140, 0.4300], [0.5000, 0.5600], [0.4055, 0.6930], [0.5945, 0.6930]]
)
"""Where the five points lie in the standard frame, as shares of its side: eyes, nose tip, mouth corners."""


@dataclass(frozen=True, slots=True)
class Window:
    """The square part of the standard frame that a network looks at: centre x, y and side, as shares of the frame.

    >>> Window(0.5, 0.5, 0.8).corner
    (0.1, 0.1)
    """

    x: float = 0.5
    y: float = 0.5
    side: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.x <= 1 and 0 <= self.y <= 1):
            raise ValueError(f"a window's centre is {self.x:g}, {self.y:g} of the frame; 0..1 is allowed")
        if not 0.05 <= self.side <= 2.0:
            raise ValueError(f"a window's side is {self.side:g} of the frame; 0.05..2 is allowed")

    @property
    def corner(self) -> tuple[float, float]:
        """Left and top edge."""
        return round(self.x - self.side / 2, 9), round(self.y - self.side / 2, 9)


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 2x3 rotation, scale and shift that best maps points (K, 2) onto others (least squares, Umeyama 1991).

    Raises ValueError where all source points are one.
    """
    if len(source) < 2:
        raise ValueError(f"{len(source)} points do not fix a similarity; 2 or more are needed")
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    spread = float((a**2).sum())
    if spread < 1e-12:
        raise ValueError("the points of a face are all at one place")
    cos = float((a * b).sum()) / spread
    sin = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / spread
    matrix = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([matrix, target.mean(axis=0) - matrix @ source.mean(axis=0)])


def align(image: NDArray[np.uint8], face: Face, size: int, window: Window | None = None) -> NDArray[np.uint8]:
    """The face upright in the standard frame, or in a window of it: (size, size, 3); the photo's edge repeats."""
    view = window or Window()
    target = (TEMPLATE - view.corner) * (size / view.side)
    return warp(image, similarity(face.landmarks, target), size)


def square(
    image: NDArray[np.uint8], face: Face, size: int, margin: float = 0.0, window: Window | None = None
) -> NDArray[np.uint8]:
    """The detector's box grown to a square (Greco et al. 2021), or a window of that: (size, size, 3), unrotated.

    Black beyond the photo. margin: added on each side, as a share of the square's side.
    """
    x0, y0, x1, y1 = face.box
    side = face.size * (1 + 2 * margin)
    if side <= 0:
        raise ValueError(f"the face's box {face.box} is empty")
    view = window or Window()
    scale = size / (view.side * side)
    left, top = (x0 + x1 - side) / 2 + view.corner[0] * side, (y0 + y1 - side) / 2 + view.corner[1] * side
    matrix = np.array([[scale, 0.0, -scale * left], [0.0, scale, -scale * top]])
    return warp(image, matrix, size, cv2.BORDER_CONSTANT)


def cut(crops: NDArray[np.uint8], window: Window, size: int) -> NDArray[np.uint8]:
    """A window of crops (N, H, H, 3) in the standard frame, resized: (N, size, size, 3)."""
    frame = crops.shape[1]
    scale = size / (window.side * frame)
    left, top = window.corner
    matrix = np.array([[scale, 0.0, -left * frame * scale], [0.0, scale, -top * frame * scale]])
    out = np.empty((len(crops), size, size, 3), dtype=np.uint8)
    for index, crop in enumerate(crops):
        out[index] = warp(crop, matrix, size)
    return out


def warp(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], size: int, border: int = cv2.BORDER_REPLICATE
) -> NDArray[np.uint8]:
    """The image under a 2x3 map from its corner-based pixel coordinates, without aliasing: (size, size, 3)."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.5:  # bilinear sampling would skip pixels: shrink the part that is seen, by areas, first
        image, matrix = _shrunk(image, matrix, size, min(scale * 1.5, 1.0))
    half = np.array([0.5, 0.5])  # OpenCV counts from pixel centres
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2] @ half - half
    out = cv2.warpAffine(image, centred, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(out, dtype=np.uint8)


def _shrunk(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], size: int, factor: float
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of the image that the map sees, resized by about `factor`, and the map from there."""
    inverse = np.linalg.inv(matrix[:, :2])
    corners = (np.array([[0, 0], [size, 0], [0, size], [size, size]]) - matrix[:, 2]) @ inverse.T
    height, width = image.shape[:2]
    pad = 2 / factor
    x0, y0 = np.clip(np.floor(corners.min(axis=0) - pad), 0, (width - 1, height - 1)).astype(int)
    x1, y1 = np.clip(np.ceil(corners.max(axis=0) + pad), (x0 + 1, y0 + 1), (width, height)).astype(int)
    part = image[y0:y1, x0:x1]
    small_size = max(1, round((x1 - x0) * factor)), max(1, round((y1 - y0) * factor))
    small = np.asarray(cv2.resize(part, small_size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    back = np.array([(x1 - x0) / small_size[0], (y1 - y0) / small_size[1]])
    linear = matrix[:, :2] * back
    shift = matrix[:, 2] + matrix[:, :2] @ np.array([x0, y0], dtype=np.float64)
    return small, np.column_stack([linear, shift])
