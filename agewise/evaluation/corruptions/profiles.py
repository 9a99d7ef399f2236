"""The two readings of the paper's corruptions, and how each turns its values into grey levels."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""RGB (H, W, 3)."""
Floats = NDArray[np.float32]
"""Grey levels, 0..255 and beyond: (H, W, 3) or (H, W)."""
Generator = np.random.Generator

Profile = Literal["paper", "released"]
PROFILES: tuple[Profile, ...] = ("paper", "released")
"""The formulas of the appendix of Greco et al. (2021), and what the released generator of LFW+C computes."""

SLACK = {"float32": 2**-10, "float64": 2**-30}
"""Grey levels below a whole one that still count as it where fractions are dropped: what computing may err by."""


def grey_levels(values: NDArray[np.floating], profile: Profile) -> Picture:
    """Values clipped to 0..255; `paper` rounds them (halves to even), `released` drops their fractions.

    >>> values = np.array([[-3.0, 9.7, 10.0, 999.0]])
    >>> grey_levels(values, "paper").tolist(), grey_levels(values, "released").tolist()
    ([[0, 10, 10, 255]], [[0, 9, 10, 255]])
    """
    shift = np.full(4, 0.0 if profile == "paper" else SLACK[values.dtype.name] - 0.5)
    return np.asarray(cv2.add(values, shift, dtype=cv2.CV_8U), dtype=np.uint8)


def resaved(image: Picture) -> Picture:
    """The image after JPEG at quality 95: the released generator writes every corrupted image under its .jpg name."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def smooth(image: Picture | Floats, sigma: float) -> Floats:
    """The image under a Gaussian cut off at four sigma (in pixels); its edge repeats."""
    kernel = cv2.getGaussianKernel(2 * int(4 * sigma + 0.5) + 1, sigma, cv2.CV_32F)
    filtered = cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(filtered, dtype=np.float32)
