"""Which levels of a photo are scanned: those that may show more than what was found."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.faces.face import Face
from agewise.faces.levels import hinted, left_out


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


def candidate(x: float, size: float, score: float = 0.3) -> NDArray[np.float64]:
    """A row of a scan: a square whose corner is at x, x."""
    return np.array([x, x, x + size, x + size, *[0.0] * 12, score])


@pytest.mark.parametrize(
    ("faces", "rows", "more"),
    [
        ([], [], True),
        ([found(0.3)], [candidate(0, 300, 0.95)], False),  # the face itself
        ([found(0.3)], [candidate(100, 40)], False),  # its mouth
        ([found(0.3)], [candidate(600, 40)], True),
        ([found(0.3)], [candidate(600, 90)], False),  # large enough to be found where it was seen
        ([found(0.3, score=0.7)], [], True),  # in doubt
        ([found(0.3), found(0.05)], [], False),  # looked at closer, but no hint of others
        ([found(0.05)] * 20, [], False),
        ([found(0.05)] * 21, [], True),  # a crowd
    ],
)
def test_small_candidates_outside_clear_faces_hint_at_more(
    faces: list[Face], rows: list[NDArray[np.float64]], more: bool
) -> None:
    assert hinted(np.array(rows).reshape(-1, 17), faces, 512, 1000, 60, many=20) is more


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
    assert hinted(rows, [found(0.3)], 256, 1000, 60) is more
    assert hinted(rows, [found(0.3)], 256, 1100, 60)
