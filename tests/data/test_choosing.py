"""Which rows are learned from: folds by person, ages, the first so many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agewise.ages import AgeDistribution
from agewise.data.choosing import chosen_rows, in_fold, of_ages
from agewise.data.manifest import ManifestError, read_manifest
from agewise.data.splits import split

Make = Callable[..., Any]
PERSONS = [f"p{n // 3}" for n in range(36)]


@pytest.fixture
def faces(tmp_path: Path, faces_of: Make) -> Path:
    return Path(faces_of(tmp_path / "faces.parquet", range(2, 74, 2), side=8, subject=PERSONS))


def test_each_face_is_in_one_fold_with_its_person(faces: Path) -> None:
    parts = np.stack([in_fold(faces, 3, fold) for fold in range(3)])
    assert parts.sum(axis=0).tolist() == [1] * 36
    assert (parts.sum(axis=1) > 0).all()
    for person in set(PERSONS):
        own = [name == person for name in PERSONS]
        assert (parts[:, own].all(axis=1) | ~parts[:, own].any(axis=1)).all()
    assert not np.array_equal(in_fold(faces, 3, 0, seed=1), parts[0])


def test_a_fold_is_that_of_agewise_split(faces: Path, tmp_path: Path) -> None:
    split(faces, tmp_path / "split.parquet", folds=3, seed=7)
    named = read_manifest(tmp_path / "split.parquet", columns=["split"])["split"].to_pylist()
    assert in_fold(faces, 3, 2, seed=7).tolist() == [name == "2" for name in named]


def test_more_folds_than_persons_are_refused(faces: Path) -> None:
    with pytest.raises(ManifestError, match="13 folds were asked for; it has only 12 persons"):
        in_fold(faces, 13, 0)


def test_ages_are_those_of_the_rounded_mean() -> None:
    targets = AgeDistribution.of_ages([0, 11.6, 12.4, 12.6, 13, 100]).probs.astype(np.float32)
    assert of_ages(targets, (0, 12)).tolist() == [True, True, True, False, False, False]
    assert of_ages(targets, (12, 13)).tolist() == [False, True, True, True, True, False]
    assert of_ages(targets, (100, 100)).tolist() == [False] * 5 + [True]


def test_rows_meet_every_condition_and_the_limit_counts_those() -> None:
    odd, late = np.arange(10) % 2 == 1, np.arange(10) > 3
    assert chosen_rows(Path("m"), odd, late).tolist() == [5, 7, 9]
    assert chosen_rows(Path("m"), odd, late, limit=2).tolist() == [5, 7]
    assert chosen_rows(Path("m"), odd, limit=99).tolist() == [1, 3, 5, 7, 9]
    with pytest.raises(ManifestError, match="m: no face is left to learn from, of 10"):
        chosen_rows(Path("m"), odd, ~odd)
