"""Faces found once and in place: tilted, small, in groups and in large photos; none where there is none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from agewise.faces.detect import Detector
from agewise.faces.image import read_photo
from agewise.faces.levels import CLEAR

CENTRE = np.array([224.0, 110.0])
"""Of the astronaut's face, in pixels of scikit-image's photo (512x512, NASA, public domain)."""
PORTRAITS = 60


@pytest.fixture(scope="module")
def detect() -> Detector:
    return Detector(threads=1)


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    return np.asarray(data.astronaut())


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The long sides of all that is scanned from here on."""
    seen: list[int] = []
    scan = Detector._scan

    def scanned(self: Detector, image: NDArray[np.uint8], scale: float, threshold: float) -> NDArray[np.float64]:
        seen.append(round(scale * max(image.shape[:2])))
        return scan(self, image, scale, threshold)

    monkeypatch.setattr(Detector, "_scan", scanned)
    return seen


def resized(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def test_the_astronaut_is_found_once(detect: Detector, photo: NDArray[np.uint8]) -> None:
    (face,) = detect(photo)
    assert np.abs(face.centre - CENTRE).max() < 25
    assert 80 < face.size < 150
    assert 0.7 < face.score <= 1
    eye, other, nose, left, right = face.landmarks
    assert eye[0] < nose[0] < other[0]
    assert left[0] < right[0]
    assert max(eye[1], other[1]) < nose[1] < min(left[1], right[1])
    assert np.abs(eye - (204, 106)).max() < 8
    assert np.abs(other - (244, 106)).max() < 8


@pytest.mark.parametrize("angle", [-30, 30])
def test_tilted_faces_are_found_and_their_eyes_tell_the_tilt(
    detect: Detector, photo: NDArray[np.uint8], angle: int
) -> None:
    (face,) = detect(np.asarray(Image.fromarray(photo).rotate(angle, Image.Resampling.BICUBIC)))
    x, y = face.landmarks[1] - face.landmarks[0]
    assert np.degrees(np.arctan2(-y, x)) == pytest.approx(angle, abs=8)


def test_a_face_of_forty_pixels_is_found_in_a_large_photo(detect: Detector, photo: NDArray[np.uint8]) -> None:
    side = round(512 * 40 / 107)
    canvas = np.full((700, 900, 3), 100, np.uint8)
    canvas[300 : 300 + side, 500 : 500 + side] = resized(photo, side, side)
    (face,) = detect(canvas)
    assert np.abs(face.centre - (CENTRE * side / 512 + (500, 300))).max() < 10
    assert face.size == pytest.approx(40, abs=10)


def test_a_small_photo_is_enough(detect: Detector, photo: NDArray[np.uint8]) -> None:
    side = round(512 * 40 / 107)
    (face,) = detect(resized(photo, side, side))
    assert np.abs(face.centre - CENTRE * side / 512).max() < 8


@pytest.mark.parametrize("side", [820, 1000, 1200, 1600, 2400])
def test_larger_photos_hold_no_more_faces(detect: Detector, photo: NDArray[np.uint8], side: int) -> None:
    """Its badge, sleeve and flag were taken for faces from 820 pixels on before doubtful faces were looked at again."""
    (face,) = detect(resized(photo, side, side))
    assert np.abs(face.centre - CENTRE * side / 512).max() < 25 * side / 512


def test_finer_levels_are_scanned_on_a_hint_alone(photo: NDArray[np.uint8], sides: list[int]) -> None:
    canvas = np.full((600, 1000, 3), 128, np.uint8)
    canvas[:400, :400] = resized(photo[20:220, 120:320], 400, 400)  # one clear face of 21 % of the width
    assert len(Detector(threads=1)(canvas)) == 1
    assert sides == [256]
    canvas[400:440, 800:840] = resized(photo[20:220, 120:320], 40, 40)  # and one of 21 pixels
    sides.clear()
    assert len(Detector(threads=1)(canvas)) == 2
    assert 1024 in sides


def test_clear_faces_of_few_pixels_need_no_finer_level(photo: NDArray[np.uint8], sides: list[int]) -> None:
    head = photo[20:220, 120:320]
    (large,) = Detector(threads=1)(resized(head, 640, 640))
    canvas = np.full((1000, 1500, 3), 128, np.uint8)
    for left in (100, 600, 1100):
        canvas[400:560, left : left + 160] = resized(head, 160, 160)  # 85 pixels, of which the middle level sees 29
    sides.clear()
    faces = Detector(threads=1)(canvas)
    assert sides == [256, 512]
    for face, left in zip(sorted(faces, key=lambda one: one.box[0]), (100, 600, 1100), strict=True):
        away = face.landmarks - (large.landmarks / 4 + (left, 400))
        assert np.linalg.norm(away, axis=1).mean() < 0.12 * face.size


def test_twelve_megapixels(detect: Detector, photo: NDArray[np.uint8]) -> None:
    canvas = np.full((3000, 4000, 3), 128, np.uint8)
    canvas[:, 500:3500] = resized(photo, 3000, 3000)
    (face,) = detect(canvas)
    scale = 3000 / 512
    assert np.abs(face.centre - (CENTRE * scale + (500, 0))).max() < 25 * scale


def test_every_face_of_a_group_the_largest_first(detect: Detector, photo: NDArray[np.uint8]) -> None:
    head = photo[20:240, 110:330]
    canvas = np.full((600, 900, 3), 128, np.uint8)
    for index, side in enumerate((150, 220, 100, 180)):
        canvas[100 : 100 + side, 220 * index : 220 * index + side] = resized(head, side, side)
    faces = detect(canvas)
    assert [int(face.centre[0] // 220) for face in faces] == [1, 3, 0, 2]


def test_no_face_in_noise_or_in_one_colour(detect: Detector) -> None:
    rng = np.random.default_rng(0)
    assert detect(rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)) == []
    assert detect(np.full((300, 400, 3), 128, np.uint8)) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 5000), (40000, 30), (7, 7)])
