"""The eight test-time views of a crop over which a teacher votes (Antipov et al. 2016; Greco et al. 2021).

They are made of the whole standard frame, so that each member cuts its own window afterwards. Rotation and scale are
about the middle of the frame, in the corner-based pixels of docs/geometry.md; the crop's edge repeats, as in `align`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from agewise.faces.align import warp

DEGREES = 5.0
SHARE = 0.05
"""Of the frame's side, for shifts; of the face's size, for scales."""

VIEWS: dict[str, tuple[float, float, float]] = {
    "original": (0.0, 0.0, 1.0),
    "mirror": (0.0, 0.0, 1.0),
    "rotate+5": (DEGREES, 0.0, 1.0),
    "rotate-5": (-DEGREES, 0.0, 1.0),
    "shift+5": (0.0, SHARE, 1.0),
    "shift-5": (0.0, -SHARE, 1.0),
    "scale+5": (0.0, 0.0, 1.0 + SHARE),
    "scale-5": (0.0, 0.0, 1.0 - SHARE),
}
"""Each view's rotation in degrees (positive: anticlockwise as seen), shift to the right as a share of the frame's side,
and magnification. The mirror is the crop itself with left and right exchanged."""


def views(crops: NDArray[np.uint8], names: Sequence[str] = tuple(VIEWS)) -> NDArray[np.uint8]:
    """The named views of crops (N, H, H, 3), in the order of the names: (V, N, H, H, 3), of which "original" is equal.

    >>> views(np.zeros((2, 64, 64, 3), np.uint8), ["mirror", "scale+5"]).shape
    (2, 2, 64, 64, 3)
    """
    return np.stack([view(crops, name) for name in checked_views(names)])


def view(crops: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """One view of crops (N, H, H, 3), in their shape; "original" is the very array that is given.

    Raises ValueError: no such view, or crops of another shape.
    """
    (name,) = checked_views([name])
    if crops.ndim != 4 or crops.shape[1] != crops.shape[2] or crops.shape[3] != 3 or crops.dtype != np.uint8:
        raise ValueError(f"crops are {crops.dtype} {crops.shape}; uint8 (N, H, H, 3) is needed")
    if name == "original":
        return crops
    side = crops.shape[1]
    matrix = about_middle(*VIEWS[name], side)
    made = np.empty_like(crops)
    for index, crop in enumerate(crops):
        made[index] = cv2.flip(crop, 1) if name == "mirror" else warp(crop, matrix, side)
    return made


def about_middle(degrees: float, shift: float, scale: float, side: int) -> NDArray[np.float64]:
    """The 2x3 map of corner-based pixels that turns and scales about the middle, then shifts to the right."""
    angle = np.deg2rad(degrees)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])  # y runs down, so this is anticlockwise as seen
    middle = np.array([side / 2, side / 2])
    return np.column_stack([turn, middle - turn @ middle + [shift * side, 0.0]])


def checked_views(names: Sequence[str]) -> tuple[str, ...]:
    """The names. Raises ValueError where there is none, an unknown one, or one twice."""
    if isinstance(names, str) or not names:
        raise ValueError(f"views are {names!r}; a list of one or more of {', '.join(VIEWS)} is needed")
    for number, name in enumerate(names):
        if name not in VIEWS:
            raise ValueError(f"no view {name!r}; there are {', '.join(VIEWS)}")
        if name in names[:number]:
            raise ValueError(f"the view {name!r} is named twice; once is allowed")
    return tuple(names)
