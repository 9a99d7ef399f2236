"""`agewise features` on the command line: a run, a folder of runs, and one line for what cannot be."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from agewise.apps.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line here, and gives back its exit code and what it printed, also below Python."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["agewise", "features", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out, err

    return call


def test_features_of_a_run_and_of_a_teacher(
    run: Run, tmp_path: Path, faces_of: Callable[..., Path], tiny_run: Path
) -> None:
    bad = {"bytes": b"no picture", "path": None}
    source, teacher = faces_of(tmp_path / "faces.parquet", range(6)), tmp_path / "teacher"
    images = [bad, *pq.read_table(source)["image"].to_pylist()[1:]]
    source = faces_of(tmp_path / "faces.parquet", range(6), image=images)
    one, both = tmp_path / "one.parquet", tmp_path / "both.parquet"
    code, out, err = run(tiny_run, source, "--out", one)
    assert (code, err) == (0, "")
    assert f"{one}: 6 faces, 1 of them without values" in out
    assert f"{tiny_run.name}: 96 features" in out
    assert "  row 0: not an image file" in out
    assert run(tiny_run, source, "--out", one) == (0, out, "")
    for name in ("general-00", "general-01", "children-0"):
        shutil.copytree(tiny_run, teacher / name)
    code, out, err = run(teacher, source, "--out", both, "--members", "general-*", "--half", "--batch", "4")
    assert (code, err) == (0, "")
    assert "general-01: 96 features" in out
    assert "children" not in out
    assert [name for name in pq.read_schema(both).names if name.startswith("probs")] == [
        "probs_general-00",
        "probs_general-01",
    ]


def test_what_cannot_be_is_one_line(run: Run, tmp_path: Path, faces_of: Callable[..., Path], tiny_run: Path) -> None:
    source = faces_of(tmp_path / "faces.parquet", range(3))
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(tiny_run / "recipe.json", unfinished)
    for model, manifest, wanted in (
        (tmp_path / "none", source, "neither a run folder nor a folder of runs"),
        (unfinished, source, "this run is not finished; agewise train resumes it"),
        (tiny_run, tmp_path / "m.parquet", "no such manifest"),
    ):
        code, out, err = run(model, manifest, "--out", tmp_path / "f.parquet")
        assert (code, out) == (2, "")
        assert wanted in err
        assert err.count("\n") == 1
    assert not (tmp_path / "f.parquet").exists()
