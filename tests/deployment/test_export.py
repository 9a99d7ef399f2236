"""Export: the file answers as the run does, says what it is, and is not there where it would not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from agewise.ages import AGES
from agewise.data.settings import SettingsError
from agewise.deployment.export import ExportError, export
from agewise.deployment.runtime import OnnxModel
from agewise.faces.align import Window
from agewise.model.age_model import TorchPredictor
from agewise.training.run_folder import load_run


def crops(count: int, side: int = 64) -> NDArray[np.uint8]:
    shades = np.linspace(0, 255, count)[:, None, None, None] * [1.0, 0.8, 0.6]
    noise = np.random.default_rng(0).normal(0, 40, (count, side, side, 3))
    return (shades + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def exported(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The run as a file, in half and in full precision."""
    folder = tmp_path_factory.mktemp("exported")
    for half in (True, False):
        made = export(tiny_run, folder / "new" / f"{half}.onnx", licence="CC0-1.0", half=half)
        assert made.path.stat().st_size == made.size
        assert 0 <= made.years <= 0.05
        assert 0 <= made.probability < 0.01
    return {half: folder / "new" / f"{half}.onnx" for half in (True, False)}


@pytest.mark.parametrize("half", [True, False])
def test_the_file_answers_as_the_run(tiny_run: Path, exported: dict[bool, Path], half: bool) -> None:
    faces = crops(9)
    expected = TorchPredictor(load_run(tiny_run))(faces)
    model = OnnxModel(exported[half])
    assert np.abs(model(faces).mean - expected.mean).max() < (0.05 if half else 0.001)
    one_by_one = np.concatenate([model(faces[row : row + 1]).probs for row in range(len(faces))])
    assert one_by_one == pytest.approx(model(faces).probs, abs=1e-5)
    assert np.ptp(expected.mean) > 0.5  # the faces are not all one to it


def test_the_file_says_what_it_is(tiny_run: Path, exported: dict[bool, Path]) -> None:
    model = OnnxModel(exported[True])
    assert (model.name, model.licence, model.frame, model.size) == ("tiny", "CC0-1.0", "aligned", 32)
    assert model.window == Window(0.5, 0.5, 0.9)
    assert model.info["recipe"] == json.loads((tiny_run / "recipe.json").read_text())
    assert model.info["run"]["manifests"] == json.loads((tiny_run / "run.json").read_text())["manifests"]


def test_half_precision_halves_the_file_and_no_path_of_this_machine_is_in_it(exported: dict[bool, Path]) -> None:
    half, full = (exported[kind].stat().st_size for kind in (True, False))
    assert half < 0.6 * full
    assert b"site-packages" not in exported[True].read_bytes()


def test_a_file_that_answers_otherwise_is_not_left(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.onnx"

    def spoilt(graph: Any) -> None:
        bias = next(item for item in graph.graph.initializer if list(item.dims) == [len(AGES)])
        values = onnx.numpy_helper.to_array(bias).copy()
        values[90] += 8.0
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))

    with monkeypatch.context() as patch:
        patch.setattr("agewise.deployment.export._halve", spoilt)
        with pytest.raises(ExportError, match=r"a\.onnx: ages differ from the run's by \d+\.\d+ years; 0\.1 is"):
            export(tiny_run, target)
    assert list(tmp_path.iterdir()) == []
    target.write_bytes(b"the earlier one")
    with monkeypatch.context() as patch:
        patch.setattr("agewise.deployment.export._halve", spoilt)
        with pytest.raises(ExportError):
            export(tiny_run, target)
    assert target.read_bytes() == b"the earlier one"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_without_a_finished_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not a run folder"):
        export(tmp_path, tmp_path / "new" / "a.onnx")
    assert list(tmp_path.iterdir()) == []
