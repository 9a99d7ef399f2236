"""IMDB-Clean: three lists, photos or crops, people by IMDb's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from agewise.data.sources.tree import SourceError
from tests.data.sources.layouts import imported, text, written

HEADER = "filename,age,gender,x_min,y_min,x_max,y_max,head_roll,head_yaw,head_pitch"


@pytest.mark.parametrize(
    ("pictures", "folder", "box"), [("photos", "imdb", [1.5, 2, 30, 40]), ("crops", "imdb-clean-1024", [5, 6, 7, 8])]
)
def test_each_list_is_its_split(pictures: str, folder: str, box: list[float], tmp_path: Path) -> None:
    read = imported("imdb_clean", written("imdb_clean", tmp_path / "set"), pictures=pictures)
    assert read.column("split") == ["train", "valid", "test"]
    row = read[f"set/data/{folder}/01/nm0000001_rm1_1950-1-2_1990.jpg"]
    assert (row["age"], row["age_kind"], row["subject"], row["sex"]) == (41.0, "real", "nm0000001", "F")
    assert (row["source_box"], row["yaw"]) == (box, 10.5)


def test_names_without_a_person_and_boxes_without_numbers_are_left_out(tmp_path: Path) -> None:
    root = written("imdb_clean", tmp_path / "set")
    name = "00/nm0000000_rm0_1950-1-2_1990.jpg"
    rows = ["00/stray.jpg,40,M,1,2,3,4,0,0,0", f"{name},40,M,left,2,3,4,0,0,0"]
    text(root, "csvs/imdb_train_new.csv", HEADER, *rows)
    reasons = imported("imdb_clean", root).reasons
    assert reasons["00/stray.jpg"] == "the name has no nm[number] of a person"
    assert "source_box is" in reasons[f"data/imdb/{name}"]


def test_a_list_without_a_column_is_refused(tmp_path: Path) -> None:
    text(tmp_path / "set", "imdb_train_new.csv", "filename,years")
    with pytest.raises(SourceError, match="has no column age, gender, x_min"):
        imported("imdb_clean", tmp_path / "set")