def test_photos_of_any_shape_are_searched(detect: Detector, shape: tuple[int, int]) -> None:
    assert detect(np.zeros((*shape, 3), np.uint8)) == []


def test_the_same_photo_gives_the_same_faces(detect: Detector, photo: NDArray[np.uint8]) -> None:
    first, second = detect(photo), detect(photo)
    assert [face.box for face in first] == [face.box for face in second]
    assert (first[0].landmarks == second[0].landmarks).all()


def test_studio_portraits_hold_one_face_each(detect: Detector, shared: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(shared / "portraits-studio.parquet", columns=["image"])
    rows = np.linspace(0, len(table) - 1, PORTRAITS).astype(int)
    counts = [len(detect(read_photo(table["image"][int(row)].as_py()["bytes"]).pixels)) for row in rows]
    assert counts.count(1) >= 0.99 * PORTRAITS


def test_thresholds_outside_zero_to_one_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Detector(threshold=1.0)


def test_a_smallest_face_saves_the_finer_levels(photo: NDArray[np.uint8], sides: list[int]) -> None:
    crowd = np.concatenate([photo] * 3, axis=1)  # 1536 pixels wide: its faces have 106
    for smallest, levels in {0.0: [256, 512, 1024], 80.0: [256, 512, 576], 100.0: [256, 461]}.items():
        sides.clear()
        assert len(Detector(threads=1, smallest=smallest)(crowd)) == 3
        assert [side for side in sides if side > 200] == levels
    sides.clear()
    Detector(threads=1, smallest=500.0)(crowd)
    assert {side for side in sides if side > 200} == {256}  # with borders too
    with pytest.raises(ValueError, match=r"the smallest face is -1\.0 pixels; 0 or more is allowed"):
        Detector(smallest=-1.0)


def test_faces_far_below_the_smallest_are_left_out(photo: NDArray[np.uint8]) -> None:
    (face,) = Detector(threads=1)(photo)
    for wanted, count in {face.size: 1, face.size / 0.8: 1, face.size / 0.7: 0}.items():
        assert len(Detector(threads=1, smallest=wanted)(photo)) == count
    pair = np.full((512, 1024, 3), 128, np.uint8)
    pair[:, :512] = photo
    pair[300:428, 700:828] = resized(photo, 128, 128)
    assert len(Detector(threads=1)(pair)) == 2
    assert len(Detector(threads=1, smallest=80)(pair)) == 1


def test_a_smallest_face_counts_in_the_photo_whose_border_is_grown(photo: NDArray[np.uint8]) -> None:
    """A face that fills its photo is seen with a border, in a smaller picture: its size is the photo's all the same."""
    (face,) = Detector(threads=1)(photo)
    x0, y0, x1, y1 = (round(value) for value in face.box)
    filling = resized(photo[y0 - 8 : y1 + 8, x0 - 8 : x1 + 8], 800, 800)
    (alone,) = Detector(threads=1)(filling)
    assert alone.size > 440
    assert len(Detector(threads=1, smallest=alone.size)(filling)) == 1
    assert Detector(threads=1, smallest=alone.size / 0.7)(filling) == []


def test_doubtful_faces_a_little_below_the_smallest_are_found(detect: Detector, photo: NDArray[np.uint8]) -> None:
    blurred = np.asarray(cv2.GaussianBlur(photo, (0, 0), 4), np.uint8)
    page = np.full((512, 1024, 3), 128, np.uint8)
    page[:, :512] = photo
    page[150:406, 640:896] = resized(blurred, 256, 256)
    found = detect(page)
    assert len(found) == 2
    doubtful = found[-1]
    assert doubtful.score < CLEAR
    assert len(Detector(threads=1, smallest=doubtful.size / 0.85)(page)) == 2
    assert len(Detector(threads=1, smallest=doubtful.size / 0.7)(page)) == 1
