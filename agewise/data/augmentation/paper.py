"""Training views of Greco et al. 2021 (Table 2): as the publication means them, and as the released code makes them.

step            "paper"                              "released" (MiviaLab/AgeEstimationFramework, 2021-06-07)
margin          20 % of the region's side            0.2 pixels, truncated: the region moves by a pixel, its size stays
region          real numbers                         truncated to whole pixels, on entry and after the jitter
rotation        about the region's centre            about the same numbers in OpenCV's pixels, half a pixel off
skew            about the region's centre            about the frame's corner, plus a pixel right and down; region kept
oblong frame    kept whole                           (rows, columns) passed as (width, height): only its square survives
squaring        centred                              centred by integer division
crop            the region                           without its last row and column where all of it is in the frame
sampling        once, fine crops shrunk by areas     rotated, skewed and resized one after the other, all bilinear
The draws, the light, its truncation to whole levels, the flip and black beyond the frame are the same in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from agewise.data.augmentation.augment import bounded_normal
from agewise.faces.align import Window, warp

Profile = Literal["paper", "released"]
Region = tuple[float, float, float, float]
"""x and y of the top left corner, width, height, in pixels of the frame."""


@dataclass(frozen=True, slots=True)
class Bounded:
    """A normal distribution clipped, not redrawn, at two standard deviations: 4.55 % of the draws lie on a bound."""

    mean: float
    std: float
    positive: bool = False

    def draw(self, rng: np.random.Generator) -> float:
        """A value in mean +- 2 std; `positive` takes its size after clipping."""
        value = self.mean + bounded_normal(rng, self.std)
        return abs(value) if self.positive else value


# Table 2; no text of the printed one was at hand, so these are the released code's, as mean and standard deviation.
ROTATION = Bounded(0.0, 5.0)  # degrees
SKEW = Bounded(0.0, 0.05, positive=True)  # pixels a pixel, across and down
SHIFT = Bounded(-0.009, 0.0225)  # of the region's corner, as a share of its height, across and down
SHRINK = Bounded(0.0225, 0.045)  # of the region's width and height, as a share of its height
CONTRAST = Bounded(1.0, 0.25)  # factor about level 128
BRIGHTNESS = Bounded(0.0, 24.0)  # levels
FLIP = 0.5  # share of mirrored views
MARGIN = 0.2
SMALLEST = 3  # pixels of a region's side, of which a released crop still has one after every truncation


@dataclass(frozen=True, slots=True)
class Draws:
    """What chance decides for one view; these defaults change nothing. Units as in the constants above."""

    angle: float = 0.0
    skew: tuple[float, float] = (0.0, 0.0)
    shift: tuple[float, float] = (0.0, 0.0)
    shrink: tuple[float, float] = (0.0, 0.0)
    contrast: float = 1.0
    brightness: float = 0.0
    flip: bool = False


def draw(rng: np.random.Generator) -> Draws:
    """Nine normal draws and a uniform one, in the order of the steps."""
    return Draws(
        angle=ROTATION.draw(rng),
        skew=(SKEW.draw(rng), SKEW.draw(rng)),
        shift=(SHIFT.draw(rng), SHIFT.draw(rng)),
        shrink=(SHRINK.draw(rng), SHRINK.draw(rng)),
        contrast=CONTRAST.draw(rng),
        brightness=BRIGHTNESS.draw(rng),
        flip=bool(rng.random() < FLIP),
    )


def paper_view(
    frame: NDArray[np.uint8], region: Region, size: int, profile: Profile, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A random view (size, size, 3) of a region of a frame (H, W, 3), all steps of Table 2 always; black beyond it.

    What turns into the region's corners comes from the frame around it, so a stored crop needs a margin. The draws
    depend on `rng` alone. Raises ValueError as `drawn_view` does.
    """
    return drawn_view(frame, region, size, profile, draw(rng))


