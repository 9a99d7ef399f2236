"""The verb compare: folders of evaluate side by side; one line for what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agewise.deployment.runtime import OnnxModel
from agewise.evaluation.predictions import predict_manifest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory, faces_of: Callable[..., Path], tiny_model: Callable[..., Path]
) -> list[Path]:
    """What evaluate writes of two models."""
    place = tmp_path_factory.mktemp("reports")
    faces = faces_of(place / "faces.parquet", range(4, 76), sex=["F", "M"] * 36)
    models = {"one": tiny_model(), "two": tiny_model(scale=-0.02)}
    for name, model in models.items():
        predict_manifest(OnnxModel(model, 1), faces, place / name / "predictions.parquet", name=f"tiny {name}")
    return [place / name for name in models]


def test_reports_of_evaluate_are_compared(run: Run, folders: list[Path], tmp_path: Path) -> None:
    code, out, err = run("compare", *folders, "--out", tmp_path / "out", "--decision", "median", "--against", "tiny t")
    assert (code, err) == (0, "")
    assert out.startswith("Scored is the median of each distribution")
    assert "All faces of faces.parquet" in out
    assert "faces.parquet has no column ethnicity" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["compare.html", "compare.json", "compare.md"]
    said = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert (said["models"], said["against"]) == (["tiny one", "tiny two"], "tiny two")
    assert [part["name"] for part in said["manifests"][0]["parts"]["sex"]] == ["F", "M"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--against", "best"], "--against 'best' is the name of 0 models"),
        (["--groups", "colour"], "no manifest has a group column colour; there are sex"),
        (["--decision", "avg"], "no decision rule 'avg'; there are mean, median, mode"),
        (["absent.parquet"], "absent.parquet: no predictions there"),
    ],
)
def test_bad_input_is_one_line(run: Run, folders: list[Path], tmp_path: Path, words: list[str], message: str) -> None:
    code, out, err = run("compare", *folders, *words, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert err.startswith("agewise: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "out").exists()


def test_one_model_alone_is_one_line(run: Run, folders: list[Path], tmp_path: Path) -> None:
    code, out, err = run("compare", folders[0], "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "cannot be compared alone" in err
