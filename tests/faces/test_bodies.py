"""Faces and bodies: who belongs to whom, what is cut out of a person's crop, and what is left of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.transform import resize

from agewise.faces.bodies import INFERENCE, TRAINING, CropRule, body_crop, face_crop, letterbox, pair

Box = tuple[float, float, float, float]
AS_IT_IS = CropRule(extend=0.0)


def grey(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 200, np.uint8)


def score(face: Box, person: Box) -> float:
    """The score of the paper's pairing, written out."""
    wide = max(0.0, min(face[2], person[2]) - max(face[0], person[0]))
    high = max(0.0, min(face[3], person[3]) - max(face[1], person[1]))
    area, whole = ((box[2] - box[0]) * (box[3] - box[1]) for box in (face, person))
    return 0.5 * (wide * high / (area + whole - wide * high) + wide * high / area)


def test_a_face_may_leave_its_best_person_to_a_face_that_has_no_other() -> None:
    both, only_first = (10, 10, 20, 20), (26, 10, 30, 20)
    first, second = (0, 0, 30, 30), (5, 0, 25, 60)
    assert score(both, first) == pytest.approx((100 / 900 + 1) / 2)
    assert score(both, first) > score(both, second) == pytest.approx((100 / 1200 + 1) / 2)
    assert pair([both, only_first], [first, second]) == [(0, 1), (1, 0)]
    assert pair([both], [first, second]) == [(0, 0), (-1, 1)]


@pytest.mark.parametrize("seed", range(6))
def test_pairs_have_the_greatest_sum_of_scores(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 5, 2)
    corners = [rng.uniform(0, 60, (n, 2)) for n in count]
    sides = [rng.uniform(5, 40, (n, 2)) for n in count]
    faces, people = (np.hstack([c, c + s]) for c, s in zip(corners, sides, strict=True))
    found = pair(faces, people)
    assert sorted(face for face, _ in found if face >= 0) == list(range(count[0]))
    assert sorted(person for _, person in found if person >= 0) == list(range(count[1]))
    table = np.array([[score(face, person) for person in people] for face in faces])
    table = table if count[0] <= count[1] else table.T
    best = max(sum(table[i, j] for i, j in enumerate(order)) for order in permutations(table.shape))
    paired = [(face, person) for face, person in found if face >= 0 and person >= 0]
    assert sum(score(faces[f], people[p]) for f, p in paired) == pytest.approx(best, abs=1e-3)
    assert all(score(faces[f], people[p]) > 1e-4 for f, p in paired)


