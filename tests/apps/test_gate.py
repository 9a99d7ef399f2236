"""The verb gate: predictions once, then a report; one line for what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def faces(tmp_path: Path, faces_of: Callable[..., Path]) -> Path:
    return faces_of(tmp_path / "faces.parquet", range(4, 52, 2), sex=["F", "M"] * 12)


def test_a_report_of_a_model(run: Run, faces: Path, tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    code, out, err = run("gate", tiny_model(), faces, "--threshold", 21, "--buffer", 30, "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert out.startswith("24 faces scored, 0 dropped")
    assert "Challenge-30 FPR 17-20" in out
    assert "The manifest has no column ethnicity" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "gate.html",
        "gate.json",
        "gate.md",
        "predictions.parquet",
    ]
    said = json.loads((tmp_path / "out" / "gate.json").read_text())
    assert said["rule"] == {"threshold": 21, "buffer": 30, "alpha": 0.05, "budget": 0.2, "decision": "mean"}
    assert said["overall"]["rates"]["fpr"]["n"] == 9
    assert [one["name"] for one in said["groups"]["sex"]] == ["F", "M"]


def test_predictions_of_evaluate_are_used_again(
    run: Run, faces: Path, tmp_path: Path, tiny_model: Callable[..., Path]
) -> None:
    model, folder = tiny_model(), tmp_path / "out"
    assert run("evaluate", model, faces, "--out", folder, "--groups", "sex")[0] == 0
    before = (folder / "predictions.parquet").stat().st_mtime_ns
    assert run("gate", model, faces, "--out", folder)[0] == 0
    assert run("gate", model, faces, "--out", folder, "--buffer", 20)[0] == 0
    assert (folder / "predictions.parquet").stat().st_mtime_ns == before
    assert json.loads((folder / "gate.json").read_text())["rule"]["buffer"] == 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threshold", "0"], "the threshold is 0; 1..99 years is allowed"),
        (["--threshold", "100", "--buffer", "100"], "the threshold is 100"),
        (["--threshold", "21", "--buffer", "20"], "the buffer is 20; it is the age that an estimate has to reach"),
        (["--alpha", "0.7"], "alpha is 0.7; above 0 and up to 0.5 is allowed"),
        (["--budget", "1"], "the budget is 1; a share from 0 to below 1"),
        (["--decision", "best"], "no decision rule 'best'; there are mean, median, mode"),
    ],
)
def test_a_bad_rule_is_one_line_before_any_work(run: Run, faces: Path, words: list[str], message: str) -> None:
    before = sorted(faces.parent.iterdir())
    code, out, err = run("gate", "absent.onnx", faces, "--out", faces.parent / "out", *words)
    assert (code, out) == (2, "")
    assert err.startswith("agewise: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(faces.parent.iterdir()) == before


@pytest.mark.parametrize("verb", ["gate", "robustness"])
def test_a_group_that_is_not_there_is_one_line_before_any_work(
    run: Run, faces: Path, tmp_path: Path, tiny_model: Callable[..., Path], verb: str
) -> None:
    code, out, err = run(verb, tiny_model(), faces, "--out", tmp_path / "out", "--groups", "sex,hat")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no column hat" in err
    assert not (tmp_path / "out").exists()


def test_a_manifest_without_a_label_is_one_line(
    run: Run, tmp_path: Path, faces_of: Callable[..., Path], tiny_model: Callable[..., Path]
) -> None:
    unlabelled = faces_of(tmp_path / "none.parquet", [20, 30], age=pa.array([None, None], pa.float64()))
    code, out, err = run("gate", tiny_model(), unlabelled, "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no row has a known age" in err


def test_a_model_that_gives_nan_is_one_line(
    run: Run, faces: Path, tmp_path: Path, tiny_model: Callable[..., Path]
) -> None:
    code, out, err = run("gate", tiny_model(scale=float("nan")), faces, "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "rows 0..23: the predictor fails: " in err
    assert "finite" in err


def test_without_minors_it_says_what_it_cannot(
    run: Run, tmp_path: Path, faces_of: Callable[..., Path], tiny_model: Callable[..., Path]
) -> None:
    adults = faces_of(tmp_path / "adults.parquet", [30, 40, 50])
    code, out, err = run("gate", tiny_model(), adults, "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert "No face is known to be below 18: no false positives can be counted" in out
    assert "Challenge-25 TPR 18+" in out
