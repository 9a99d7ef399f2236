"""A folder with a table: columns guessed or named, groups in the age column, the table found."""

from __future__ import annotations

from pathlib import Path

import pytest

from agewise.data.sources.tree import SourceError
from tests.data.sources.layouts import imported, pictures, text, written


def test_columns_are_guessed_and_said(tmp_path: Path) -> None:
    read = imported("folder", written("folder", tmp_path / "set"))
    row = read["set/a.jpg"]
    assert (row["age"], row["age_kind"], row["subject"], row["split"]) == (31.5, "real", "p1", "train")
    assert (row["sex"], row["ethnicity"]) == ("M", "x")
    group = read["set/b.jpg"]
    assert (group["age"], group["age_low"], group["age_high"], group["age_kind"]) == (None, 20, 29, "group")
    assert (read["set/d.jpg"]["age_low"], read["set/d.jpg"]["age_high"]) == (70, 100)
    assert (read["set/c.jpg"]["age"], read["set/c.jpg"]["age_kind"]) == (None, None)
    assert read.reasons == {"e.jpg": "age is 'oldish'; a number is needed", "absent.jpg": "the image file is missing"}
    assert read.remarks[0].startswith("columns read: image from File, age from Age")


def test_columns_and_the_table_can_be_named(tmp_path: Path) -> None:
    root = tmp_path / "set"
    text(root, "lists/people.csv", "a,b,c", "x.jpg,9,q", encoding="latin-1")
    text(root, "other.csv", "a")
    pictures(root, "lists/x.jpg")
    read = imported("folder", root, table="lists/people.csv", image="a", age="b", subject="c", kind="apparent")
    assert read["set/lists/x.jpg"]["age"] == 9
    assert read["set/lists/x.jpg"]["age_kind"] == "apparent"


@pytest.mark.parametrize(
    ("files", "options", "line"),
    [
        ({}, {}, "no .csv or .tsv there; say table="),
        ({"a.csv": "file,age", "b.csv": "file,age"}, {}, "a.csv, b.csv there; say table="),
        ({"a.csv": "file,age"}, {}, "a.csv has no row below its first line"),
        ({"a.csv": "what,age\nx.jpg,3"}, {}, "which column names the picture"),
        ({"a.csv": "file,age\nx.jpg,3"}, {"age": "years"}, "no column years; it has file, age"),
        ({"a.csv": "file,age\nx.jpg,3"}, {"kind": "guess"}, "kind is 'guess'; real, apparent, group, estimated"),
        ({"a.csv": "file,age\nx.jpg,3"}, {"ages": "age"}, "folder has no option 'ages'; it has table, kind, image"),
        ({"a.csv": "file,age\nx.jpg,3"}, {"table": "no.csv"}, "no file no.csv"),
    ],
)
def test_what_cannot_be_read_is_said(files: dict[str, str], options: dict[str, str], line: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for name, content in files.items():
        text(root, name, content)
    with pytest.raises(SourceError) as caught:
        imported("folder", root, tmp_path / "m.parquet", **options)
    assert line in str(caught.value)