def permutations(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(itertools.permutations(range(shape[1]), shape[0]))


def test_who_hardly_touch_are_not_paired() -> None:
    face = (0.0, 0.0, 100.0, 100.0)
    beside, touching = (99.99, 0.0, 1100.0, 1000.0), (99.97, 0.0, 1100.0, 1000.0)
    assert score(face, beside) == pytest.approx(5e-5, rel=0.02)
    assert pair([face], [beside]) == [(0, -1), (-1, 0)]
    assert pair([face], [touching]) == [(0, 0)]


def test_one_face_a_person_and_nobody_is_lost() -> None:
    body = (0, 0, 50, 100)
    assert pair([(10, 5, 30, 25), (10, 5, 31, 26)], [body]) == [(0, -1), (1, 0)]
    assert pair([], [body, body]) == [(-1, 0), (-1, 1)]
    assert pair(np.empty((0, 4)), [body]) == [(-1, 0)]
    assert pair([(1, 1, 2, 2)], []) == [(0, -1)]
    assert pair([], []) == []


def test_boxes_that_are_none_are_refused() -> None:
    good = (0, 0, 5, 5)
    with pytest.raises(ValueError, match=r"people: box 1 is \[3.0, 3.0, 3.0, 9.0\]; x0 < x1 and y0 < y1 are needed"):
        pair([good], [good, (3, 3, 3, 9)])
    with pytest.raises(ValueError, match="faces: box 0 is"):
        pair([(0, 0, np.nan, 5)], [good])
    with pytest.raises(ValueError, match=r"faces: boxes have shape \(1, 3\); \(N, 4\) is needed"):
        pair([(0, 0, 5)], [good])
    with pytest.raises(ValueError, match="person: box 0 is"):
        body_crop(grey(90, 90), (60, 0, 0, 60), [], [])
    with pytest.raises(ValueError, match="other people: box 0 is"):
        body_crop(grey(90, 90), (0, 0, 60, 60), [(5, 9, 5, 9)], [])
    with pytest.raises(ValueError, match="face: box 0 is"):
        face_crop(grey(90, 90), (5, 9, 5, 9))


def test_other_people_and_every_face_are_black_in_a_body() -> None:
    photo = grey(120, 100)
    before = photo.copy()
    own_face, far_face, other = (30, 15, 45, 35), (80, 0, 95, 9), (60, 50, 90, 90)
    expected = photo[10:110, 10:70].copy()
    expected[5:25, 20:35] = 0
    expected[40:80, 50:60] = 0
    crop = body_crop(photo, (10, 10, 70, 110), [other], [own_face, far_face], AS_IT_IS)
    assert crop is not None
    assert (crop == expected).all()
    expected[80:100, 50:60] = 0  # 20 rows of 100 are left below the other person: less than 30 %
    extended = body_crop(photo, (10, 10, 70, 110), [other], [own_face, far_face])
    assert extended is not None
    assert (extended == expected).all()
    assert (photo == before).all()


@pytest.mark.parametrize(
    ("other", "black"),
    [
        ((30, 30, 70, 70), (30, 30, 70, 70)),  # just far enough from all borders
        ((29, 30, 70, 70), (0, 30, 70, 70)),
        ((30, 29, 70, 70), (30, 0, 70, 70)),
        ((30, 30, 71, 70), (30, 30, 100, 70)),
        ((30, 30, 70, 71), (30, 30, 70, 100)),
        ((5, 40, 10, 50), (0, 40, 10, 50)),
        ((-20, 90, 10, 300), (0, 90, 10, 100)),
        ((100, 0, 140, 100), (0, 0, 0, 0)),  # touches the crop's edge only
        ((300, 300, 340, 340), (0, 0, 0, 0)),
    ],
)
def test_cut_outs_near_a_border_go_on_to_it(other: Box, black: tuple[int, int, int, int]) -> None:
    crop = body_crop(grey(200, 200), (50, 50, 150, 150), np.array([other]) + 50, [])
    expected = grey(100, 100)
    expected[black[1] : black[3], black[0] : black[2]] = 0
    assert crop is not None
    assert (crop == expected).all()


def test_faces_are_not_extended_and_no_rim_of_them_remains() -> None:
    crop = body_crop(grey(100, 100), (0, 0, 100, 100), [], [(20.4, 2.5, 30.2, 11.0)])
    expected = grey(100, 100)
    expected[2:11, 20:31] = 0
    assert crop is not None
    assert (crop == expected).all()


def test_a_body_without_faces_or_neighbours_is_its_box() -> None:
    photo = np.random.default_rng(0).integers(1, 256, (90, 80, 3), dtype=np.uint8)
    crop = body_crop(photo, (10.4, 19.6, 70.2, 120.0), [], [])
    assert crop is not None
    assert (crop == photo[20:90, 10:70]).all()


def test_small_bodies_are_none_and_training_wants_larger_ones() -> None:
    photo = grey(300, 300)
    for rule, side in ((INFERENCE, 50), (TRAINING, 100)):
        for wide, high in ((side, 2 * side), (2 * side, side)):
            assert body_crop(photo, (7, 7, 7 + wide, 7 + high), [], [], rule) is not None
        assert body_crop(photo, (7, 7, 6 + side, 207), [], [], rule) is None
        assert body_crop(photo, (7, 7, 207, 6 + side), [], [], rule) is None
    assert body_crop(photo, (-30, 0, 45, 100), [], []) is None  # 45 pixels of it are in the photo
    assert body_crop(photo, (400, 0, 500, 100), [], []) is None
    assert body_crop(photo, (-200, -200, -50, -50), [], [], CropRule(smallest=0)) is None


def test_training_extends_nothing() -> None:
    crop = body_crop(grey(100, 100), (0, 0, 100, 100), [(80, 40, 90, 50)], [], TRAINING)
    assert crop is not None
    assert (crop == 0).all(axis=2).sum() == 100


def test_a_body_of_which_little_remains_is_none() -> None:
    photo = grey(100, 100)
    whole = (0, 0, 100, 100)
    assert body_crop(photo, whole, [(40, 0, 100, 100)], []) is not None  # 40 % remain
    assert body_crop(photo, whole, [(39, 0, 100, 100)], []) is None
    assert body_crop(photo, whole, [], [(0, 0, 100, 61)]) is None
    assert body_crop(photo, whole, [(39, 0, 100, 100)], [], CropRule(remain=0.39)) is not None
    assert body_crop(np.zeros_like(photo), whole, [], []) is None


def test_a_face_is_its_tight_box_within_the_photo() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    crop = face_crop(photo, (-4.0, 10.4, 20.6, 29.5))
    assert crop is not None
    assert (crop == photo[10:30, 0:21]).all()
    crop[:] = 0
    assert photo[10:30, 0:21].any()
    assert face_crop(photo, (90, 0, 99, 9)) is None


def test_letterboxes_keep_the_aspect_in_the_middle_of_black() -> None:
    tall = letterbox(grey(40, 20), 16)
    assert (tall[:, 4:12] == 200).all()
    assert not tall[:, :4].any()
    assert not tall[:, 12:].any()
    wide = letterbox(grey(5, 20), 40)
    assert (wide[15:25] == 200).all()
    assert not wide[:15].any()
    assert not wide[25:].any()
    assert (letterbox(grey(1, 900), 8)[3] == 200).all()  # a line of less than a pixel is still a line


def test_a_missing_view_is_black() -> None:
    assert letterbox(None, 24).shape == (24, 24, 3)
    assert letterbox(None, 24).dtype == np.uint8
    assert not letterbox(None, 24).any()


@pytest.mark.parametrize("side", [33, 64, 90])
def test_letterboxes_are_bilinear_as_scikit_image_is(side: int) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    expected = resize(photo, (side, side), order=1, mode="edge", anti_aliasing=False, preserve_range=True)
    assert np.abs(letterbox(photo, side) - expected).max() < 1.5
    assert (letterbox(photo, 48) == photo).all()


def test_fine_patterns_turn_grey() -> None:
    stripes = np.where(np.arange(1000) % 2, 255, 0).astype(np.uint8)
    photo = np.repeat(np.broadcast_to(stripes, (1000, 1000))[:, :, None], 3, axis=2)
    assert np.abs(letterbox(photo, 99).astype(float) - 127.5).max() < 16


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="an image of 7x0 pixels cannot be resized"):
        letterbox(np.empty((0, 7, 3), np.uint8), 16)
