"""All-Age-Faces: labels of the names, parts of the image sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from agewise.data.sources.tree import SourceError
from tests.data.sources.layouts import imported, written


@pytest.mark.parametrize(("pictures", "folder"), [("original", "original images"), ("aligned", "aligned faces")])
def test_labels_and_parts(pictures: str, folder: str, tmp_path: Path) -> None:
    read = imported("all_age_faces", written("all_age_faces", tmp_path / "set"), pictures=pictures)
    known = {name: (row["subject"], row["age"], row["sex"], row["split"]) for name, row in read.by_name.items()}
    assert known == {
        f"set/{folder}/00000A02.jpg": ("00000", 2, "F", "train"),
        f"set/{folder}/07380A45.jpg": ("07380", 45, "F", "valid"),
        f"set/{folder}/07381A80.jpg": ("07381", 80, "M", "train"),
        f"set/{folder}/13321A100.jpg": ("13321", 100, "M", None),
    }
    assert list(read.reasons.values()) == ["the name is not [person]A[age].jpg"]


def test_the_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(SourceError, match="no folder 'original images' with pictures"):
        imported("all_age_faces", tmp_path / "set")
