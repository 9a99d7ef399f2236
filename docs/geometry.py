"""Draws docs/geometry.png, the figure of docs/geometry.md: python docs/geometry.py."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from numpy.typing import NDArray
from PIL import Image

from agewise.faces.align import TEMPLATE, Window, align, similarity, square
from agewise.faces.detect import Detector
from agewise.faces.face import Face
from agewise.faces.image import read_photo

HERE = Path(__file__).parent
YELLOW, BLUE, PINK, GREEN = "#ffd60a", "#4cc9f0", "#ff5d8f", "#7ae582"
WINDOWS = ((Window(0.5, 0.56, 0.80), BLUE), (Window(0.5, 0.55, 0.66), PINK))
"""Those of the two teachers in recipes/teachers."""
OUTLINE = [patheffects.withStroke(linewidth=3, foreground="black")]


def photo_panel(axes: Axes, pixels: NDArray[np.uint8], face: Face) -> None:
    height, width = pixels.shape[:2]
    axes.imshow(pixels, extent=(0, width, height, 0))
    box(axes, face, "box")
    inverse = similarity(TEMPLATE, face.landmarks)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]) @ inverse[:, :2].T + inverse[:, 2]
    axes.add_patch(Polygon(corners, fill=False, edgecolor=GREEN, linewidth=2.5, path_effects=OUTLINE))
    write(axes, corners[3] + (4, 16), "the standard frame", GREEN)
    axes.scatter(
        face.landmarks[:, 0], face.landmarks[:, 1], s=22, color=YELLOW, edgecolors="black", linewidths=0.8, zorder=3
    )
    axes.set(xticks=range(0, width + 1, 128), yticks=range(0, height + 1, 128), xlim=(0, width), ylim=(height, 0))
    axes.set_title("1  The upright photo: pixels from its top left corner")


def pixel_panel(axes: Axes, pixels: NDArray[np.uint8], face: Face) -> None:
    x, y = face.landmarks[0]
    left, top, count = int(x) - 4, int(y) - 4, 9
    part = pixels[top : top + count, left : left + count]
    axes.imshow(part, extent=(left, left + count, top + count, top))
    axes.set(xticks=range(left, left + count + 1), yticks=range(top, top + count + 1))
    axes.grid(color="white", linewidth=0.8)
    column, row = left + 1, top + 1
    axes.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor=BLUE, linewidth=3))
    axes.scatter(column + 0.5, row + 0.5, s=30, color=BLUE, edgecolors="black", zorder=3)
    text = (
        f"pixels[{row}, {column}] covers\nx {column}..{column + 1}, y {row}..{row + 1};\ncentre ({column}.5, {row}.5)"
    )
    write(axes, (column + 1.25, row + 0.5), text, BLUE)
    axes.scatter(x, y, s=90, color=YELLOW, edgecolors="black", zorder=3)
    write(axes, (x + 0.35, y + 0.75), f"eye ({x:.2f}, {y:.2f})", YELLOW)
    axes.set_title("2  Coordinates name corners, not centres")


def frame_panel(axes: Axes, pixels: NDArray[np.uint8], face: Face) -> None:
    axes.imshow(align(pixels, face, 480), extent=(0, 1, 1, 0))
    for window, colour in WINDOWS:
        x, y = window.corner
        side = window.side
        axes.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor=colour, linewidth=2.5, path_effects=OUTLINE))
        write(axes, (x + 0.01, y + side - 0.035), f"Window({window.x:g}, {window.y:g}, {side:g})", colour)
    for number, point in enumerate(TEMPLATE, 1):
        axes.scatter(point[0], point[1], s=60, marker="+", color=YELLOW, linewidths=2, zorder=3, path_effects=OUTLINE)
        left = number in {1, 4}
        place = point + ((-0.025, 0) if left else (0.025, 0))
        write(axes, place, f"{number} ({point[0]:.3f}, {point[1]:.3f})", YELLOW, "right" if left else "left")
    ticks = np.linspace(0, 1, 6)
    axes.set(xticks=ticks, yticks=ticks)
    axes.set_title("3  The standard frame: TEMPLATE and two windows")


def square_panel(axes: Axes, pixels: NDArray[np.uint8], face: Face) -> None:
    margin, size = 0.2, 480
    axes.imshow(square(pixels, face, size, margin), extent=(0, size, size, 0))
    inner = size / (1 + 2 * margin)
    corner = (size - inner) / 2
    axes.add_patch(
        Rectangle((corner, corner), inner, inner, fill=False, edgecolor=YELLOW, linewidth=2.5, path_effects=OUTLINE)
    )
    write(axes, (corner + 6, corner + inner - 18), "margin 0", YELLOW)
    write(axes, (6, size - 18), "margin 0.2: a fifth of the side more on each side", "white")
    axes.set(xticks=[], yticks=[])
    axes.set_title("4  The paper's square crop: unrotated")


def box(axes: Axes, face: Face, name: str) -> None:
    x0, y0, x1, y1 = face.box
    axes.add_patch(
        Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=YELLOW, linewidth=2.5, path_effects=OUTLINE)
    )
    write(axes, (x0 + 2, y0 - 9), f"{name} {x0:.0f}, {y0:.0f}, {x1:.0f}, {y1:.0f}", YELLOW)


def write(
    axes: Axes, place: NDArray[np.float64] | tuple[float, float], text: str, colour: str, side: str = "left"
) -> None:
    axes.text(
        float(place[0]),
        float(place[1]),
        text,
        color=colour,
        horizontalalignment=side,
        verticalalignment="center",
        fontsize=10.5,
        fontweight="bold",
        path_effects=OUTLINE,
        zorder=4,
    )


def main() -> None:
    pixels = read_photo(HERE.parent / "examples" / "astronaut.jpg").pixels
    (face,) = Detector()(pixels)
    mpl.rcParams.update(
        {"font.size": 10, "axes.titlesize": 13, "axes.titleweight": "bold", "axes.titlelocation": "left"}
    )
    figure = Figure(figsize=(11.2, 11.4), dpi=100, layout="constrained")
    panels = (photo_panel, pixel_panel, frame_panel, square_panel)
    for panel, axes in zip(panels, figure.subplots(2, 2).flat, strict=True):
        panel(axes, pixels, face)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    drawn = Image.open(buffer).convert("RGB")
    palette = drawn.quantize(256, kmeans=5)  # a file below 500 kB
    drawn.quantize(palette=palette).save(HERE / "geometry.png", optimize=True)


if __name__ == "__main__":
    main()
