from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.evaluation.corruptions import (
    CATEGORIES,
    CORRUPTIONS,
    EXTRAS,
    LEAST_SIDE,
    SEVERITIES,
    cell_rng,
    corrupt,
)
from agewise.evaluation.corruptions.profiles import PROFILES, Profile, grey_levels, resaved

Picture = NDArray[np.uint8]
KINDS = [*CORRUPTIONS, *EXTRAS]
RANDOM = {"motion_blur", "gaussian_noise", "shot_noise", "spatter", "patch", "low_light"}
"""Kinds that draw more than a side."""


def test_there_are_the_thirteen_of_the_paper_in_its_three_groups() -> None:
    assert [len(kinds) for kinds in CATEGORIES.values()] == [4, 2, 7]
    assert [kind for kinds in CATEGORIES.values() for kind in kinds] == list(CORRUPTIONS)
    assert not CORRUPTIONS.keys() & EXTRAS.keys()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("shape", [(31, 47), (47, 31), (LEAST_SIDE, LEAST_SIDE), (256, 256)])
@pytest.mark.parametrize("kind", KINDS)
def test_type_and_size_stay_and_a_seed_says_it_all(kind: str, shape: tuple[int, int], profile: Profile) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    before = image.copy()
    for severity in (1, 5):
        first, again = (corrupt(image, kind, severity, 7, profile) for _ in range(2))
        assert (first.dtype, first.shape) == (np.uint8, image.shape)
        assert first.flags.writeable
        assert first.flags.c_contiguous
        assert not np.shares_memory(first, image)
        np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_random_depends_on_the_seed(kind: str, portrait: Picture) -> None:
    found = {corrupt(portrait, kind, 3, cell_rng(seed, "a", kind, 3)).tobytes() for seed in range(8)}
    assert len(found) == (8 if kind in RANDOM else 2 if kind == "rotation" else 1)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_changes_more_at_every_severity(kind: str, profile: Profile, portrait: Picture) -> None:
    changed = [corrupt(portrait, kind, severity, 0, profile).astype(float) for severity in SEVERITIES]
    far = [0.0, *(float(np.abs(one - portrait).mean()) for one in changed)]
    assert all(low < high for low, high in pairwise(far)), far


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_an_even_picture_stays_even_where_nothing_is_random(kind: str, level: int, profile: Profile) -> None:
    out = corrupt(np.full((40, 40, 3), level, dtype=np.uint8), kind, 3, 0, profile)
    if kind not in RANDOM - {"motion_blur"}:
        assert np.ptp(out) == 0
        near = 2 if kind == "jpeg_compression" else 0
        assert kind.startswith("brightness") or abs(int(out[0, 0, 0]) - level) <= near


def test_a_part_of_an_array_is_read_as_well_as_a_copy(portrait: Picture) -> None:
    part = portrait[::2, 10:110]
    for kind in KINDS:
        np.testing.assert_array_equal(corrupt(part, kind, 2, 0), corrupt(part.copy(), kind, 2, 0))


def test_a_cell_has_its_own_numbers_whatever_was_drawn_before() -> None:
    cells = [(0, "a", "spatter", 1), (1, "a", "spatter", 1), (0, "b", "spatter", 1), (0, "a", "mask", 1)]
    cells += [(0, "a", "spatter", 2), (0, "a1", "spatter", 1), (0, "", "aspatter", 1)]
    draws = [cell_rng(*cell).random() for cell in cells]
    assert len(set(draws)) == len(cells)
    assert [cell_rng(*cell).random() for cell in reversed(cells)] == draws[::-1]


def test_the_numbers_of_a_cell_are_the_same_in_every_release() -> None:
    assert cell_rng(0, "a.jpg", "spatter", 1).integers(0, 10**9) == 261085447


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "fog"}, "no corruption 'fog'; there are gaussian_blur, .*, rotation"),
        ({"severity": 0}, "severity 0 of spatter; 1 to 5 are allowed"),
        ({"severity": 6}, "severity 6 of spatter; 1 to 5 are allowed"),
        ({"severity": 2.5}, "severity 2.5 of spatter; 1 to 5 are allowed"),
        ({"profile": "exact"}, "no profile 'exact' of the corruptions; there are paper, released"),
        ({"image": np.zeros((30, 30), dtype=np.uint8)}, r"the image is uint8 \(30, 30\); uint8 \(height, width, 3\)"),
        ({"image": np.zeros((30, 30, 4), dtype=np.uint8)}, r"the image is uint8 \(30, 30, 4\)"),
        ({"image": np.zeros((30, 30, 3))}, r"the image is float64 \(30, 30, 3\)"),
        ({"image": np.zeros((1, 1, 3), dtype=np.uint8)}, "the image has 1x1 pixels; 16 a side are needed"),
        ({"image": np.zeros((15, 40, 3), dtype=np.uint8)}, "the image has 40x15 pixels; 16 a side are needed"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"image": np.zeros((30, 30, 3), dtype=np.uint8), "kind": "spatter", "severity": 1, "rng": 0}
    with pytest.raises(ValueError, match=message) as error:
        corrupt(**{**given, **change})
    assert "\n" not in str(error.value)


def test_the_released_profile_saves_every_kind_as_jpeg(portrait: Picture, tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        corrupt(portrait, "brightness_plus", 1, 0, "released"),
        resaved(CORRUPTIONS["brightness_plus"](portrait, 1, np.random.default_rng(0), "released")),
    )
    path = str(tmp_path / "face.jpg")
    assert cv2.imwrite(path, portrait[:, :, ::-1])
    np.testing.assert_array_equal(resaved(portrait), cv2.imread(path)[:, :, ::-1])


def test_extras_know_no_profile(portrait: Picture) -> None:
    for kind in EXTRAS:
        np.testing.assert_array_equal(corrupt(portrait, kind, 2, 0), corrupt(portrait, kind, 2, 0, "released"))


@pytest.mark.parametrize("shape", [(256, 3), (20, 30, 3), (4, 1)])
def test_grey_levels_are_rounded_or_cut(shape: tuple[int, ...]) -> None:
    for dtype, slack in ((np.float32, 2**-10), (np.float64, 2**-30)):
        values = np.random.default_rng(0).uniform(-50, 300, shape).astype(dtype)
        inside = np.clip(values, 0, 255)
        np.testing.assert_array_equal(grey_levels(values, "paper"), np.rint(inside))
        np.testing.assert_array_equal(grey_levels(values, "released"), np.floor(np.clip(values + slack, 0, 255)))
        whole = np.full(shape, 10, dtype=dtype)
        assert (grey_levels(np.nextafter(whole, 0, dtype=dtype), "released") == 10).all()
