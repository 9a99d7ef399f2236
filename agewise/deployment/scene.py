"""Photos with drawn faces, for timing: the detector finds them all, and the package ships no photo of anybody."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 512
"""Pixels of a drawn portrait's side; its face is a third of that."""
RATIO = 1.5
"""Width by height of a photo."""

_SKIN, _HAIR, _SHADE, _LIP = (224, 172, 145), (60, 40, 30), (150, 105, 85), (175, 85, 85)
_ELLIPSES: tuple[tuple[tuple[float, float], tuple[float, float], tuple[int, int, int]], ...] = (
    ((0.50, 1.05), (0.42, 0.30), (60, 70, 110)),  # shoulders
    ((0.50, 0.78), (0.10, 0.16), (200, 150, 125)),  # neck
    ((0.50, 0.40), (0.25, 0.30), _HAIR),
    ((0.50, 0.48), (0.20, 0.27), _SKIN),
    ((0.50, 0.30), (0.19, 0.10), _HAIR),
    *(
        ((x, y), axes, colour)
        for x in (0.42, 0.58)
        for y, axes, colour in (
            (0.455, (0.042, 0.022), (245, 245, 245)),  # an eye, its iris, brow and lid
            (0.455, (0.020, 0.021), (50, 35, 25)),
            (0.405, (0.050, 0.012), _HAIR),
            (0.440, (0.045, 0.010), _SHADE),
        )
    ),
    ((0.50, 0.530), (0.022, 0.050), (205, 150, 122)),  # nose, nostrils, mouth
    ((0.48, 0.565), (0.012, 0.008), _SHADE),
    ((0.52, 0.565), (0.012, 0.008), _SHADE),
    ((0.50, 0.640), (0.070, 0.024), _LIP),
    ((0.50, 0.640), (0.070, 0.005), (110, 50, 50)),
)
"""Centre, half axes (shares of the side) and colour of what a portrait is drawn of, from the back to the front."""


def portrait() -> NDArray[np.uint8]:
    """A drawn head and shoulders: RGB (SIDE, SIDE, 3)."""
    page = np.full((SIDE, SIDE, 3), (150, 165, 175), np.uint8)
    for (x, y), axes, colour in _ELLIPSES:
        centre, half = (round(x * SIDE), round(y * SIDE)), (round(axes[0] * SIDE), round(axes[1] * SIDE))
        cv2.ellipse(page, centre, half, 0, 0, 360, colour, -1, cv2.LINE_AA)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    light = 1 - 1.1 * ((x - 0.42) ** 2 + (y - 0.42) ** 2)
    lit = np.clip(page * light[..., None], 0, 255).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(lit, (0, 0), SIDE / 170), dtype=np.uint8)


def photo(megapixels: float, faces: int) -> NDArray[np.uint8]:
    """A photo with so many drawn portraits side by side: RGB (H, W, 3)."""
    height = max(1, round((megapixels * 1e6 / RATIO) ** 0.5))
    width = round(RATIO * height)
    columns = int(np.ceil((faces * RATIO) ** 0.5))
    rows = -(-faces // columns)
    side = min(width // columns, height // rows)
    one = cv2.resize(portrait(), (side, side), interpolation=cv2.INTER_AREA if side < SIDE else cv2.INTER_CUBIC)
    page = np.full((height, width, 3), (150, 165, 175), np.uint8)
    for number in range(faces):
        row, column = divmod(number, columns)
        top, left = row * height // rows, column * width // columns
        page[top : top + side, left : left + side] = one
    return page
