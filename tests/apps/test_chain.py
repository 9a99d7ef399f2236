"""The verbs of the chain on a tiny set, one after the other; and one line for everything that cannot be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from agewise.data.manifest import metadata, read_manifest, write_manifest

Run = Callable[..., tuple[int, str, str]]

RECIPE = """
name = "student"
runs = "{folder}/runs"
[data]
train = "{folder}/soft.parquet"
valid = "{folder}/faces.parquet"
workers = 0
[model]
size = 32
[model.backbone]
name = "test_resnet"
[training]
epochs = 2
batch = 8
threads = 1
"""
CONTRACT = """
name = "grey"
file = "{folder}/grey.onnx"
[input]
name = "image"
size = 16
layout = "NHWC"
colours = "RGB"
mean = [40.0, 40.0, 40.0]
scale = [1.6, 1.6, 1.6]
[output]
name = "age"
kind = "years"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, faces_of: Callable[..., Path]) -> Path:
    """Faces of known ages, a teacher that knows how they were made, and a recipe to distil it."""
    folder = tmp_path_factory.mktemp("chain")
    faces_of(folder / "faces.parquet", range(2, 82, 5), sex=["F", "M"] * 8)
    nodes = [helper.make_node("ReduceMean", ["image"], ["flat"], axes=[1, 2, 3], keepdims=0)]
    nodes += [helper.make_node("Unsqueeze", ["flat", "one"], ["age"])]
    graph = helper.make_graph(
        nodes,
        "grey",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 16, 16, 3])],
        [helper.make_tensor_value_info("age", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(np.array([1], np.int64), "one")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "grey.onnx")
    (folder / "grey.toml").write_text(CONTRACT.format(folder=folder))
    (folder / "recipe.toml").write_text(RECIPE.format(folder=folder))
    return folder


def test_trainings_to_their_mean(run: Run, tiny_run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(tiny_run, tmp_path / "other")
    code, out, err = run("average", tiny_run, other, "--out", tmp_path / "mean")
    assert (code, err) == (0, "")
    assert out == f"{tmp_path / 'mean'}: the mean of 2 runs\n"
    code, out, err = run("average", tiny_run, "--out", tmp_path / "one")
    assert (code, out) == (2, "")
    assert "two or more different ones are needed" in err
    assert len(err.splitlines()) == 1


def test_photos_to_crops(run: Run, tmp_path: Path, astronaut: Path) -> None:
    (tmp_path / "photos").mkdir()
    shutil.copy(astronaut, tmp_path / "photos" / "a.jpg")
    (tmp_path / "photos" / "b.jpg").write_text("no picture")
    code, out, err = run("prepare", tmp_path / "photos", "--out", tmp_path / "m.parquet", "--size", 128)
    assert (code, err) == (0, "")
    assert "1 faces of 2 pictures, 1 rejected" in out
    assert "1 x not an image file" in out
    assert len(read_manifest(tmp_path / "m.parquet")) == 1
    assert 'b.jpg,"not an image file' in (tmp_path / "m.rejects.csv").read_text()


def test_the_whole_chain(run: Run, folder: Path) -> None:
    soft, runs, model = folder / "soft.parquet", folder / "runs" / "student", folder / "student.onnx"
    code, out, err = run("annotate", folder / "faces.parquet", "--teacher", folder / "grey.toml", "--out", soft)
    assert (code, err) == (0, "")
    assert "16 faces annotated by grey" in out
    again = run("annotate", folder / "faces.parquet", "--teacher", folder / "grey.toml", "--out", soft)
    assert again == (0, f"{out.partition(', ')[0]} before, 0 left out\n", "")
    code, out, err = run("train", folder / "recipe.toml", "training.epochs=3")
    assert (code, err) == (0, "")
    assert f"{runs}: trained" in out
    assert json.loads((runs / "recipe.json").read_text())["training"]["epochs"] == 3
    code, out, err = run("export", runs, "--out", model, "--licence", "CC0-1.0")
    assert (code, err) == (0, "")
    assert "MB; differs from torch by 0.0" in out
    ages = {}
    for name in (folder / "grey.toml", runs, model):
        report = folder / "reports" / name.stem
        code, out, err = run("evaluate", name, folder / "faces.parquet", "--out", report, "--groups", "sex")
        assert (code, err) == (0, "")
        assert "16 faces scored, 0 dropped" in out
        (line,) = [line for line in out.splitlines() if line.split()[0] == "MAE"]
        ages[name] = float(line.split()[1])
        assert line.split()[2].startswith("[")
        assert "16 faces" in line
        assert {"predictions.parquet", "report.json", "report.md", "report.html"} == {
            path.name for path in report.iterdir()
        }
    assert ages[folder / "grey.toml"] < 2
    assert ages[model] == pytest.approx(ages[runs], abs=0.06)


def test_finished_predictions_are_used_again(run: Run, folder: Path, tmp_path: Path) -> None:
    words = ("evaluate", folder / "grey.toml", folder / "faces.parquet", "--out", tmp_path)
    code, first, _ = run(*words)
    assert code == 0
    predictions = tmp_path / "predictions.parquet"
    before = predictions.stat().st_mtime_ns
    assert run(*words) == (0, first, "")
    assert predictions.stat().st_mtime_ns == before
    other = tmp_path / "other.toml"
    other.write_text((folder / "grey.toml").read_text().replace("[1.6, 1.6, 1.6]", "[3.2, 3.2, 3.2]"))
    said = metadata(predictions)
    code, second, _ = run("evaluate", other, *words[2:])
    assert code == 0
    assert second != first
    assert metadata(predictions)["name"] != said["name"]


def manifest(path: Path, **columns: Any) -> Path:

    picture = [{"bytes": b"", "path": None}] * 2
    table = {"image": picture, "age": [20.0, 30.0], **columns}
    known = pa.table({name: value for name, value in table.items() if value is not None})
    return write_manifest(known, path, {"frame": "aligned"})


BAD: dict[str, tuple[list[str], str]] = {
    "prepare: nothing there": (["prepare", "absent", "-o", "out.parquet"], "absent: no such file or folder"),
    "prepare: an empty folder": (["prepare", "empty", "-o", "out.parquet"], "empty: no picture there"),
    "prepare: no column": (["prepare", "no-image.parquet", "-o", "out.parquet"], "no column image; it has age"),
    "prepare: no frame": (["prepare", "empty", "-o", "out.parquet", "--frame", "round"], "no frame 'round'; there are"),
    "prepare: no size": (["prepare", "empty", "-o", "out.parquet", "--size", "9"], "9 pixels; 32..1024 is allowed"),
    "annotate: no manifest": (
        ["annotate", "absent", "--teacher", "grey.toml", "-o", "out"],
        "absent: no such manifest",
    ),
    "annotate: no parquet": (["annotate", "grey.toml", "--teacher", "grey.toml", "-o", "out"], "not a Parquet file"),
    "annotate: no teacher": (["annotate", "faces.parquet", "--teacher", "absent", "-o", "out"], "absent: No such file"),
    "annotate: no column": (
        ["annotate", "no-image.parquet", "--teacher", "grey.toml", "-o", "out"],
        "no-image.parquet: no column image; it has age",
    ),
    "annotate: no network": (
        ["annotate", "faces.parquet", "--teacher", "no-network.toml", "-o", "out"],
        "teacher grey: no file ",
    ),
    "annotate: another network": (
        ["annotate", "faces.parquet", "--teacher", "another.toml", "-o", "out"],
        "teacher grey: input (N, 24, 24, 3) in the contract, [16, 16, 3] in the network",
    ),
    "annotate: a NaN age": (
        ["annotate", "nan.parquet", "--teacher", "grey.toml", "-o", "out"],
        "nan.parquet: row 1: age is nan; 0..122 years or null is allowed",
    ),
    "annotate: an age of 300": (
        ["annotate", "old.parquet", "--teacher", "grey.toml", "-o", "out"],
        "old.parquet: row 0: age is 300; 0..122 years or null is allowed",
    ),
    "annotate: a column of another type": (
        ["annotate", "words.parquet", "--teacher", "grey.toml", "-o", "out"],
        "words.parquet: column age is string; double is needed",
    ),
    "recalibrate: no teacher's ages": (
        ["recalibrate", "faces.parquet", "-o", "out.parquet", "--response", "out.json"],
        "faces.parquet: no column age_probs",
    ),
    "train: no recipe": (["train", "absent"], "absent: No such file or directory"),
    "train: no TOML": (["train", "faces.parquet"], "faces.parquet: not a TOML file"),
    "train: no setting": (["train", "recipe.toml", "training.epoch=2"], "no setting training.epoch; there are start,"),
    "train: no backbone": (["train", "recipe.toml", "model.backbone.name=resnot"], "no backbone 'resnot'; there are"),
    "train: no head": (["train", "recipe.toml", "model.head=corall"], "model.head: no head 'corall'; there are cat"),
    "train: no loss": (["train", "recipe.toml", "loss.name=l3"], "loss: no loss 'l3'; there are distribution"),
    "train: no manifest": (["train", "recipe.toml", "data.train=absent"], "absent: no such manifest"),
    "train: a NaN age": (["train", "recipe.toml", "data.train=nan.parquet"], "row 1: age is nan; 0..122"),
    "train: no label": (["train", "recipe.toml", "data.train=none.parquet"], "row 0 has no age, age_low and age_high"),
    "train: no weights": (["train", "recipe.toml", "model.backbone.weights=absent"], "weights: no file absent"),
    "evaluate: no model": (["evaluate", "absent.onnx", "faces.parquet", "-o", "out"], "absent.onnx: no such model"),
    "evaluate: no teacher": (["evaluate", "absent.toml", "faces.parquet", "-o", "out"], "absent.toml: No such file"),
    "evaluate: no run": (["evaluate", "empty", "faces.parquet", "-o", "out"], "empty: not a run folder"),
    "evaluate: no manifest": (["evaluate", "grey.toml", "absent", "-o", "out"], "absent: no such manifest"),
    "evaluate: an age of 300": (["evaluate", "grey.toml", "old.parquet", "-o", "out"], "row 0: age is 300; 0..122"),
    "evaluate: no label": (["evaluate", "grey.toml", "none.parquet", "-o", "out"], "no row has a known age"),
    "export: no run": (["export", "empty", "-o", "out.onnx"], "empty: not a run folder (it has no recipe.json)"),
}


@pytest.fixture
def bad(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with files that cannot be used."""
    for name in ("faces.parquet", "grey.onnx", "grey.toml"):
        shutil.copy(folder / name, tmp_path / name)
    (tmp_path / "recipe.toml").write_text(RECIPE.format(folder=".").replace("soft", "faces"))
    text = (folder / "grey.toml").read_text()
    (tmp_path / "another.toml").write_text(text.replace("size = 16", "size = 24"))
    (tmp_path / "no-network.toml").write_text(text.replace("grey.onnx", "absent.onnx"))
    (tmp_path / "empty").mkdir()
    manifest(tmp_path / "no-image.parquet", image=None)
    manifest(tmp_path / "nan.parquet", age=[20.0, float("nan")])
    manifest(tmp_path / "old.parquet", age=[300.0, 20.0])
    manifest(tmp_path / "words.parquet", age=["old", "young"])
    manifest(tmp_path / "none.parquet", age=pa.array([None, None], pa.float64()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_is_one_line_and_leaves_nothing(run: Run, bad: Path, what: str) -> None:
    words, wanted = BAD[what]
    before = {path: path.stat().st_mtime_ns for path in bad.rglob("*")}
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("agewise: ")
    assert err.count("\n") == 1
    assert wanted in err
    assert {path: path.stat().st_mtime_ns for path in bad.rglob("*")} == before


def test_an_error_in_a_process_of_its_own(bad: Path) -> None:
    """What libraries print at import and at exit is not there either."""
    words = [sys.executable, "-m", "agewise.apps.cli", "train", "recipe.toml", "training.rate=fast"]
    done = subprocess.run(words, cwd=bad, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "agewise: recipe.toml: training.rate: Input should be a valid number, "
        "unable to parse string as a number (given: 'fast')\n"
    )
