"""AgeDB: labels of the file names."""

from __future__ import annotations

from pathlib import Path

from tests.data.sources.layouts import imported, written


def test_labels_of_the_names(tmp_path: Path) -> None:
    read = imported("agedb", written("agedb", tmp_path / "set"))
    row = read["set/0_MariaCallas_35_f.jpg"]
    assert (row["age"], row["age_kind"], row["subject"], row["sex"]) == (35, "real", "MariaCallas", "F")
    assert read["set/10003_Penélope_Cruz_24_m.jpg"]["subject"] == "Penélope_Cruz"
    assert read.reasons == {
        "odd_name.jpg": "the name is not number_name_age_gender.jpg",
        "9_MattDamon_200_m.jpg": "age is 200; 0..122 years or null is allowed",
    }
