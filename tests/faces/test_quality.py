"""Quality of a face: sharpness by closed forms, pose of a head that was turned, rules that say why."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.ages import Age
from agewise.faces.align import TEMPLATE, align
from agewise.faces.face import Face
from agewise.faces.quality import POINTS, SIDE, Quality, Rules, crop_quality, pose, quality, sharpness

Floats = NDArray[np.float64]
AGE = Age(30.0, 5.0, 22.0, 38.0)
GOOD = Quality(120.0, 0.4, 3.0, -4.0, 2.0, 0.9)


def turned(yaw: float, pitch: float, roll: float, scale: float = 60.0) -> Floats:
    """The five points of a rigid head that nods, turns and tilts by degrees, seen from afar."""
    y, p, r = (math.radians(angle) for angle in (yaw, pitch, roll))
    nod = np.array([[1, 0, 0], [0, math.cos(p), math.sin(p)], [0, -math.sin(p), math.cos(p)]])
    turn = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    tilt = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    eye, nose, mouth = POINTS
    corner = np.array([0.4, 0.0, 0.0])
    head = np.stack([-eye / 2, eye / 2, nose, mouth - corner, mouth + corner])
    return scale * (head @ (tilt @ turn @ nod).T)[:, :2] + (200.0, 150.0)


def noise(contrast: float = 40.0) -> NDArray[np.uint8]:
    grey = np.random.default_rng(0).normal(128, contrast, (SIDE, SIDE, 1)).clip(0, 255)
    return np.repeat(grey, 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"),
    [
        (0, 0, 0),
        (30, 0, 0),
        (-55, 0, 0),
        (0, 25, 0),
        (0, -20, 0),
        (0, 0, 70),
        (0, 0, -120),
        (35, -15, 20),
        (-25, 18, -40),
    ],
)
def test_the_pose_of_a_turned_head_is_found(yaw: float, pitch: float, roll: float) -> None:
    assert pose(turned(yaw, pitch, roll)) == pytest.approx((yaw, pitch, roll), abs=1e-6)


def test_pose_has_no_size_and_no_place() -> None:
    assert pose(turned(20, 10, 5, scale=3.0) - 90) == pytest.approx((20, 10, 5), abs=1e-6)


def test_a_nose_to_the_right_is_yaw_and_down_is_pitch() -> None:
    right, down = turned(0, 0, 0), turned(0, 0, 0)
    right[2, 0] += 12
    down[2, 1] += 12
    assert pose(right)[0] > 5
    assert pose(down)[1] > 5
    mirrored = right * (-1, 1)
    assert pose(mirrored[[1, 0, 2, 4, 3]])[0] == pytest.approx(-pose(right)[0])


def test_the_template_is_upright_and_frontal() -> None:
    yaw, pitch, roll = pose(TEMPLATE * 100)
    assert (yaw, roll) == pytest.approx((0, 0), abs=1e-6)
    assert abs(pitch) < 10


def test_points_at_one_place_have_no_pose() -> None:
    angles = pose(np.zeros((5, 2)))
    assert all(math.isnan(angle) for angle in angles)
    assert Rules().reason(Quality(50, 0.4, *angles, 0.9), AGE) == "no pose: its eyes are at one place"


def test_sharpness_of_noise_of_ramps_and_of_one_colour() -> None:
    assert sharpness(noise()) == pytest.approx(math.sqrt(20), rel=0.05)
    ramp = np.repeat(np.tile(np.arange(SIDE) * 3, (SIDE, 1))[:, :, None], 3, axis=2).astype(np.uint8)
    assert sharpness(ramp) == 0
    assert sharpness(np.full((SIDE, SIDE, 3), 90, np.uint8)) == 0


def test_sharpness_of_a_wave_is_its_eigenvalue() -> None:
    """The Laplacian of sin(w x) is -(2 - 2 cos w) sin(w x)."""
    omega = 2 * math.pi / 16
    wave = 128 + 100 * np.sin(omega * np.arange(SIDE))
    view = np.repeat(np.tile(wave, (SIDE, 1))[:, :, None], 3, axis=2).round().astype(np.uint8)
    assert sharpness(view) == pytest.approx(2 - 2 * math.cos(omega), rel=0.05)


def test_sharpness_does_not_depend_on_contrast_and_falls_with_blur() -> None:
    assert sharpness(noise(10.0)) == pytest.approx(sharpness(noise(40.0)), rel=0.05)
    board = (np.add.outer(np.arange(SIDE) // 16, np.arange(SIDE) // 16) % 2 * 200).astype(np.uint8)
    squares = np.repeat(board[:, :, None], 3, axis=2)
    values = [sharpness(np.asarray(cv2.GaussianBlur(squares, (0, 0), std), np.uint8)) for std in (0.5, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.1 * values[0]


def test_a_photo_and_its_crop_say_the_same() -> None:
    rng = np.random.default_rng(2)
    pixels = np.asarray(cv2.GaussianBlur(rng.integers(0, 256, (300, 400, 3), np.uint8), (0, 0), 4), np.uint8)
    face = Face((150.0, 90.0, 260.0, 200.0), 0.87, turned(10, 5, -8))
    of_photo, of_crop = quality(pixels, face), crop_quality(align(pixels, face, 256), face)
    assert of_photo.sharpness == pytest.approx(of_crop.sharpness, rel=0.1)
    assert (of_photo.size, of_photo.score, of_photo.yaw) == (110.0, 0.87, pytest.approx(10, abs=1e-6))
    assert (of_crop.size, of_crop.pitch) == (110.0, of_photo.pitch)
    assert quality(pixels, face, 0.5).size == 220.0


def test_a_good_face_is_judged() -> None:
    assert Rules().reason(GOOD, AGE) is None


@pytest.mark.parametrize(
    ("found", "age", "reason"),
    [
        (Quality(18.2, 0.4, 0, 0, 0, 0.9), AGE, "too small: 18 px"),
        (Quality(90, 0.05, 0, 0, 0, 0.9), AGE, "blurred: sharpness 0.050"),
        (Quality(90, 0.4, 0, 0, 0, 0.57), AGE, "hardly a face: score 0.57"),
        (Quality(90, 0.4, -61, 0, 0, 0.9), AGE, "turned: 61 degrees"),
        (Quality(90, 0.4, 0, 41, 0, 0.9), AGE, "nodding: 41 degrees"),
        (Quality(90, 0.4, 0, 0, -33, 0.9), AGE, "tilted: 33 degrees"),
        (GOOD, Age(50, 17.2, 20, 80), "too unsure: +-17 years"),
        (Quality(9, 0.01, 0, 0, 0, 0.9), AGE, "too small: 9 px; blurred: sharpness 0.010"),
    ],
)
def test_a_face_that_is_not_judged_has_a_reason(found: Quality, age: Age, reason: str) -> None:
    assert Rules().reason(found, age) == reason


def test_a_limit_itself_is_allowed_and_infinity_leaves_a_rule_out() -> None:
    rules = Rules()
    edge = Quality(rules.size, rules.sharpness, rules.yaw, -rules.pitch, rules.roll, rules.score)
    assert rules.reason(edge, Age(50, rules.std, 20, 80)) is None
    assert Rules(std=math.inf).reason(GOOD, Age(50, 40.0, 0, 100)) is None


@pytest.mark.parametrize("limit", [-1.0, math.nan])
def test_limits_that_cannot_be_are_refused(limit: float) -> None:
    with pytest.raises(ValueError, match=r"the limit of yaw is .*; 0 or more is allowed"):
        Rules(yaw=limit)
