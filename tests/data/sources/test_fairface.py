"""FairFace: groups, also those that a spreadsheet took for dates."""

from __future__ import annotations

from pathlib import Path

import pytest

from agewise.data.sources.tree import SourceError
from tests.data.sources.layouts import imported, text, written


def test_groups_parts_and_people_groups(tmp_path: Path) -> None:
    read = imported("fairface", written("fairface", tmp_path / "set"))
    ages = {name: (row["age_low"], row["age_high"], row["split"]) for name, row in read.by_name.items()}
    assert ages == {
        "set/train/1.jpg": (50, 59, "train"),
        "set/train/2.jpg": (3, 9, "train"),
        "set/train/3.jpg": (10, 19, "train"),
        "set/val/1.jpg": (70, 100, "valid"),
        "set/val/2.jpg": (0, 2, "valid"),
    }
    row = read["set/val/1.jpg"]
    assert (row["sex"], row["ethnicity"], row["age"], row["age_kind"]) == ("M", "Middle Eastern", None, "group")
    assert row["service_test"] == "True"
    assert read["set/val/2.jpg"]["ethnicity"] is None


def test_what_is_left_out_and_why(tmp_path: Path) -> None:
    assert imported("fairface", written("fairface", tmp_path / "set")).reasons == {
        "train/4.jpg": "'adult' is no age group",
        "train/1.jpg": "the picture is listed twice",
        "../secret.jpg": "the path leads out of the root",
    }


def test_a_list_without_races_is_refused(tmp_path: Path) -> None:
    text(tmp_path / "set", "fairface_label_val.csv", "file,age,gender")
    with pytest.raises(SourceError, match=r"fairface_label_val.csv has no column race; its first line is: file, age"):
        imported("fairface", tmp_path / "set")
