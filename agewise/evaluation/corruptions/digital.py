"""What storing a picture does to it: JPEG, and pixels too few."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from agewise.evaluation.corruptions.profiles import Generator, Picture, Profile

QUALITIES = (25, 18, 15, 10, 7)
"""Of Pillow's JPEG."""
SHARES = (0.6, 0.5, 0.41, 0.3, 0.25)
"""Of the sides that pixelation leaves."""


def jpeg_compression(image: Picture, severity: int, _rng: Generator, profile: Profile) -> Picture:
    """The image after JPEG; `released` hands BGR over as RGB, so its chroma is that of swapped colours."""
    order = 1 if profile == "paper" else -1
    return compressed(np.ascontiguousarray(image[:, :, ::order]), QUALITIES[severity - 1])[:, :, ::order]


def compressed(image: Picture, quality: int) -> Picture:
    """The image after JPEG with the colours at half the resolution (4:2:0)."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def pixelate(image: Picture, severity: int, _rng: Generator, profile: Profile) -> Picture:
    """The image by fewer and larger pixels; `released` takes height for width, which shows where they differ."""
    height, width = (int(side * SHARES[severity - 1]) for side in image.shape[:2])
    return pixelated(image, (width, height) if profile == "paper" else (height, width))


def pixelated(image: Picture, size: tuple[int, int]) -> Picture:
    """The image in width x height pixels, by the means of their areas, and enlarged again."""
    picture = Image.fromarray(image)
    return np.array(picture.resize(size, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BOX))
