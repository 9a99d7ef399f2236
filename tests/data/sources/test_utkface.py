"""UTKFace: labels of the file names, malformed ones counted."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from agewise.data.sources.tree import SourceError
from tests.data.sources.layouts import imported, text, written

WRONG = "the name is not [age]_[gender]_[race]_[date].jpg"


def test_labels_of_the_names(tmp_path: Path) -> None:
    read = imported("utkface", written("utkface", tmp_path / "set"))
    labels = {name: (row["age"], row["sex"], row["ethnicity"]) for name, row in read.by_name.items()}
    assert labels == {
        "set/UTKFace/26_0_2_20170104023102422.jpg.chip.jpg": (26, "M", "Asian"),
        "set/UTKFace/100_1_0_20170110183726390.jpg": (100, "F", "White"),
        "set/UTKFace/1_1_4_20161219.jpg": (1, "F", "Other"),
        "set/UTKFace/24_0_1_20170116220224657 .jpg": (24, "M", "Black"),
    }
    assert set(read.column("age_kind")) == {"estimated"}
    assert read.reasons == {
        "UTKFace/39_1_20170116174525125.jpg.chip.jpg": WRONG,
        "UTKFace/55_0_0_20170116232725357jpg": WRONG,
    }


def test_a_folder_without_pictures_says_what_was_looked_for(tmp_path: Path) -> None:
    text(tmp_path / "set", "readme.txt", "nothing here")
    with pytest.raises(SourceError, match="no picture named"):
        imported("utkface", tmp_path / "set")


def test_published_names_give_the_labels_of_the_development_set(shared: Path, tmp_path: Path) -> None:
    file = pq.ParquetFile(shared / "utkface-dev.parquet")
    known = file.read(columns=["age", "sex", "ethnicity", "image.path"]).to_pylist()
    labels = {row["image"]["path"]: (row["age"], row["sex"], row["ethnicity"]) for row in known}
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in labels:
            archive.writestr(f"UTKFace/{name}", b"")
    read = imported("utkface", tmp_path / "set.zip", tmp_path / "m.parquet")
    assert len(read.rows) + len(read.reasons) == len(labels)
    assert len(read.reasons) == 3  # names without a race
    for name, row in read.by_name.items():
        assert (row["sex"], row["ethnicity"]) == labels[name[8:]][1:]
    apart = [abs(row["age"] - labels[name[8:]][0]) for name, row in read.by_name.items()]
    assert sum(years > 0 for years in apart) == 23  # means over duplicates whose names disagree
    assert max(apart) <= 2
