"""LAP 2015: lists with and without headers, whose part the list or its folder names."""

from __future__ import annotations

from pathlib import Path

import pytest

from agewise.data.sources.tree import SourceError
from tests.data.sources.layouts import imported, text, written


def test_means_and_spreads_by_part(tmp_path: Path) -> None:
    read = imported("lap2015", written("lap2015", tmp_path / "set"))
    row = read["set/Train/image_1.jpg"]
    assert (row["age"], row["age_std"], row["age_kind"], row["split"]) == (31.5, 4.25, "apparent", "train")
    assert {name: row["split"] for name, row in read.by_name.items() if "Train" not in name} == {
        "set/Valid/image_3.jpg": "valid",
        "set/Test/image_4.jpg": "test",
    }
    assert read.reasons == {
        "image_9.jpg": "the image file is missing",
        "image_5.jpg": "a line of Test/Reference.csv has not image, mean and stdv",
    }
    assert "Reference.csv: of which part?" in read.remarks[0]


def test_of_two_pictures_of_one_name_that_of_the_part_is_taken(tmp_path: Path) -> None:
    root = written("lap2015", tmp_path / "set")
    (root / "Test/image_1.jpg").write_bytes(b"another")
    read = imported("lap2015", root)
    assert read["set/Train/image_1.jpg"]["age"] == 31.5


def test_no_list_is_refused_and_commas_are_read(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(SourceError, match=r"no Train.csv, Valid.csv, Test.csv or Reference.csv"):
        imported("lap2015", tmp_path / "set")
    text(tmp_path / "set", "Train.csv", "image_1.jpg,30,2")
    (tmp_path / "set/image_1.jpg").write_bytes(b"x")
    assert imported("lap2015", tmp_path / "set").column("age_std") == [2.0]
