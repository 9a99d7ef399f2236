"""Photos in every form -> the same faces and ages, in pixels of the photo as it was stored."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import agewise
from agewise.deployment import estimate as module
from agewise.deployment.estimate import Estimator, estimate
from agewise.deployment.runtime import OnnxModel
from agewise.faces import image as image_module
from agewise.faces.detect import Detector
from agewise.faces.image import Photo, PhotoError, encode_jpeg, read_photo
from agewise.faces.quality import Rules

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def estimator(tiny_model: Write) -> Estimator:
    return Estimator(tiny_model(), threads=1)


@pytest.fixture(scope="module")
def portrait(astronaut: Path) -> NDArray[np.uint8]:
    return read_photo(astronaut).pixels


def test_a_path_its_text_its_bytes_and_its_pixels_give_the_same(
    estimator: Estimator, astronaut: Path, portrait: NDArray[np.uint8]
) -> None:
    forms = [astronaut, str(astronaut), astronaut.read_bytes(), portrait, Photo(portrait)]
    ages = [[age for _, age in estimator(form)] for form in forms]
    assert len(ages[0]) == 1
    assert all(age == ages[0] for age in ages)


def test_mirrored_views_of_an_array_are_read(estimator: Estimator, portrait: NDArray[np.uint8]) -> None:
    ((face, _),) = estimator(portrait)
    ((mirrored, _),) = estimator(portrait[:, ::-1])
    width = portrait.shape[1]
    assert (mirrored.box[0] + mirrored.box[2]) / 2 == pytest.approx(width - (face.box[0] + face.box[2]) / 2, abs=8)


def test_boxes_are_in_pixels_of_the_original_of_a_shrunk_photo(
    estimator: Estimator, portrait: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.asarray(Image.fromarray(portrait).resize((1200, 1200)))
    ((plain, _),) = estimator(large)
    monkeypatch.setattr(image_module, "MAX_PIXELS", 500_000)
    data = encode_jpeg(large)
    assert read_photo(data).scale == 0.5
    ((shrunk, _),) = estimator(data)
    np.testing.assert_allclose(shrunk.box, plain.box, atol=30)
    np.testing.assert_allclose(shrunk.landmarks, plain.landmarks, atol=30)


def test_the_smallest_face_is_in_pixels_of_the_original_of_a_shrunk_photo(
    estimator: Estimator, portrait: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode_jpeg(np.asarray(Image.fromarray(portrait).resize((1200, 1200))))
    ((face, _),) = estimator(data)
    monkeypatch.setattr(image_module, "MAX_PIXELS", 500_000)
    for wanted, count in {face.size: 1, face.size / 0.6: 0}.items():
        assert len(Estimator(estimator.model, Detector(threads=1, smallest=wanted))(data)) == count


def test_boxes_are_in_pixels_of_the_upright_photo(estimator: Estimator, portrait: NDArray[np.uint8]) -> None:
    ((plain, _),) = estimator(portrait)
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x112] = 6  # the camera lay on its side: turned 90 degrees clockwise to be upright
    Image.fromarray(np.rot90(portrait)).save(buffer, "PNG", exif=exif)
    ((turned, _),) = estimator(buffer.getvalue())
    assert turned.box == plain.box


def test_no_face_is_an_empty_list(estimator: Estimator) -> None:
    assert estimator(np.full((120, 160, 3), 128, np.uint8)) == []


def test_every_face_of_a_group_is_found(estimator: Estimator, portrait: NDArray[np.uint8]) -> None:
    found = estimator(np.concatenate([portrait, portrait[:, ::-1]], axis=1))
    assert len(found) == 2


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)],
    ids=lambda pixels: f"{pixels.dtype}{pixels.shape}",
)
def test_arrays_that_are_no_photo_are_refused(estimator: Estimator, pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(PhotoError, match=r"RGB uint8 \(H, W, 3\) is needed"):
        estimator(pixels)


def test_unreadable_photos_are_refused(estimator: Estimator, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"^the file is empty"):
        estimator(b"")
    with pytest.raises(PhotoError, match=r"absent\.jpg: cannot be opened: No such file"):
        estimator(tmp_path / "absent.jpg")


def test_the_default_networks_are_opened_once(
    tiny_model: Write, portrait: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[OnnxModel] = []
    path = tiny_model()

    def open_model() -> OnnxModel:
        opened.append(OnnxModel(path, threads=1))
        return opened[-1]

    monkeypatch.setattr(module, "OnnxModel", open_model)
    monkeypatch.setattr(module, "Estimator", lambda model, detector: lambda _photo: [(model, detector)])
    module._default_model.cache_clear()
    first, second = estimate(portrait), estimate(portrait)
    module._default_model.cache_clear()
    assert len(opened) == 1
    assert first == second


def test_a_model_and_a_detector_may_be_given(
    tiny_model: Write, portrait: NDArray[np.uint8], estimator: Estimator
) -> None:
    ((_, age),) = agewise.estimate(portrait, model=tiny_model(), detector=Detector(threads=1))
    ((_, same),) = estimator(portrait)
    assert age == same


def test_rules_leave_faces_out_and_say_why(
    portrait: NDArray[np.uint8], estimator: Estimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = Estimator(estimator.model, estimator.detector, abstain=Rules(size=120.0, std=1000.0))
    (one,) = strict.judge(portrait)
    assert (one.age, one.reason) == (None, "too small: 106 px")
    assert strict(portrait) == []
    large = np.asarray(Image.fromarray(portrait).resize((1200, 1200)))
    monkeypatch.setattr(image_module, "MAX_PIXELS", 500_000)
    (shrunk,) = strict.judge(encode_jpeg(large))  # read at a half, but its face has 248 pixels as stored
    assert shrunk.reason is None
    assert [age for _, age in strict(encode_jpeg(large))] == [shrunk.age]


def test_without_rules_every_face_is_judged(estimator: Estimator, portrait: NDArray[np.uint8]) -> None:
    (judged,) = estimator.judge(portrait)
    ((face, age),) = estimator(portrait)
    assert (judged.face.box, judged.age, judged.reason) == (face.box, age, None)


def photos_of(portrait: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """One face, none, two, and one."""
    two = np.concatenate([portrait, portrait[:, ::-1]], axis=1)
    return [portrait, np.full((120, 160, 3), 128, np.uint8), two, np.ascontiguousarray(portrait[:, ::-1])]


@pytest.mark.parametrize("batch", [1, 2, 3, 64])
def test_faces_of_many_photos_have_the_ages_that_they_have_alone(
    portrait: NDArray[np.uint8], estimator: Estimator, batch: int
) -> None:
    photos = photos_of(portrait)
    found = list(estimator.many(photos, batch))
    assert [len(one) for one in found] == [1, 0, 2, 1]
    for together, photo in zip(found, photos, strict=True):
        alone = estimator.judge(photo)
        assert [one.face.box for one in together] == [one.face.box for one in alone]
        ages, expected = ([astuple(one.age) for one in row if one.age] for row in (together, alone))
        np.testing.assert_allclose(ages, expected, atol=1e-6)


def test_photos_are_read_as_they_are_needed(portrait: NDArray[np.uint8], estimator: Estimator) -> None:
    read = []

    def photos() -> Iterator[NDArray[np.uint8]]:
        for number, photo in enumerate(photos_of(portrait)):
            read.append(number)
            yield photo

    coming = estimator.many(photos(), batch=3)
    assert len(next(coming)) == 1
    assert read == [0, 1, 2]
    assert [len(one) for one in coming] == [0, 2, 1]
    assert list(estimator.many([])) == []
    with pytest.raises(ValueError, match="the batch is 0 faces; at least 1 is needed"):
        next(estimator.many(photos(), batch=0))


def test_photos_before_one_that_cannot_be_read_are_given(portrait: NDArray[np.uint8], estimator: Estimator) -> None:
    coming = estimator.many([portrait, portrait, b"no photo", portrait])
    assert [len(next(coming)), len(next(coming))] == [1, 1]
    with pytest.raises(PhotoError, match="not an image"):
        next(coming)


def test_rules_hold_for_many_photos(portrait: NDArray[np.uint8], estimator: Estimator) -> None:
    strict = Estimator(estimator.model, estimator.detector, abstain=Rules(size=120.0, std=1000.0))
    reasons = [[one.reason for one in row] for row in strict.many(photos_of(portrait))]
    assert reasons == [[one.reason for one in strict.judge(photo)] for photo in photos_of(portrait)]
    assert reasons[0] == ["too small: 106 px"]
