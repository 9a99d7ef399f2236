from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.evaluation.corruptions import SEVERITIES, cell_rng, corrupt
from agewise.evaluation.corruptions.extras import LENS_COLOUR, MASK_COLOUR
from agewise.faces.align import TEMPLATE

Picture = NDArray[np.uint8]
LEFT_EYE, RIGHT_EYE, NOSE, LEFT_MOUTH, RIGHT_MOUTH = range(5)


def hidden(kind: str, severity: int, shape: tuple[int, int] = (200, 160)) -> list[bool]:
    """Which of the five points of the standard frame no longer show a white crop."""
    out = corrupt(np.full((*shape, 3), 255, dtype=np.uint8), kind, severity, 0)
    return [bool((out[int(y * shape[0]), int(x * shape[1])] < 255).any()) for x, y in TEMPLATE]


def test_a_mask_hides_the_mouth_and_then_the_nose_and_never_the_eyes() -> None:
    shown = [hidden("mask", severity) for severity in SEVERITIES]
    assert all(points[LEFT_MOUTH] and points[RIGHT_MOUTH] for points in shown)
    assert [points[NOSE] for points in shown] == [False, False, False, True, True]
    assert not any(points[LEFT_EYE] or points[RIGHT_EYE] for points in shown)


def test_sunglasses_hide_the_eyes_alone() -> None:
    assert all(hidden("sunglasses", severity) == [True, True, False, False, False] for severity in SEVERITIES)


@pytest.mark.parametrize(("kind", "colour"), [("mask", MASK_COLOUR), ("sunglasses", LENS_COLOUR)])
def test_what_hides_most_is_opaque(kind: str, colour: tuple[int, int, int], portrait: Picture) -> None:
    out = corrupt(portrait, kind, 5, 0)
    x, y = TEMPLATE[LEFT_MOUTH if kind == "mask" else LEFT_EYE]
    assert out[int(y * 224), int(x * 224)].tolist() == list(colour)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_patch_has_its_share_of_the_frame_and_lies_on_the_face(severity: int) -> None:
    image = np.full((240, 240, 3), 200, dtype=np.uint8)
    for key in "abc":
        rows, columns, _ = np.nonzero(corrupt(image, "patch", severity, cell_rng(0, key, "patch", severity)) < 200)
        side = (0.16, 0.24, 0.32, 0.40, 0.48)[severity - 1] * 240
        assert np.ptp(rows) + 1 == pytest.approx(side, abs=2)
        assert np.ptp(columns) + 1 == pytest.approx(side, abs=2)
        assert 0.36 * 240 < columns.mean() < 0.64 * 240
        assert 0.40 * 240 < rows.mean() < 0.74 * 240


def test_low_light_is_dark_and_counted() -> None:
    grey = np.full((100, 100, 3), 128, dtype=np.uint8)
    for severity, (gamma, photons) in enumerate([(1.5, 100), (2, 60), (2.5, 35), (3, 20), (4, 12)], 1):
        out = corrupt(grey, "low_light", severity, 0) / 255
        mean = (128 / 255) ** gamma
        assert out.mean() == pytest.approx(mean, abs=0.005)
        assert out.std() == pytest.approx((mean / photons) ** 0.5, rel=0.03)


def test_low_resolution_leaves_what_few_pixels_hold(portrait: Picture) -> None:
    detail = np.zeros((224, 224, 3), dtype=np.uint8)
    detail[:, ::2] = 255
    assert corrupt(detail, "low_resolution", 1, 0).std() < 5
    assert abs(corrupt(portrait, "low_resolution", 5, 0).mean() - portrait.mean()) < 0.5


def test_a_rotation_turns_about_the_centre_to_either_side() -> None:
    image = np.zeros((201, 201, 3), dtype=np.uint8)
    image[100, 150:153] = image[99:102, 100] = 255
    turned = [corrupt(image, "rotation", 3, seed) for seed in range(8)]
    sides = set()
    for out in turned:
        rows, columns = np.nonzero(out[:, :, 0] * (np.arange(201) > 120))
        down = np.arctan2(rows.mean() - 100, columns.mean() - 100)
        assert abs(np.rad2deg(down)) == pytest.approx(20, abs=1)
        assert out[100, 100, 0] > 100
        sides.add(bool(down > 0))
    assert sides == {True, False}
