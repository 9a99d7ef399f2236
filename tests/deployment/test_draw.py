"""Drawn photos: boxes and labels that can be read, inside the picture, on photos of any size."""

from __future__ import annotations

import numpy as np
import pytest

from agewise.ages import Age
from agewise.deployment.draw import INK, PAPER, draw
from agewise.faces.face import Face

AGE = Age(34.2, 4.0, 28.1, 40.7)


def face_at(x0: float, y0: float, side: float) -> Face:
    return Face((x0, y0, x0 + side, y0 + side), 0.9, np.zeros((5, 2)))


def test_the_photo_given_is_left_as_it_is() -> None:
    photo = np.full((200, 300, 3), 90, np.uint8)
    drawn = draw(photo, [(face_at(100, 80, 60), AGE)])
    assert (photo == 90).all()
    assert (drawn.shape, drawn.dtype) == (photo.shape, np.uint8)
    assert (drawn != photo).any()


def test_without_faces_nothing_is_drawn() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert (draw(photo, []) == photo).all()


def test_the_box_is_where_the_face_is() -> None:
    drawn = draw(np.zeros((400, 400, 3), np.uint8), [(face_at(150, 200, 100), AGE)])
    edges = [(250, 150), (250, 250), (200, 200), (300, 200)]
    assert all(tuple(drawn[y, x]) == PAPER for y, x in edges)
    assert not drawn[205:295, 155:245].any()


@pytest.mark.parametrize("side", [24, 60, 120, 640, 3000])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.4, 0.4), (0.8, 0.8), (-0.1, 0.9)])
def test_labels_are_whole_and_inside(side: int, place: tuple[float, float]) -> None:
    """The ground around the letters is seen on all four sides: nothing of the label was cut off."""
    face = face_at(place[0] * side, place[1] * side, 0.2 * side)
    drawn = draw(np.full((side, side, 3), 90, np.uint8), [(face, AGE)])
    dark = (drawn.astype(int).sum(axis=2) < 60) & (drawn[..., 2] < 30)
    assert dark.any(), "no letters"
    rows, columns = np.nonzero(dark)
    assert rows.min() > 0
    assert rows.max() < side - 1
    assert columns.min() > 0
    assert columns.max() < side - 1
    around = drawn[rows.min() - 1, columns.min() : columns.max() + 1]
    assert np.abs(around.astype(int) - PAPER).max() < 200
    height = rows.max() - rows.min()
    assert height >= (7 if side >= 60 else 4)
    assert height >= side / 130, "letters too small for the photo"


def test_a_photo_of_one_pixel_is_drawn_on() -> None:
    assert draw(np.zeros((1, 1, 3), np.uint8), [(face_at(0, 0, 1), AGE)]).shape == (1, 1, 3)


def test_labels_of_neighbours_do_not_cover_each_other() -> None:
    faces = [(face_at(100.0 + 30 * i, 200, 30), AGE) for i in range(3)]
    drawn = draw(np.full((400, 400, 3), 90, np.uint8), faces)
    one = draw(np.full((400, 400, 3), 90, np.uint8), faces[:1])

    def letters(picture: np.ndarray) -> int:
        return int((picture == INK).all(axis=2).sum())

    assert letters(drawn) == pytest.approx(3 * letters(one), rel=0.1)
