"""IMDB-WIKI: the rules of dates and faces, boxes counted from 1, and the split by identity."""

from __future__ import annotations

from pathlib import Path

import pytest

from agewise.data.sources.tree import SourceError
from tests.data.sources.layouts import datenum, faces_mat, imported, pictures, written

UNKNOWN = "the date of birth or the year of the photo is unknown"


def test_rows_have_age_name_sex_and_box(tmp_path: Path) -> None:
    read = imported("imdb_wiki", written("imdb_wiki", tmp_path / "set"))
    row = read["set/imdb/01/nm0000000_rm1_1960-3-5_2000.jpg"]
    assert (row["age"], row["age_kind"], row["subject"], row["sex"]) == (40.0, "real", "Person 0", "M")
    assert row["source_box"] == [10.0, 20.0, 60.0, 80.0]  # from 11..60 and 21..80, counted from 1, ends inside
    assert row["face_score"] == 3.5


def test_photos_are_taken_in_the_middle_of_the_year(tmp_path: Path) -> None:
    read = imported("imdb_wiki", written("imdb_wiki", tmp_path / "set"))
    assert read["set/imdb/03/nm2_rm1_1960-7-1_2000.jpg"]["age"] == 39.0
    assert read["set/wiki/10/100_1975-12-31_2009.jpg"]["age"] == 33.0
    assert read["set/wiki/10/100_1975-12-31_2009.jpg"]["sex"] is None


def test_days_are_counted_as_matlab_does(tmp_path: Path) -> None:
    assert datenum(2000, 1, 1) == 730486  # of MATLAB's documentation
    last_of_june = {"full_path": "01/a_1960-6-30_2000.jpg", "dob": datenum(1960, 6, 30)}
    faces_mat(tmp_path / "set", "imdb", [last_of_june])
    pictures(tmp_path / "set", "imdb/01/a_1960-6-30_2000.jpg")
    assert imported("imdb_wiki", tmp_path / "set").column("age") == [40.0]


def test_each_rule_gives_its_reason(tmp_path: Path) -> None:
    reasons = imported("imdb_wiki", written("imdb_wiki", tmp_path / "set")).reasons
    assert list(reasons.values()) == [
        "the date of birth has no month or day",
        "the owners' detector found no face",
        "the owners' detector found a second face",
        "the age is not 1..100",
        "the age is not 1..100",
        UNKNOWN,
        "nobody is named",
        UNKNOWN,
        "the image file is missing",
    ]


def test_pictures_with_a_second_face_can_be_kept(tmp_path: Path) -> None:
    read = imported("imdb_wiki", written("imdb_wiki", tmp_path / "set"), second="keep")
    assert "set/imdb/02/nm1_rm3_1960-3-5_2000.jpg" in read.by_name


def test_one_in_ten_identities_is_valid_one_test_and_a_name_in_both_parts_is_one(tmp_path: Path) -> None:
    read = imported("imdb_wiki", written("imdb_wiki", tmp_path / "set"))
    splits = {row["subject"].casefold(): row["split"] for row in read.rows}
    assert [splits[f"person {n}"] for n in range(12)] == [
        {0: "valid", 1: "test"}.get(n % 10, "train") for n in range(12)
    ]
    sides = {(row["subject"].casefold(), row["split"]) for row in read.rows}
    assert len(sides) == len(splits)


def test_boxes_of_the_uncropped_photo_are_not_those_of_the_crop(tmp_path: Path) -> None:
    root = tmp_path / "set"
    faces_mat(root, "imdb", [{"full_path": "01/a_1960-3-5_2000.jpg"}])
    (root / "imdb").rename(root / "imdb_crop")
    pictures(root, "imdb_crop/01/a_1960-3-5_2000.jpg")
    assert imported("imdb_wiki", root).column("source_box") == [None]


def test_a_missing_or_strange_metadata_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(SourceError, match=r"no imdb.mat or wiki.mat there"):
        imported("imdb_wiki", tmp_path / "set")
    (tmp_path / "set/imdb.mat").write_bytes(b"no struct at all" * 20)
    with pytest.raises(SourceError, match=r"imdb.mat is not a MATLAB file"):
        imported("imdb_wiki", tmp_path / "set")
    (tmp_path / "set/imdb.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    with pytest.raises(SourceError, match=r"imdb.mat is MATLAB 7.3 \(HDF5\)"):
        imported("imdb_wiki", tmp_path / "set")
