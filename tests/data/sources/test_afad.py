"""AFAD: labels of the folders."""

from __future__ import annotations

from pathlib import Path

from tests.data.sources.layouts import imported, written


def test_labels_of_the_folders(tmp_path: Path) -> None:
    read = imported("afad", written("afad", tmp_path / "set"))
    known = {name[14:]: (row["age"], row["sex"], row["subject"]) for name, row in read.by_name.items()}
    assert known == {
        "15/111/292943-0.jpg": (15, "M", "292943"),
        "15/111/292943-1.jpg": (15, "M", "292943"),
        "18/112/portrait.jpg": (18, "F", None),
        "75/112/671487-0.jpg": (75, "F", "671487"),
    }
    assert list(read.reasons) == ["AFAD-Full/cover.jpg"]


def test_one_age_folder_alone_is_read_too(tmp_path: Path) -> None:
    root = written("afad", tmp_path / "set") / "AFAD-Full"
    assert len(imported("afad", root, tmp_path / "m.parquet").rows) == 4
