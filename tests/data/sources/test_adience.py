"""Adience: five folds, three ways to read odd labels, users as subjects."""

from __future__ import annotations

from pathlib import Path

import pytest

from agewise.data.sources.tree import SourceError
from tests.data.sources.layouts import imported, written

FACE = "set/faces/{0}@N0{0}/coarse_tilt_aligned_face.{1}.{1}_o.jpg"


def bounds(labels: str, tmp_path: Path) -> dict[str, tuple[float | None, float | None]]:
    read = imported("adience", written("adience", tmp_path / "set"), labels=labels)
    return {name: (row["age_low"], row["age_high"]) for name, row in read.by_name.items()}


def test_strict_keeps_the_eight_groups_of_complete_lines(tmp_path: Path) -> None:
    read = imported("adience", written("adience", tmp_path / "set"))
    assert {(row["age_low"], row["age_high"]) for row in read.rows} == {(0, 2), (60, 100), (8, 12), (15, 20), (48, 53)}
    row = read[FACE.format(3, 1)]
    assert (row["subject"], row["fold"], row["sex"], row["age"], row["age_kind"]) == ("3@N03", 3, "F", None, "group")
    assert read.reasons["faces/2@N02/coarse_tilt_aligned_face.9.9_o.jpg"] == "a field of the line is empty"
    assert read.reasons["faces/0@N00/coarse_tilt_aligned_face.2.2_o.jpg"] == (
        "the label None is none of the eight groups"
    )
    assert set(read.column("split")) == {None}


def test_levi_and_hassner_repair_one_misprint(tmp_path: Path) -> None:
    strict, repaired = bounds("strict", tmp_path), bounds("levi_hassner", tmp_path)
    new = {name: value for name, value in repaired.items() if name not in strict}
    assert new == {FACE.format(0, 1): (25, 32), FACE.format(2, 9): (4, 6)}


def test_nearest_reads_every_odd_label_as_a_group(tmp_path: Path) -> None:
    read = bounds("nearest", tmp_path)
    assert read[FACE.format(0, 3)] == (25, 32)  # 35
    assert read[FACE.format(1, 1)] == (38, 43)  # (38, 42)
    assert read[FACE.format(3, 0)] == (8, 12)  # (8, 23)
    assert read[FACE.format(4, 1)] == (8, 12)  # 13


def test_as_written_keeps_each_label_with_its_own_bounds(tmp_path: Path) -> None:
    read = imported("adience", written("adience", tmp_path / "set"), labels="as_written")
    assert read[FACE.format(1, 1)]["age_high"] == 42
    row = read[FACE.format(0, 3)]
    assert (row["age"], row["age_low"], row["age_kind"]) == (35, None, "apparent")
    assert len(read.rows) == 11


def test_frontal_folds_the_aligned_faces_and_a_test_fold(tmp_path: Path) -> None:
    read = imported("adience", written("adience", tmp_path / "set"), folds="frontal", pictures="aligned", test="1")
    assert {name: row["split"] for name, row in read.by_name.items()} == {
        "set/aligned/0@N00/landmark_aligned_face.0.0_o.jpg": "train",
        "set/aligned/1@N01/landmark_aligned_face.0.0_o.jpg": "test",
        "set/aligned/2@N02/landmark_aligned_face.0.0_o.jpg": "train",
        "set/aligned/4@N04/landmark_aligned_face.0.0_o.jpg": "train",
    }


def test_a_missing_fold_is_named(tmp_path: Path) -> None:
    root = written("adience", tmp_path / "set")
    (root / "fold_3_data.txt").unlink()
    with pytest.raises(SourceError, match=r"no fold_3_data.txt; the benchmark has five folds"):
        imported("adience", root)
