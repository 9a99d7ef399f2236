"""A face: moved with its image, and chosen by where it is."""

from __future__ import annotations

import numpy as np

from agewise.faces.face import Face, nearest_centre


def test_the_face_nearest_the_centre() -> None:
    points = np.zeros((5, 2))
    far, near = Face((0, 0, 10, 10), 0.9, points), Face((40, 40, 60, 60), 0.6, points)
    assert nearest_centre([far, near], 100, 100) is near
    assert nearest_centre([], 100, 100) is None


def test_a_moved_face_keeps_its_shape() -> None:
    face = Face((1.0, 2.0, 3.0, 5.0), 0.5, np.arange(10.0).reshape(5, 2)).moved(2.0, 1.0, -1.0)
    assert face.box == (3.0, 3.0, 7.0, 9.0)
    assert face.size == 6.0
    assert face.landmarks[0].tolist() == [1.0, 1.0]
