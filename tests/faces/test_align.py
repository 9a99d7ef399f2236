"""The geometry of crops: the least-squares similarity, where points land, and no aliasing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.transform import estimate_transform

from agewise.faces.align import TEMPLATE, Window, align, cut, similarity, square, warp
from agewise.faces.face import Face


def turned(points: NDArray[np.float64], angle: float, scale: float, shift: tuple[float, float]) -> NDArray[np.float64]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]) * scale + shift)


def face_of(points: NDArray[np.float64]) -> Face:
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return Face((float(x0), float(y0), float(x1), float(y1)), 0.9, points)


def dotted(points: NDArray[np.float64], height: int, width: int, radius: float) -> NDArray[np.uint8]:
    """A black picture with a soft white dot at each point (in pixels counted from the corner)."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    light = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * radius**2)) for px, py in points)
    return np.repeat((np.clip(light, 0, 1) * 255).astype(np.uint8)[:, :, None], 3, axis=2)


def centre_of(crop: NDArray[np.uint8], near: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """The centre of the light around a place, in pixels counted from the corner."""
    x0, y0 = np.maximum(np.round(near - reach).astype(int), 0)
    part = crop[y0 : y0 + 2 * reach, x0 : x0 + 2 * reach, 0].astype(float)
    y, x = np.mgrid[0 : part.shape[0], 0 : part.shape[1]] + 0.5
    return np.array([(x * part).sum(), (y * part).sum()]) / part.sum() + (x0, y0)


@pytest.mark.parametrize("seed", range(8))
def test_similarity_is_the_one_of_scikit_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = turned(TEMPLATE, rng.uniform(-3, 3), rng.uniform(5, 4000), (rng.uniform(0, 3000), 7.0))
    points += rng.normal(scale=0.02 * np.ptp(points), size=points.shape)
    expected = estimate_transform("similarity", points, TEMPLATE * 112).params[:2]
    np.testing.assert_allclose(similarity(points, TEMPLATE * 112), expected, rtol=1e-6, atol=1e-6)


def test_similarity_of_mirrored_points_does_not_mirror() -> None:
    assert np.linalg.det(similarity(TEMPLATE * (-1, 1), TEMPLATE)[:, :2]) > 0


def test_similarity_needs_two_places() -> None:
    with pytest.raises(ValueError, match="all at one place"):
        similarity(np.ones((5, 2)), TEMPLATE)
    with pytest.raises(ValueError, match="1 points do not fix"):
        similarity(np.ones((1, 2)), TEMPLATE[:1])


@pytest.mark.parametrize("angle", [0.0, 0.5, -1.2, 3.0])
@pytest.mark.parametrize("side", [60.0, 224.0, 900.0])
@pytest.mark.parametrize("window", [Window(), Window(0.5, 0.52, 0.7)], ids=["whole", "window"])
def test_points_land_where_the_template_has_them(angle: float, side: float, window: Window) -> None:
    points = turned(TEMPLATE - 0.5, angle, side, (700.0, 650.0))
    crop = align(dotted(points, 1300, 1400, 0.025 * side), face_of(points), 224, window)
    target = (TEMPLATE - window.corner) * (224 / window.side)
    found = np.array([centre_of(crop, point, round(18 / window.side)) for point in target])
    np.testing.assert_allclose(found, target, atol=0.8)
    back = np.column_stack([found, np.ones(5)]) @ np.vstack([similarity(target, points), [0, 0, 1]]).T
    np.testing.assert_allclose(back[:, :2], points, atol=0.8 * side * window.side / 224 + 0.1)


@pytest.mark.parametrize("period", [2, 3, 5])
def test_fine_patterns_of_huge_photos_turn_grey_and_not_into_moire(period: int) -> None:
    stripes = np.where(np.arange(3000) % period < period / 2, 255, 0).astype(np.uint8)
    photo = np.repeat(np.broadcast_to(stripes, (3000, 3000))[:, :, None], 3, axis=2)
    points = turned(TEMPLATE - 0.5, 0.3, 2400.0, (1500.0, 1500.0))
    crop = align(photo, face_of(points), 112).astype(float)
    assert crop.std() < 6
    assert crop.mean() == pytest.approx(stripes.mean(), abs=3)


def test_an_unchanged_frame_is_kept_to_the_pixel() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    assert (align(photo, face_of(TEMPLATE * 96), 96) == photo).all()
    assert (cut(photo[None], Window(), 96)[0] == photo).all()
    assert (cut(photo[None], Window(0.5, 0.5, 0.5), 48)[0] == photo[24:72, 24:72]).all()


def test_a_window_cut_from_a_crop_is_the_window_of_the_photo() -> None:
    y, x = np.mgrid[0:600, 0:800]
    photo = np.stack([x * 255 // 799, y * 255 // 599, (np.hypot(x - 400, y - 300) // 2) % 256], 2).astype(np.uint8)
    face = face_of(turned(TEMPLATE - 0.5, 0.4, 300.0, (400.0, 300.0)))
    window = Window(0.48, 0.55, 0.6)
    direct = align(photo, face, 96, window).astype(float)
    through = cut(align(photo, face, 256)[None], window, 96)[0].astype(float)
    assert np.abs(direct - through).mean() < 1.5
    direct = square(photo, face, 96, 0.3, window).astype(float)
    through = cut(square(photo, face, 256, 0.3)[None], window, 96)[0].astype(float)
    assert np.abs(direct - through).mean() < 1.5


def test_squares_are_centred_on_the_box_and_black_beyond_the_photo() -> None:
    photo = np.full((100, 100, 3), 200, np.uint8)
    photo[40:60, 45:55] = 50
    face = Face((40.0, 30.0, 60.0, 70.0), 0.9, TEMPLATE * 100)
    assert (square(photo, face, 40) == photo[30:70, 30:70]).all()
    assert (square(photo, face, 80, margin=0.5) == photo[10:90, 10:90]).all()
    wide = square(photo, face, 160, margin=1.5)
    assert not wide[:28].any()
    assert not wide[:, :28].any()
    assert wide[32:128, 32:128].all()


def test_the_photos_edge_repeats_around_aligned_faces() -> None:
    photo = np.full((50, 50, 3), 120, np.uint8)
    assert (align(photo, face_of(turned(TEMPLATE, 0.2, 100.0, (-20.0, -30.0))), 64) == 120).all()


def test_a_face_wholly_beyond_the_photo_is_its_edge() -> None:
    photo = np.full((50, 50, 3), 120, np.uint8)
    assert (align(photo, face_of(TEMPLATE * 4000 + 9000), 64) == 120).all()


def test_empty_boxes_and_absurd_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="is empty"):
        square(np.zeros((9, 9, 3), np.uint8), Face((4.0, 4.0, 4.0, 4.0), 0.9, TEMPLATE), 8)
    with pytest.raises(ValueError, match="side is 0 of the frame"):
        Window(0.5, 0.5, 0.0)


def test_no_crops_give_no_windows() -> None:
    assert cut(np.empty((0, 64, 64, 3), np.uint8), Window(), 32).shape == (0, 32, 32, 3)


def test_a_thousandth_of_a_photo_is_its_mean() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
    tiny = warp(photo, np.array([[0.002, 0, 0], [0, 0.002, 0]]), 4)
    assert np.abs(tiny.astype(float) - 127.5).max() < 6
