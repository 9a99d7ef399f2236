"""Views: exact where they can be, equal to scikit-image's warps where not, and facts of geometry."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.transform import AffineTransform, warp

from agewise.teachers.views import VIEWS, checked_views, view, views

SIDE = 96


@pytest.fixture
def crops() -> NDArray[np.uint8]:
    """Smooth pictures, so that two bilinear samplings differ by rounding only."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, SIDE, SIDE, 3)).astype(np.uint8)
    smooth = np.stack([cv2.GaussianBlur(picture, (0, 0), 6) for picture in noise])
    return np.clip(128 + 8 * (smooth - 128.0), 0, 255).astype(np.uint8)


def dot(x: float, y: float) -> NDArray[np.uint8]:
    """One crop with a soft dot at a place given as shares of the side."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    grey = 255 * np.exp(-((columns - x * SIDE) ** 2 + (rows - y * SIDE) ** 2) / 32)
    return np.repeat(grey[None, :, :, None], 3, axis=3).astype(np.uint8)


def place(crop: NDArray[np.uint8]) -> tuple[float, float]:
    """Centre of mass of a dot, as shares of the side, the corner being 0, 0."""
    weight = crop[0, :, :, 0].astype(float)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    return float((columns * weight).sum() / weight.sum() / SIDE), float((rows * weight).sum() / weight.sum() / SIDE)


def test_there_are_the_eight_of_the_paper() -> None:
    assert list(VIEWS) == [
        "original",
        "mirror",
        "rotate+5",
        "rotate-5",
        "shift+5",
        "shift-5",
        "scale+5",
        "scale-5",
    ]
    made = views(np.zeros((2, 24, 24, 3), np.uint8))
    assert made.shape == (8, 2, 24, 24, 3)
    assert made.dtype == np.uint8


def test_the_original_is_the_crop_and_the_mirror_is_exact(crops: NDArray[np.uint8]) -> None:
    assert view(crops, "original") is crops
    assert (view(crops, "mirror") == crops[:, :, ::-1]).all()
    assert (view(view(crops, "mirror"), "mirror") == crops).all()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rotate+5", {"rotation": -np.deg2rad(5)}),  # scikit-image turns from x towards y, which points down
        ("rotate-5", {"rotation": np.deg2rad(5)}),
        ("shift+5", {"translation": (0.05 * SIDE, 0)}),
        ("shift-5", {"translation": (-0.05 * SIDE, 0)}),
        ("scale+5", {"scale": 1.05}),
        ("scale-5", {"scale": 0.95}),
    ],
)
def test_they_equal_another_library(crops: NDArray[np.uint8], name: str, change: dict[str, Any]) -> None:
    middle = AffineTransform(translation=((SIDE - 1) / 2, (SIDE - 1) / 2))  # scikit-image counts from pixel centres
    moved = AffineTransform(matrix=middle.params @ AffineTransform(**change).params @ np.linalg.inv(middle.params))
    for crop, made in zip(crops, view(crops, name), strict=True):
        expected = warp(crop, moved.inverse, order=1, mode="edge", preserve_range=True)
        assert np.abs(made - expected).max() < 2.0  # OpenCV's bilinear weights have 5 bits
        assert np.abs(made - expected).mean() < 0.5
    assert np.abs(view(crops, name) - crops.astype(float)).mean() > 2


def test_where_a_dot_goes() -> None:
    crop = dot(0.7, 0.5)
    assert place(view(crop, "mirror")) == pytest.approx((0.3, 0.5), abs=1e-3)
    assert place(view(crop, "shift+5")) == pytest.approx((0.75, 0.5), abs=1e-3)
    assert place(view(crop, "shift-5")) == pytest.approx((0.65, 0.5), abs=1e-3)
    assert place(view(crop, "scale+5")) == pytest.approx((0.5 + 0.2 * 1.05, 0.5), abs=1e-3)
    assert place(view(crop, "scale-5")) == pytest.approx((0.5 + 0.2 * 0.95, 0.5), abs=1e-3)
    angle = np.deg2rad(5)
    turned = (0.5 + 0.2 * np.cos(angle), 0.5 - 0.2 * np.sin(angle))  # anticlockwise: what is right of the middle rises
    assert place(view(crop, "rotate+5")) == pytest.approx(turned, abs=1e-3)
    assert place(view(crop, "rotate-5")) == pytest.approx((turned[0], 1 - turned[1]), abs=1e-3)


@pytest.mark.parametrize("name", ["rotate+5", "rotate-5", "scale+5", "scale-5"])
def test_the_middle_stays_and_the_edge_repeats(name: str) -> None:
    assert place(view(dot(0.5, 0.5), name)) == pytest.approx((0.5, 0.5), abs=1e-3)
    assert (view(np.full((1, 32, 32, 3), 200, np.uint8), name) == 200).all()


def test_the_names_choose_and_order(crops: NDArray[np.uint8]) -> None:
    made = views(crops, ["scale-5", "original"])
    assert (made[0] == view(crops, "scale-5")).all()
    assert (made[1] == crops).all()
    each = np.stack([view(crops[n : n + 1], "rotate+5")[0] for n in range(len(crops))])
    assert (each == view(crops, "rotate+5")).all()
    assert views(crops[:0], ["rotate+5"]).shape == (1, 0, SIDE, SIDE, 3)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["original", "flip"], r"no view 'flip'; there are original, mirror, .*scale-5"),
        ([], r"views are \[\]; a list of one or more of original"),
        ("mirror", r"views are 'mirror'; a list of one or more"),
        (["mirror", "mirror"], r"the view 'mirror' is named twice"),
    ],
)
def test_names_that_cannot_be(names: Any, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        checked_views(names)
    with pytest.raises(ValueError, match=wanted):
        views(np.zeros((1, 8, 8, 3), np.uint8), names)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((1, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 8, 9, 3), np.uint8)],
    ids=["floats", "one", "oblong"],
)
def test_crops_that_cannot_be(wrong: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"^crops are \w+ \(.*\); uint8 \(N, H, H, 3\) is needed$"):
        view(wrong, "mirror")
