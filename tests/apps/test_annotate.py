"""The command annotate: a file or a folder, what it says at the end, and one line for what cannot be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agewise.apps.cli import main
from agewise.data.manifest import metadata, read_manifest

Write = Callable[..., Path]
Said = tuple[int, str, str]

CONTRACT = """
name = "grey"
file = "{file}"
[input]
name = "x"
size = 16
layout = "NHWC"
colours = "RGB"
[output]
name = "years"
kind = "{kind}"
std = 4.0
"""


@pytest.fixture
def folder(tmp_path: Path, faces_of: Write) -> Path:
    """A manifest of 12 faces, and two teachers: a network of brightness, and a contract that does not fit it."""
    onnx = pytest.importorskip("onnx", reason="the network of these tests is built with onnx")
    make, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        make("ReduceMean", ["x"], ["mean"], axes=[1, 2, 3], keepdims=0),
        make("Div", ["mean", "scale"], ["flat"]),
        make("Reshape", ["flat", "shape"], ["years"]),
    ]
    numbers = [onnx.helper.make_tensor("scale", onnx.TensorProto.FLOAT, [], [2.55])]
    numbers += [onnx.helper.make_tensor("shape", onnx.TensorProto.INT64, [2], [-1, 1])]
    given = value("x", onnx.TensorProto.FLOAT, ["N", 16, 16, 3])
    graph = onnx.helper.make_graph(nodes, "g", [given], [value("years", onnx.TensorProto.FLOAT, ["N", 1])], numbers)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "grey.onnx")
    (tmp_path / "grey.toml").write_text(CONTRACT.format(file="grey.onnx", kind="years"))
    (tmp_path / "wrong.toml").write_text(CONTRACT.format(file="grey.onnx", kind="logits"))
    images = read_manifest(faces_of(tmp_path / "all.parquet", range(12)))["image"].to_pylist()
    images[5] = {"bytes": b"no picture", "path": None}
    faces_of(tmp_path / "faces.parquet", range(12), image=images)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    def call(*arguments: Any) -> Said:
        monkeypatch.setattr(sys, "argv", ["agewise", "annotate", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as error:
            code = int(error.code or 0)
        return code, *capsys.readouterr()

    return call


def test_a_folder_and_a_file_say_the_same_faces(run: Callable[..., Said], folder: Path) -> None:
    for out in ("out", "out.parquet"):
        code, said, err = run(folder / "faces.parquet", "--teacher", folder / "grey.toml", "--out", folder / out)
        assert (code, err) == (0, "")
        first, reason = said.splitlines()
        assert "11 faces annotated by grey" in first
        assert " faces/s, 1 left out" in first
        assert reason.startswith("  1 x not an image file")
    assert read_manifest(folder / "out")["age_probs"].equals(read_manifest(folder / "out.parquet")["age_probs"])
    assert metadata(folder / "out")["teacher"] == metadata(folder / "out.parquet")["teacher"]
    code, said, err = run(f"file://{folder}/faces.parquet", "--teacher", folder / "grey.toml", "--out", folder / "out")
    assert (code, err) == (0, "")
    assert " before, 1 left out" in said


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--out", "{folder}/out", "--workers", "2"], "--workers 2 is for --ray; on one machine, --threads says"),
        (["--out", "{folder}/out.parquet", "--ray", "local"], "one file is written by one machine"),
        (["--out", "s3://bucket/out.parquet"], "one file is written by one machine"),
        (["--out", "{folder}/out", "--votes", "sparse"], "only an ensemble has votes to keep"),
        (["--out", "{folder}/out", "--votes", "float8"], "no form of votes 'float8'"),
        (["--out", "{folder}/out", "--ray", "127.0.0.1:1"], "--ray 127.0.0.1:1: no cluster answers there"),
        (["--out", "{folder}/grey.onnx"], "a file; an annotation is a folder of parts"),
        (["--out", "{folder}"], "not an annotation; name an empty folder"),
        (["--out", "{folder}/out", "--teacher", "{folder}/wrong.toml"], "1 classes, from the age 0 to 0; 2 or more"),
    ],
)
def test_what_cannot_be_is_one_line(run: Callable[..., Said], folder: Path, options: list[str], wanted: str) -> None:
    filled = [option.format(folder=folder) for option in options]
    teacher = [] if "--teacher" in filled else ["--teacher", folder / "grey.toml"]
    code, said, err = run(folder / "faces.parquet", *teacher, *filled)
    assert (code, said) == (2, "")
    assert wanted in err
    assert err.count("\n") == 1
