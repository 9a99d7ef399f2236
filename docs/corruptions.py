"""Draws docs/corruptions.png, the contact sheet of docs/corruptions.md: python docs/corruptions.py.

With --extras FILE, the extras are drawn there instead, and with --profile released, that profile.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from agewise.evaluation.corruptions import CORRUPTIONS, EXTRAS, SEVERITIES, cell_rng, corrupt
from agewise.evaluation.corruptions.profiles import Profile
from agewise.faces.align import align
from agewise.faces.detect import Detector
from agewise.faces.image import read_photo

HERE = Path(__file__).parent
PHOTO = HERE.parent / "examples" / "astronaut.jpg"
SIDE, CELL, GAP, LEFT, TOP = 256, 106, 3, 22, 34
"""Pixels: of the crop, which is LFW+'s side, of a cell, between cells, and of the margins."""


def face() -> NDArray[np.uint8]:
    """The photo's one face in the standard frame."""
    pixels = read_photo(PHOTO).pixels
    (found,) = Detector()(pixels)
    return align(pixels, found, SIDE)


def sheet(crop: NDArray[np.uint8], kinds: Sequence[str], profile: Profile) -> Image.Image:
    """A column a kind, a row a severity; cells are corrupted at full size, then shrunk."""
    step = CELL + GAP
    drawn = Image.new("RGB", (LEFT + step * len(kinds), TOP + step * len(SEVERITIES)), "white")
    pen = ImageDraw.Draw(drawn)
    for column, kind in enumerate(kinds):
        place = (LEFT + step * column + CELL / 2, TOP / 2)
        pen.multiline_text(
            place, kind.replace("_", "\n"), "black", ImageFont.load_default(13), "mm", align="center", spacing=1
        )
        for row, severity in enumerate(SEVERITIES):
            changed = corrupt(crop, kind, severity, cell_rng(0, PHOTO.name, kind, severity), profile)
            cell = cv2.resize(changed, (CELL, CELL), interpolation=cv2.INTER_AREA)
            drawn.paste(Image.fromarray(np.asarray(cell)), (LEFT + step * column, TOP + step * row))
    for row, severity in enumerate(SEVERITIES):
        pen.text((LEFT / 2, TOP + step * row + CELL / 2), str(severity), "black", ImageFont.load_default(15), "mm")
    return drawn


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--extras", type=Path)
    options.add_argument("--profile", default="paper", choices=get_args(Profile))
    given = options.parse_args()
    drawn = sheet(face(), list(EXTRAS) if given.extras else list(CORRUPTIONS), given.profile)
    colours = drawn.quantize(200, kmeans=3)  # a file below 500 kB
    quantized = drawn.quantize(palette=colours, dither=Image.Dither.NONE)
    quantized.save(given.extras or HERE / "corruptions.png", optimize=True)


if __name__ == "__main__":
    main()