def drawn_view(
    frame: NDArray[np.uint8], region: Region, size: int, profile: Profile, draws: Draws
) -> NDArray[np.uint8]:
    """The view (size, size, 3) that these draws make.

    Raises:
        ValueError: no uint8 frame (H, W, 3), a region below 3 pixels or outside of it, no such profile or size.
    """
    _check(frame, region, size, profile)
    if profile == "paper":
        return _finished(_sampled_once(frame, region, size, draws), draws)
    crop = _finished(_cropped_in_steps(frame, region, draws), draws)
    return np.asarray(cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def region_of(window: Window, side: int) -> Region:
    """The region that a window is in a stored crop of `side` pixels.

    >>> region_of(Window(0.5, 0.54, 0.8), 250)
    (25.0, 35.0, 200.0, 200.0)
    """
    left, top = window.corner
    return left * side, top * side, window.side * side, window.side * side


def squared(region: Region, profile: Profile) -> Region:
    """The region with its short side grown to the long one, about its centre; `released` takes whole pixels.

    >>> squared((10, 10, 4, 7), "paper"), squared((10, 10, 4, 7), "released")
    ((8.5, 10.0, 7, 7), (9, 10, 7, 7))
    """
    x, y, width, height = region
    side = max(width, height)
    if profile == "paper":
        return x - (side - width) / 2, y - (side - height) / 2, side, side
    return x - (side - width) // 2, y - (side - height) // 2, side, side


def relit(pixels: NDArray[np.uint8], contrast: float, brightness: float) -> NDArray[np.uint8]:
    """Levels (p - 128) * contrast + 128 + brightness, clipped to 0..255 and truncated, alike in all channels."""
    curve = (np.arange(256.0) - 128) * contrast + 128 + brightness
    return np.asarray(cv2.LUT(pixels, np.clip(curve, 0, 255).astype(np.uint8)), dtype=np.uint8)


def _finished(pixels: NDArray[np.uint8], draws: Draws) -> NDArray[np.uint8]:
    lit = relit(pixels, draws.contrast, draws.brightness)
    return np.ascontiguousarray(lit[:, ::-1]) if draws.flip else lit


def _jittered(region: Region, draws: Draws) -> Region:
    x, y, width, height = region
    (dx, dy), (dw, dh) = draws.shift, draws.shrink
    return x + dx * height, y + dy * height, width - dw * height, height - dh * height


def _centre(region: Region) -> tuple[float, float]:
    x, y, width, height = region
    return x + width / 2, y + height / 2


def _sampled_once(frame: NDArray[np.uint8], region: Region, size: int, draws: Draws) -> NDArray[np.uint8]:
    """The steps as one map; they lose nothing on the way (the test compares it with the steps one by one)."""
    cx, cy = _centre(region)
    right, down = draws.skew
    left, top, side, _ = squared(_jittered(region, draws), "paper")
    scale = size / side
    turn = np.vstack([cv2.getRotationMatrix2D((cx, cy), draws.angle, 1.0), [0, 0, 1]])
    skew = np.array([[1, right, -right * cy], [down, 1, -down * cx], [0, 0, 1]])
    crop = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
    return warp(frame, crop @ skew @ turn, size, cv2.BORDER_CONSTANT)


def _cropped_in_steps(frame: NDArray[np.uint8], region: Region, draws: Draws) -> NDArray[np.uint8]:
    whole = _truncated(region)
    turn = cv2.getRotationMatrix2D(_centre(whole), draws.angle, 1.0)
    turned = cv2.warpAffine(frame, turn, frame.shape[:2])  # (rows, columns), taken for (width, height): see above
    skew = np.array([[1, draws.skew[0], 1], [draws.skew[1], 1, 1]])
    skewed = np.asarray(cv2.warpAffine(turned, skew, turned.shape[:2]), dtype=np.uint8)
    return _cropped(skewed, _truncated(squared(_truncated(_jittered(whole, draws)), "released")))


def _cropped(frame: NDArray[np.uint8], region: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """The region, black beyond the frame; inside it, a row and a column less."""
    x, y, width, height = region
    rows, columns = frame.shape[:2]
    if x >= 0 and y >= 0 and x + width <= columns and y + height <= rows:
        return frame[y : y + height - 1, x : x + width - 1]
    crop = np.zeros((height, width, 3), dtype=np.uint8)
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, columns), min(y + height, rows)
    if x0 < x1 and y0 < y1:
        crop[y0 - y : y1 - y, x0 - x : x1 - x] = frame[y0:y1, x0:x1]
    return crop


def _truncated(region: Region) -> tuple[int, int, int, int]:
    """Towards zero, so that a corner beyond the frame's moves inward."""
    x, y, width, height = region
    return int(x), int(y), int(width), int(height)


def _check(frame: NDArray[np.uint8], region: Region, size: int, profile: Profile) -> None:
    if profile not in get_args(Profile):
        raise ValueError(f"no profile {profile!r}; there are {', '.join(get_args(Profile))}")
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
        raise ValueError(f"the frame is {frame.dtype} {frame.shape}; uint8 (H, W, 3) is needed")
    if size < 1:
        raise ValueError(f"the size of a view is {size} pixels; at least 1 is allowed")
    x, y, width, height = region
    said = f"the region (x, y, width, height) is ({x:g}, {y:g}, {width:g}, {height:g})"
    if not (np.isfinite(region).all() and min(width, height) >= SMALLEST):
        raise ValueError(f"{said}; finite numbers and at least {SMALLEST} pixels a side are needed")
    rows, columns = frame.shape[:2]
    if x >= columns or y >= rows or x + width <= 0 or y + height <= 0:
        raise ValueError(f"{said}, outside the frame of {columns}x{rows} pixels")
