"""Which levels of a photo are scanned: those that may show more than what was found."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.faces.face import Face
from agewise.faces.levels import hinted, left_out, scaled


def found(share: float, score: float = 0.95, side: int = 1000) -> Face:
    """A face whose side is that share of a photo's."""
    return Face((0.0, 0.0, share * side, share * side), score, np.zeros((5, 2)))


@pytest.mark.parametrize(
    ("faces", "level", "side", "skipped"),
    [
        ([], 512, 1000, False),
        ([found(0.36)], 512, 1000, True),  # very near
        ([found(0.30)], 512, 1000, False),
        ([found(0.30)], 1024, 1000, True),  # the photo's subject
        ([found(0.36, score=0.7)], 1024, 1000, False),  # in doubt
        ([found(0.1), found(0.1)], 1024, 1000, False),
        (
            [found(0.1, side=300), found(0.1, side=300)],
            512,
            300,
            True,
        ),  # the photo would be enlarged, and all are clear
        ([found(0.1, side=300), found(0.1, score=0.7, side=300)], 512, 300, False),
        ([found(0.1, score=0.7, side=300)], 512, 300, True),
    ],
)
def test_levels_that_add_little_are_left_out(faces: list[Face], level: int, side: int, skipped: bool) -> None:
    assert left_out(faces, level, side) is skipped


def candidate(x: float, size: float, score: float = 0.3, y: float | None = None) -> NDArray[np.float64]:
    """A row of a scan: a square whose corner is at x, x, or at x, y."""
    y = x if y is None else y
    return np.array([x, y, x + size, y + size, *[0.0] * 12, score])


@pytest.mark.parametrize(
    ("faces", "rows", "more"),
    [
        ([], [], True),
        ([found(0.3)], [candidate(0, 300, 0.95)], False),  # the face itself
        ([found(0.3)], [candidate(100, 40)], False),  # its mouth
        ([found(0.3)], [candidate(850, 40)], True),
        ([found(0.3)], [candidate(600, 90)], False),  # large enough to be found where it was seen
        ([found(0.3, score=0.7)], [], True),  # in doubt
        ([found(0.3), found(0.05)], [], False),  # clear
        ([found(0.3), found(0.02)], [], True),  # of too few pixels for its box to be right
        ([found(0.1)], [candidate(55, 45)], False),  # faint, 0.3 sizes from a face: its neck
        ([found(0.1)], [candidate(180, 45, 0.3)], False),  # 1.5 sizes away
        ([found(0.1)], [candidate(180, 45, 0.4)], True),  # too sure for one
        ([found(0.1)], [candidate(250, 45, 0.3)], True),  # too far away for one
        ([found(0.06)], [candidate(50, 50, 0.5)], False),  # of its size and below it: its chest
        ([found(0.06)], [candidate(5, 50, 0.5, y=50)], False),
        ([found(0.06)], [candidate(50, 50, 0.5, y=5)], True),  # beside it, as near
        ([found(0.06)], [candidate(5, 50, 0.5, y=-45)], True),  # above it
        ([found(0.06)], [candidate(65, 50, 0.5)], True),  # too far away for one
    ],
)
def test_small_candidates_outside_clear_faces_hint_at_more(
    faces: list[Face], rows: list[NDArray[np.float64]], more: bool
) -> None:
    assert hinted(np.array(rows).reshape(-1, 17), faces, 512, 1000, 60 / 45) is more


@pytest.mark.parametrize(
    ("x", "score", "more"),
    [
        (100, 0.15, False),  # its mouth
        (400, 0.15, False),  # a shoulder, centred 0.9 of the face's size from its centre
        (400, 0.3, True),  # too sure for a shoulder
        (600, 0.15, True),  # too far away for one
    ],
)
def test_of_the_coarsest_level_faint_ones_count_unless_beside_a_face(x: float, score: float, more: bool) -> None:
    rows = np.stack([candidate(0, 300, 0.95), candidate(x, 40, score)])
    assert hinted(rows, [found(0.3)], 256, 1000, 60 / 45) is more
    assert hinted(rows, [found(0.3)], 256, 1100, 60 / 45)


@pytest.mark.parametrize(("shape", "scale"), [((447, 670), 256 / 670), ((600, 800), 0.64), ((3000, 4000), 0.256)])
def test_an_image_is_scaled_as_by_areas(shape: tuple[int, int], scale: float) -> None:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    smooth = 128 + 60 * np.sin(rows / 40) * np.cos(columns / 50)
    noisy = np.random.default_rng(0).integers(-40, 41, shape)
    for grey, most in ((smooth, 3.0), (smooth + noisy, 12.0)):
        image = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
        made = scaled(image, scale)
        assert np.abs(np.array(made.shape[:2]) - np.array(shape) * scale).max() <= 1
        areas = cv2.resize(image, made.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(made.astype(float) - areas).mean() < most


def test_fine_stripes_become_grey() -> None:
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[::2] = 255
    assert np.ptp(scaled(stripes, 0.3)) < 10


@pytest.mark.parametrize(
    ("shape", "scale", "made"),
    [((1, 1), 0.4, (1, 1)), ((1, 5000), 0.1, (1, 500)), ((3, 3), 0.25, (1, 1)), ((7, 9), 2.0, (14, 18))],
)
def test_images_of_any_shape_are_scaled(shape: tuple[int, int], scale: float, made: tuple[int, int]) -> None:
    assert scaled(np.full((*shape, 3), 7, np.uint8), scale).shape[:2] == made
    assert scaled(np.full((*shape, 3), 7, np.uint8), scale).max() == 7
