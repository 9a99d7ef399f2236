"""MORPH II: one list with people, dates and paths."""

from __future__ import annotations

from pathlib import Path

from tests.data.sources.layouts import imported, written


def test_rows_of_the_list(tmp_path: Path) -> None:
    read = imported("morph2", written("morph2", tmp_path / "set"))
    row = read["set/Album2/009055_0M54.JPG"]  # written with a backslash
    assert (row["age"], row["age_kind"], row["subject"]) == (54, "real", "9055")
    assert (row["sex"], row["ethnicity"]) == ("M", "Black")
    assert read["set/Album2/009055_1M55.JPG"]["subject"] == "9055"
    unknown = read["set/Album1/000006_0F.JPG"]
    assert (unknown["age"], unknown["age_kind"]) == (None, None)
    assert read.reasons == {"Album1/000007_0F24.JPG": "age is 'abc'; a number is needed"}
