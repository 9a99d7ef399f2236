"""Rows by the value of a column: all of them, nothing else, and what is said of the manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agewise.data.manifest import ManifestError, metadata, read_manifest
from agewise.data.selecting import Selected, select
from agewise.data.settings import check
from agewise.training.config import Recipe
from agewise.training.loading import open_faces

Make = Callable[..., Any]
PARTS = ["train", "test", "valid", "train", None, "train"]


@pytest.fixture
def faces(tmp_path: Path, faces_of: Make) -> Path:
    return Path(faces_of(tmp_path / "faces.parquet", range(10, 70, 10), split=PARTS))


def test_the_rows_of_one_part(faces: Path, tmp_path: Path) -> None:
    assert select(faces, tmp_path / "t.parquet", "split", ["train"]) == Selected(6, 3)
    assert read_manifest(tmp_path / "t.parquet")["age"].to_pylist() == [10, 40, 60]
    assert metadata(tmp_path / "t.parquet")["frame"] == "aligned"
    assert read_manifest(tmp_path / "t.parquet").schema.equals(read_manifest(faces).schema)


def test_several_values(faces: Path, tmp_path: Path) -> None:
    assert select(faces, tmp_path / "t.parquet", "split", ["valid", "test"]).kept == 2


def test_rows_without_a_value(faces: Path, tmp_path: Path) -> None:
    assert select(faces, tmp_path / "t.parquet", "split", [None]) == Selected(6, 1)
    assert read_manifest(tmp_path / "t.parquet")["age"].to_pylist() == [50]
    assert select(faces, tmp_path / "u.parquet", "split", [None, "valid"]).kept == 2
    assert select(faces, tmp_path / "w.parquet", "age", ["50.0"]).kept == 1


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("age", [None], r"no row whose age is null; it has 10\.0 \(1\)"),
        ("split", ["dev"], r"no row whose split is dev; it has train \(3\), test \(1\), valid \(1\)"),
        ("part", ["train"], "no column part"),
    ],
)
def test_what_is_not_there(faces: Path, tmp_path: Path, column: str, values: list[str | None], said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        select(faces, tmp_path / "t.parquet", column, values)
    assert not (tmp_path / "t.parquet").exists()


def test_the_source_is_not_overwritten(faces: Path) -> None:
    with pytest.raises(ManifestError, match="is the source"):
        select(faces, faces, "split", ["train"])


def test_nobody_learns_from_what_is_set_aside(faces: Path, tmp_path: Path) -> None:
    values = {"name": "a", "data": {"train": str(faces)}, "model": {"backbone": {"name": "test_resnet"}, "size": 32}}
    with pytest.raises(ManifestError, match=r"holds the parts None, test, train, valid .* agewise select"):
        open_faces(check(values, Recipe, "r"))
    select(faces, tmp_path / "t.parquet", "split", ["train"])
    values["data"] = {"train": str(tmp_path / "t.parquet")}
    assert len(open_faces(check(values, Recipe, "r"))[0]) == 3
