"""Export: the file answers as the run does, says what it is, and is not there where it would not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from agewise.ages import AGES
from agewise.data.manifest import IMAGE, ManifestError, fingerprint, metadata, read_manifest, write_manifest
from agewise.data.settings import SettingsError
from agewise.deployment.export import ExportError, calibrate, export
from agewise.deployment.runtime import ModelError, OnnxModel
from agewise.faces.align import Window
from agewise.faces.image import read_photo
from agewise.model.age_model import TorchPredictor
from agewise.training.run_folder import load_run

Write = Callable[..., Path]


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


def test_with_the_mirror_image(tiny_run: Path, exported: dict[bool, Path], tmp_path: Path) -> None:
    both = OnnxModel(export(tiny_run, tmp_path / "both.onnx", name="both", half=False, mirror=True).path)
    assert both.name == "both"
    one, faces = OnnxModel(exported[False]), crops(9)
    mirrored = faces[:, :, ::-1].copy()
    assert both(faces).probs == pytest.approx((one(faces).probs + one(mirrored).probs) / 2, abs=1e-5)
    assert both(faces).probs == pytest.approx(both(mirrored).probs, abs=1e-5)
    assert np.abs(both(faces).mean - one(faces).mean).max() > 0.01  # to the plain file the images are not the same
    assert (both.info["mirror"], one.info["mirror"]) == (True, False)


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

    def spoilt(graph: Any) -> Any:
        bias = next(item for item in graph.graph.initializer if list(item.dims) == [len(AGES)])
        values = onnx.numpy_helper.to_array(bias).copy()
        values[90] += 8.0
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        return graph

    with monkeypatch.context() as patch:
        patch.setattr("agewise.deployment.export.halved", spoilt)
        with pytest.raises(ExportError, match=r"a\.onnx: ages differ from torch's by \d+\.\d+ years; 0\.1 is"):
            export(tiny_run, target)
    assert list(tmp_path.iterdir()) == []
    target.write_bytes(b"the earlier one")
    with monkeypatch.context() as patch:
        patch.setattr("agewise.deployment.export.halved", spoilt)
        with pytest.raises(ExportError):
            export(tiny_run, target)
    assert target.read_bytes() == b"the earlier one"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_manifest_that_calibrates_is_not_replaced(tiny_run: Path, labelled: Path) -> None:
    before = labelled.read_bytes()
    with pytest.raises(ExportError, match=r"faces\.parquet is read; give the model another name"):
        export(tiny_run, labelled, calibrate_on=labelled)
    assert labelled.read_bytes() == before


def test_a_folder_without_a_finished_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not a run folder"):
        export(tmp_path, tmp_path / "new" / "a.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def labelled(faces_of: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """130 faces of known age, one that cannot be read and one without a label."""
    ages = np.random.default_rng(0).integers(0, 90, 132).astype(float).tolist()
    path = faces_of(tmp_path_factory.mktemp("labelled") / "faces.parquet", ages)
    table, said = read_manifest(path), metadata(path)
    images, known = table["image"].to_pylist(), table["age"].to_pylist()
    images[7], known[9] = {"bytes": b"no picture", "path": None}, None
    table = pa.table({"image": pa.array(images, IMAGE), "age": pa.array(known, pa.float64())})
    return write_manifest(table, path, said)


def test_a_calibrated_model_has_the_same_graph_and_honest_intervals(
    tiny_model: Write, labelled: Path, tmp_path: Path
) -> None:
    source, target = tiny_model(), tmp_path / "new" / "calibrated.onnx"
    made = calibrate(source, labelled, target, levels=(0.8, 0.9))
    assert [path.name for path in target.parent.iterdir()] == ["calibrated.onnx"]
    before, after = onnx.load(source), onnx.load(target)
    assert before.graph.SerializeToString() == after.graph.SerializeToString()
    model, raw = OnnxModel(target), OnnxModel(source)
    assert model.calibration == made
    assert (model.info["format"], raw.info["format"]) == (2, 1)
    origin = model.info["calibration"]["fitted_on"]
    assert (origin["manifest"], origin["faces"], origin["labels"]) == ("faces.parquet", 130, "ages")
    assert origin["sha256"] == fingerprint(labelled)
    table = read_manifest(labelled)
    faces = [row for row in range(132) if row not in (7, 9)]
    pixels = np.stack([read_photo(table["image"][row].as_py()["bytes"]).pixels for row in faces])
    true = table["age"].to_numpy()[faces].astype(float)
    inside = [
        np.mean((low <= true) & (true <= high)) for low, high in (m(pixels).interval(0.8).T for m in (model, raw))
    ]
    assert 0.78 <= inside[0] <= 0.9
    np.testing.assert_allclose(model(pixels).probs, made(raw(pixels)).probs, atol=1e-12)


def test_a_second_calibration_replaces_the_first(tiny_model: Write, labelled: Path, tmp_path: Path) -> None:
    once = calibrate(tiny_model(), labelled, tmp_path / "a.onnx")
    assert calibrate(tmp_path / "a.onnx", labelled, tmp_path / "b.onnx") == once
    moved = calibrate(tmp_path / "a.onnx", labelled, tmp_path / "b.onnx", style="expected")
    assert OnnxModel(tmp_path / "b.onnx").calibration == moved
    assert moved.warp is not None


def test_what_cannot_calibrate_is_refused_before_anything_is_run(
    tiny_model: Write, labelled: Path, faces_of: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxModel, "__call__", None)
    source = tmp_path / "own.onnx"
    source.write_bytes(tiny_model().read_bytes())
    few = faces_of(tmp_path / "few.parquet", range(20))
    with pytest.raises(ManifestError, match=r"few.parquet: 20 faces of known age or group"):
        calibrate(source, few, tmp_path / "a.onnx")
    with pytest.raises(ManifestError, match=r"crops are in the aligned frame; the square one is needed"):
        calibrate(tiny_model(frame="square"), labelled, tmp_path / "a.onnx")
    with pytest.raises(ValueError, match=r"the levels of the intervals are 0; shares"):
        calibrate(source, labelled, tmp_path / "a.onnx", levels=(0.0,))
    with pytest.raises(ValueError, match=r"no style 'x' of recalibration"):
        calibrate(source, labelled, tmp_path / "a.onnx", style="x")  # type: ignore[arg-type]  # what is tested
    for target in (source, labelled):
        before = target.read_bytes()
        with pytest.raises(ModelError, match="is read; give the calibrated model another name"):
            calibrate(source, labelled, target)
        assert target.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.parquet", "own.onnx"]


def test_a_killed_calibration_goes_on(
    tiny_model: Write, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tiny_model(), tmp_path / "a.onnx"
    with monkeypatch.context() as patch:
        patch.setattr("agewise.deployment.export.fit_calibration", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            calibrate(source, labelled, target)
    assert not target.exists()
    with monkeypatch.context() as patch:
        patch.setattr(OnnxModel, "__call__", None)  # its predictions are all there
        calibrate(source, labelled, target)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_a_file_of_others_in_the_way_of_the_predictions_is_kept(
    tiny_model: Write, labelled: Path, tmp_path: Path
) -> None:
    foreign = write_manifest(pa.table({"age": [1.0]}), tmp_path / ".a.onnx.predictions.parquet")
    with pytest.raises(ModelError, match="in the way, and no predictions of ours"):
        calibrate(tiny_model(), labelled, tmp_path / "a.onnx")
    assert read_manifest(foreign)["age"].to_pylist() == [1.0]


def test_an_export_may_be_calibrated_at_once(tiny_run: Path, labelled: Path, faces_of: Write, tmp_path: Path) -> None:
    made = export(tiny_run, tmp_path / "a.onnx", calibrate_on=labelled)
    model = OnnxModel(made.path)
    assert made.size == made.path.stat().st_size
    assert model.calibration is not None
    assert model.calibration.spread.levels == (0.9,)
    assert model.calibration == calibrate(made.path, labelled, tmp_path / "b.onnx")
    few = faces_of(tmp_path / "few.parquet", range(20))
    with pytest.raises(ManifestError, match="20 faces of known age or group"):
        export(tiny_run, tmp_path / "c.onnx", calibrate_on=few)
    assert not (tmp_path / "c.onnx").exists()
