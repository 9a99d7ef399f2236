"""LFW+: a list without a header, all of it a test set of apparent ages."""

from __future__ import annotations

from pathlib import Path

from tests.data.sources.layouts import imported, written


def test_rows_are_apparent_ages_for_testing(tmp_path: Path) -> None:
    read = imported("lfw_plus", written("lfw_plus", tmp_path / "set"))
    row = read["set/gender-access/lfw_cropped/Ana_Li_0001.jpg"]
    assert (row["age"], row["age_kind"], row["subject"]) == (31.333333, "apparent", "Ana_Li")
    assert (row["split"], row["gender_code"]) == ("test", "1")
    assert read["set/gender-access/lfw_cropped/child7.jpg"]["subject"] is None
    assert read.reasons == {
        "gender-access/lfw_cropped/Absent_0001.jpg": "the image file is missing",
        "0,41": "the line has not three cells",
    }


def test_the_inner_folder_can_be_named(tmp_path: Path) -> None:
    root = written("lfw_plus", tmp_path / "set") / "gender-access"
    assert len(imported("lfw_plus", root, tmp_path / "m.parquet").rows) == 2
