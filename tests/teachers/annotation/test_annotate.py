"""Annotation: the same rows in the same order with a teacher's ages, resumed by the same teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.data.manifest import ManifestError, distributions, metadata, numbers, read_manifest
from agewise.teachers.annotation.annotate import annotate
from agewise.teachers.ensemble import Ensemble

Write = Callable[..., Path]
BAD = {"bytes": b"no picture", "path": None}


def bright(crops: NDArray[np.uint8]) -> AgeDistribution:
    """A teacher that knows how the faces of `faces_of` are made."""
    return AgeDistribution.gaussian(((crops.mean(axis=(1, 2, 3)) - 40) / 1.6).clip(0, 100), 3.0)


def flattened(crops: NDArray[np.uint8]) -> AgeDistribution:
    """A teacher that draws everybody towards 30."""
    return AgeDistribution.gaussian(0.6 * bright(crops).mean + 12, 3.0)


class Dead(BaseException):
    """What kill -9 does, as far as one process can do it to itself."""


class Killed:
    """A teacher whose process dies at its n-th call."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        self.calls -= 1
        if self.calls < 0:
            raise Dead
        return bright(crops)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agewise.teachers.annotation.annotate.PART_ROWS", 10)


@pytest.mark.usefixtures("small_parts")
def test_rows_stay_in_order_with_all_their_columns(tmp_path: Path, faces_of: Write) -> None:
    ages = [float(age) for age in range(5, 80, 3)]
    source = faces_of(tmp_path / "faces.parquet", ages, subject=[f"s{age}" for age in ages], camera=range(len(ages)))
    target = tmp_path / "new" / "soft.parquet"
    steps: list[tuple[int, int]] = []
    done = annotate(source, bright, target, identity="t", batch=4, progress=lambda *step: steps.append(step))
    assert done == (len(ages), [])
    made = read_manifest(target)
    assert made["subject"].to_pylist() == [f"s{age}" for age in ages]
    assert made["camera"].to_pylist() == list(range(len(ages)))
    assert distributions(made).mean == pytest.approx(ages, abs=1.5)
    assert made["agreement"].null_count == len(ages)
    assert steps == sorted(steps)
    assert steps[-1] == (len(ages), len(ages))
    assert metadata(target)["teacher"] == "t"
    assert [path.name for path in target.parent.iterdir()] == ["soft.parquet"]


def test_an_ensemble_says_how_far_it_agrees(tmp_path: Path, faces_of: Write) -> None:
    source = faces_of(tmp_path / "faces.parquet", [10, 30, 70])
    target = tmp_path / "soft.parquet"
    annotate(source, Ensemble([bright, flattened]), target, identity="both")
    made = read_manifest(target)
    single = [AgeDistribution.concatenate([teacher(crops(source))]) for teacher in (bright, flattened)]
    assert distributions(made).probs == pytest.approx((single[0].probs + single[1].probs) / 2, abs=1e-6)
    apart = np.abs(single[0].mean - single[1].mean) / 2
    assert numbers(made, "agreement") == pytest.approx(apart)
    assert apart.max() > 5


def crops(manifest: Path) -> NDArray[np.uint8]:
    from agewise.faces.image import read_photo

    return np.stack([read_photo(row["bytes"]).pixels for row in read_manifest(manifest)["image"].to_pylist()])


@pytest.mark.usefixtures("small_parts")
def test_a_crop_that_cannot_be_read_is_left_out_with_its_reason(tmp_path: Path, faces_of: Write) -> None:
    good = read_manifest(faces_of(tmp_path / "all.parquet", range(25)))["image"].to_pylist()
    images = [BAD if row in (3, 20) else image for row, image in enumerate(good)]
    source = faces_of(tmp_path / "faces.parquet", range(25), image=images)
    count, left_out = annotate(source, bright, tmp_path / "soft.parquet", identity="t", batch=4)
    assert count == 23
    assert [row for row, _ in left_out] == ["row 3", "row 20"]
    assert all(reason.startswith("not an image file") for _, reason in left_out)
    kept = [float(age) for age in range(25) if age not in (3, 20)]
    assert read_manifest(tmp_path / "soft.parquet")["age"].to_pylist() == kept
    again = annotate(source, Killed(0), tmp_path / "soft.parquet", identity="t")
    assert again == (count, left_out)  # and the teacher was not asked


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("calls", [0, 2, 4, 6])
def test_a_resumed_annotation_is_the_whole_one(tmp_path: Path, faces_of: Write, calls: int) -> None:
    good = read_manifest(faces_of(tmp_path / "all.parquet", range(25)))["image"].to_pylist()
    source = faces_of(tmp_path / "faces.parquet", range(25), image=[BAD, *good[1:]])
    whole, target = tmp_path / "whole.parquet", tmp_path / "soft.parquet"
    expected = annotate(source, bright, whole, identity="t", batch=4)
    with pytest.raises(Dead):
        annotate(source, Killed(calls), target, identity="t", batch=4)
    assert not target.exists()
    if calls >= 3:  # a part was complete
        with pytest.raises(ManifestError, match="begun with another teacher; delete it"):
            annotate(source, bright, target, identity="other")
    assert annotate(source, bright, target, identity="t", batch=4) == expected
    assert pq.read_table(target).equals(pq.read_table(whole))


def test_a_finished_file_of_something_else_is_kept(tmp_path: Path, faces_of: Write) -> None:
    source = faces_of(tmp_path / "faces.parquet", [10, 20])
    target = tmp_path / "soft.parquet"
    annotate(source, bright, target, identity="t")
    before = target.read_bytes()
    for manifest, identity in ((source, "other"), (faces_of(tmp_path / "b.parquet", [30]), "t")):
        with pytest.raises(ManifestError, match="exists and is not this teacher's for this manifest; delete it"):
            annotate(manifest, bright, target, identity=identity)
    with pytest.raises(ManifestError, match=r"faces\.parquet exists and is not"):
        annotate(source, bright, source, identity="t")
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ({"image": pa.array([], pa.null())}, "no row to annotate"),
        ({"age": [20.0, 300.0]}, "row 1: age is 300; 0..122 years or null is allowed"),
        ({"age": [float("nan"), 3.0]}, "row 0: age is nan; 0..122"),
        ({"age_low": [30.0, 3.0], "age_high": [20.0, 9.0]}, "row 0: age_low 30 is above age_high 20"),
    ],
)
def test_what_cannot_be_annotated_leaves_nothing(
    tmp_path: Path, faces_of: Write, columns: dict[str, Any], wanted: str
) -> None:
    empty = "image" in columns
    source = faces_of(tmp_path / "in" / "faces.parquet", [] if empty else [1, 2], **({} if empty else columns))
    with pytest.raises(ManifestError, match=wanted):
        annotate(source, bright, tmp_path / "out" / "soft.parquet", identity="t")
    assert not (tmp_path / "out").exists()


def test_a_teacher_that_loses_a_face(tmp_path: Path, faces_of: Write) -> None:
    source = faces_of(tmp_path / "faces.parquet", [10, 20])
    with pytest.raises(ManifestError, match=r"rows 0\.\.1: the teacher fails: it gave 1 answers to 2 faces"):
        annotate(source, lambda crops: bright(crops[:1]), tmp_path / "soft.parquet", identity="t")
    assert [path.name for path in tmp_path.iterdir()] == ["faces.parquet"]
