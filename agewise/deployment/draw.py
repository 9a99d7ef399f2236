"""Boxes and ages drawn on a photo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from agewise.ages import Age
from agewise.faces.face import Face

INK, PAPER = (0, 0, 0), (255, 214, 10)
"""Colours of the label's letters and of its ground and the box: a contrast of 15 to 1."""
SMALLEST = 11
"""The least height of letters, in pixels, that can be read."""

Box = tuple[float, float, float, float]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw(pixels: NDArray[np.uint8], found: Sequence[tuple[Face, Age]]) -> NDArray[np.uint8]:
    """A copy of a photo (H, W, 3) with a box around each face and its age beside it, as in "34 (28-41)".

    The faces' boxes are in pixels of this array.
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    pen = ImageDraw.Draw(picture)
    line = max(1, round(max(picture.size) / 400))
    for face, _ in found:
        pen.rectangle(_inside(face.box, picture.size), outline=PAPER, width=line)
    labels: list[Box] = []
    for face, age in found:
        text, font = _label(face, age, picture.size)
        left, top, right, bottom = font.getbbox(text)
        pad = max(1, round((bottom - top) / 4))
        width, height = right - left + 2 * pad, bottom - top + 2 * pad
        box = _free_place(_inside(face.box, picture.size), width, height, picture.size, labels)
        labels.append(box)
        pen.rectangle(box, fill=PAPER)
        pen.text((box[0] + pad - left, box[1] + pad - top), text, fill=INK, font=font)
    return np.asarray(picture)


def label(age: Age) -> str:
    """An age in whole years with its 90 % interval.

    >>> label(Age(34.2, 4.0, 28.1, 40.7))
    '34 (28-41)'
    """
    return f"{age.mean:.0f} ({age.low:.0f}-{age.high:.0f})"


def _label(face: Face, age: Age, photo: tuple[int, int]) -> tuple[str, Font]:
    """The longest label that fits the photo, in letters that suit the face and can be read in the whole photo."""
    size = max(SMALLEST, round(min(max(face.size / 5, max(photo) / 80), max(photo) / 12)))
    for text in (label(age), f"{age.mean:.0f}"):
        left, top, right, bottom = ImageFont.load_default(size).getbbox(text)
        fitting = int(size * min(1.0, photo[0] / (right - left + (bottom - top) / 2 + 2)))
        if fitting >= SMALLEST:
            return text, ImageFont.load_default(fitting)
    return text, ImageFont.load_default(max(1, min(fitting, photo[1] // 2)))


def _free_place(box: Box, width: float, height: float, photo: tuple[int, int], taken: Iterable[Box]) -> Box:
    """Where a label lies: above the box, below it or in its top, the first place free of others, inside the photo."""
    x0, y0, _, y1 = box
    left = max(0.0, min(x0, photo[0] - width))
    tops = [y0 - height, y1, y0, y1 - height]
    places = [(left, top, left + width - 1, top + height - 1) for top in tops if 0 <= top <= photo[1] - height]
    inside = max(0.0, min(y0, photo[1] - height))
    spare = (left, inside, left + width - 1, inside + height - 1)
    return next((place for place in places if not any(_overlap(place, other) for other in taken)), (*places, spare)[0])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _inside(box: Box, photo: tuple[int, int]) -> Box:
    """The part of a box within the photo; one that lies beyond is at its edge."""
    x0, x1 = (min(max(value, 0.0), photo[0] - 1.0) for value in (box[0], box[2]))
    y0, y1 = (min(max(value, 0.0), photo[1] - 1.0) for value in (box[1], box[3]))
    return x0, y0, x1, y1
