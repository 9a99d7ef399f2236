"""`agewise calibrate` as a user types it: a table, a file that is used at once, and one line for what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from agewise.apps import cli
from agewise.deployment.runtime import OnnxModel

Write = Callable[..., Path]


def agewise(*arguments: Path | str) -> Result:
    return CliRunner().invoke(cli.application(), [*map(str, arguments)])


@pytest.fixture(scope="module")
def faces(faces_of: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    ages = np.random.default_rng(0).integers(0, 90, 120).astype(float).tolist()
    return faces_of(tmp_path_factory.mktemp("faces") / "faces.parquet", ages)


def test_a_model_is_calibrated_and_says_on_what(tiny_model: Write, faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "calibrated.onnx"
    options = ["--levels", "0.5, 0.9", "--recalibrate", "expected", "--threads", "1"]
    done = agewise("calibrate", tiny_model(), faces, "--out", out, *options)
    assert done.exit_code == 0, done.exception
    first, *rest = done.stdout.splitlines()
    assert first.startswith(f"{out}: ")
    assert first.endswith("calibrated on 120 faces of faces.parquet (known ages)")
    assert rest[0].startswith("  temperature ")
    assert rest[1].startswith("  ages moved: 0 -> ")
    assert rest[2].split() == ["predicted", "faces", "width", "x", "50%", "90%"]
    assert rest[3].split()[:2] == ["0-100", "120"]
    calibration = OnnxModel(out).calibration
    assert calibration is not None
    assert calibration.spread.levels == (0.5, 0.9)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--levels", "90"], "the levels of the intervals are 90; shares between 0 and 1 are allowed"),
        (["--levels", "high"], "the levels are 'high'; shares between 0 and 1 are needed"),
        (["--levels", ","], "the levels of the intervals are none"),
        (["--levels", "0.999"], "faces.parquet: 120 faces of known age or group do not fix a calibration"),
        (["--recalibrate", "best"], "no style 'best' of recalibration; there are expected, response, mixed"),
    ],
)
def test_what_cannot_be_is_one_line(
    tiny_model: Write, faces: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    done = agewise("calibrate", tiny_model(), faces, "--out", tmp_path / "a.onnx", *options)
    assert isinstance(done.exception, ValueError)
    assert reason in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_model_or_manifest(tiny_model: Write, faces: Path, tmp_path: Path) -> None:
    assert "absent.onnx: no such model" in str(agewise("calibrate", "absent.onnx", faces, "-o", "a").exception)
    absent = tmp_path / "absent.parquet"
    assert "no such manifest" in str(agewise("calibrate", tiny_model(), absent, "-o", tmp_path / "a").exception)
