"""The verb `import` as the command line calls it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agewise.apps.sources import import_
from agewise.data.manifest import read_manifest
from tests.data.sources.layouts import written


def test_it_says_how_many_and_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = written("appa_real", tmp_path / "set")
    (root / "test/000002.jpg_face.jpg").unlink()
    import_("appa_real", root, tmp_path / "m.parquet", ["labels=real"])
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/m.parquet: 2 photos of appa_real, 1 left out",
        "  1 x the image file is missing",
    ]
    assert read_manifest(tmp_path / "m.parquet")["age_kind"].to_pylist() == ["real", "real"]


def test_remarks_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import_("megaage", written("megaage", tmp_path / "set"), tmp_path / "m.parquet", embed=True)
    assert "  note: no list/test_dis.txt: age_std of test is not known" in capsys.readouterr().out


def test_an_option_without_a_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'labels' is no option; write name=value"):
        import_("appa_real", tmp_path, tmp_path / "m.parquet", ["labels"])
