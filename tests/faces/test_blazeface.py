"""Candidates that overlap are one face."""

from __future__ import annotations

import numpy as np
import pytest

from agewise.faces.blazeface import keep_best


def test_overlapping_candidates_are_one_face_and_others_their_own() -> None:
    def candidate(x: float, score: float) -> list[float]:
        return [x, 10, x + 40, 50, *[x + 20, 30] * 6, score]

    faces = keep_best(np.array([candidate(10, 0.9), candidate(12, 0.6), candidate(100, 0.7)]))
    assert sorted(face.score for face in faces) == [0.7, 0.9]
    best = max(faces, key=lambda face: face.score)
    assert best.box[0] == pytest.approx((10 * 0.9 + 12 * 0.6) / 1.5)
    assert keep_best(np.empty((0, 17))) == []
