"""Outside networks by contract: pixels arrive as it says, outputs become ages, and what does not fit is one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from agewise.ages import AGES, AgeDistribution
from agewise.data.settings import SettingsError
from agewise.model.age_model import TorchPredictor
from agewise.teachers.contract import TeacherError, read_contract
from agewise.teachers.ensemble import Ensemble
from agewise.teachers.readout import Bank
from agewise.teachers.wrap import OnnxTeacher, open_run, open_teacher
from agewise.training.run_folder import load_run

ROOT = Path(__file__).parents[2]
SIDE = 16
Write = Callable[..., Path]


@pytest.fixture
def network(tmp_path: Path) -> Write:
    """Writes an ONNX network: the mean of each channel, times a matrix (3, C), and an activation."""

    def write(
        matrix: NDArray[Any],
        layout: str = "NCHW",
        activation: str | None = None,
        kind: int = TensorProto.FLOAT,
        shape: tuple[Any, ...] | None = None,
        columns: Any = None,
    ) -> Path:
        axes, size = ([2, 3], ["N", 3, SIDE, SIDE]) if layout == "NCHW" else ([1, 2], ["N", SIDE, SIDE, 3])
        nodes = [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["float"], ["means"], axes=axes, keepdims=0),
            helper.make_node("MatMul", ["means", "matrix"], ["raw"]),
            helper.make_node(activation or "Identity", ["raw"], ["out"]),
        ]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("image", kind, list(shape or size))],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", columns or matrix.shape[1]])],
            [numpy_helper.from_array(matrix.astype(np.float32), "matrix")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path = tmp_path / "net.onnx"
        onnx.save(model, path)
        return path

    return write


@pytest.fixture
def contract(tmp_path: Path) -> Write:
    """Writes a contract of net.onnx; keywords replace its tables' values."""

    def write(name: str = "net.toml", **changes: dict[str, Any]) -> Path:
        tables: dict[str, dict[str, Any]] = {
            "input": {"name": "image", "size": SIDE, "layout": "NCHW", "colours": "RGB"},
            "crop": {"side": 0.5},
            "output": {"name": "out", "kind": "years", "std": 4.0},
        }
        lines = ['name = "net"', f"file = {json.dumps(changes.pop('file', 'net.onnx'))}"]
        for table, values in tables.items():
            lines += [f"[{table}]"]
            lines += [f"{key} = {json.dumps(value)}" for key, value in {**values, **changes.get(table, {})}.items()]
        path = tmp_path / name
        path.write_text("\n".join(lines))
        return path

    return write


def crops(*colours: tuple[int, int, int], edge: int = 0) -> NDArray[np.uint8]:
    """Plain colours in the middle half of the frame, which is what the contract's window shows."""
    made = np.full((len(colours), 64, 64, 3), edge, np.uint8)
    for crop, colour in zip(made, colours, strict=True):
        crop[12:52, 12:52] = colour
    return made


def only(row: int, columns: int = 1) -> NDArray[np.float64]:
    """A matrix that lets one channel through."""
    matrix = np.zeros((3, columns))
    matrix[row] = 1
    return matrix


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("colours", "first", "last"), [("RGB", 60.0, 20.0), ("BGR", 20.0, 60.0)])
def test_years_by_channel(
    network: Write, contract: Write, layout: str, colours: str, first: float, last: float
) -> None:
    path = contract(input={"layout": layout, "colours": colours})
    for row, age in ((0, first), (1, 40.0), (2, last)):
        network(only(row), layout)
        found = open_teacher(path)(crops((60, 40, 20), (60, 40, 20)))
        assert found.mean == pytest.approx([age, age], abs=1e-3)
        assert found.std == pytest.approx([4.0, 4.0], abs=0.02)


def test_mean_and_scale_are_by_channel_as_the_network_gets_them(network: Write, contract: Write) -> None:
    path = contract(input={"colours": "BGR", "mean": [10.0, 0.0, 0.0], "scale": [0.5, 1.0, 1.0]})
    network(only(0))
    assert open_teacher(path)(crops((200, 100, 30))).mean == pytest.approx([(30 - 10) / 0.5], abs=1e-3)


def test_years_beyond_the_axis_count_as_its_ends(network: Write, contract: Write) -> None:
    network(np.array([[10.0], [0], [0]]))
    found = open_teacher(contract())(crops((60, 0, 0)))
    assert found.mode.tolist() == [100.0]


def test_classes_and_logits_start_at_their_first_age(network: Write, contract: Write) -> None:
    rng = np.random.default_rng(0)
    matrix = 0.02 * rng.normal(size=(3, 90))
    colour = np.array([200.0, 90.0, 10.0])
    logits = colour @ matrix
    expected = np.exp(logits) / np.exp(logits).sum()
    for kind, activation in (("classes", "Softmax"), ("logits", None)):
        network(matrix, activation=activation)
        found = open_teacher(contract(output={"kind": kind, "first": 5}))(crops((200, 90, 10)))
        assert found.probs[0, 5:95] == pytest.approx(expected, abs=1e-5)
        assert found.probs[0, :5].sum() + found.probs[0, 95:].sum() == 0


def fault(path: Path, faces: NDArray[np.uint8] | None = None) -> str:
    with pytest.raises((TeacherError, SettingsError)) as caught:
        open_teacher(path)(crops((1, 2, 3)) if faces is None else faces)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_cannot_be(tmp_path: Path, network: Write, contract: Write, capfd: Any) -> None:
    path = contract()
    assert fault(path) == f"teacher net: no file {tmp_path / 'net.onnx'}"
    (tmp_path / "net.onnx").write_text("weights")
    assert fault(path) == f"teacher net: {tmp_path / 'net.onnx'} is not an ONNX file, or a damaged one"
    (tmp_path / "net.onnx").write_bytes(b"")
    assert "net.onnx" in fault(path)
    whole = network(only(0)).read_bytes()
    (tmp_path / "net.onnx").write_bytes(whole[: len(whole) // 2])
    assert "net.onnx" in fault(path)
    assert fault(tmp_path / "absent.toml") == f"{tmp_path / 'absent.toml'}: No such file or directory"
    assert capfd.readouterr().err == ""  # ONNX Runtime would log what is raised here


@pytest.mark.parametrize(
    ("made", "changes", "wanted"),
    [
        ({}, {"input": {"name": "data"}}, "no input data; the network has image"),
        ({}, {"output": {"name": "age"}}, "no output age; the network has out"),
        ({}, {"input": {"size": 24}}, "input (N, 3, 24, 24) in the contract, [3, 16, 16] in the network"),
        ({"layout": "NHWC"}, {}, "input (N, 3, 16, 16) in the contract, [16, 16, 3] in the network"),
        ({"kind": TensorProto.UINT8}, {}, "the network's inputs are {'image': 'tensor(uint8)'}; one of tensor(float)"),
        ({"shape": (1, 3, SIDE, SIDE)}, {}, "the network takes 1 faces at a time; a free number is needed"),
        ({"matrix": only(0, 2)}, {}, "output out has 2 values a face; years is one"),
        ({"matrix": only(0, 2), "columns": "C"}, {}, "output out has 2 values a face; years is one"),
        ({"matrix": only(0, 102)}, {"output": {"kind": "classes"}}, "has 102 classes, from the age 0 to 101"),
        ({"matrix": only(0, 101)}, {"output": {"kind": "logits", "first": 1}}, "101 classes, from the age 1 to 101"),
        ({"matrix": only(0, 102), "columns": "C"}, {"output": {"kind": "logits"}}, "from the age 0 to 101"),
        ({}, {"output": {"kind": "classes"}}, "output out has 1 classes"),
        ({"matrix": only(0, 50)}, {"output": {"kind": "classes"}}, "output out is no probabilities; is it logits?"),
        ({"matrix": -only(0, 50) / 50}, {"output": {"kind": "classes"}}, "output out is no probabilities"),
        ({"matrix": np.nan * only(0)}, {}, "face 0 of a batch got a value that is no number"),
        ({}, {"input": {"scale": [1, 0, 1]}}, "input.scale: [1.0, 0.0, 1.0] holds a 0"),
        ({}, {"input": {"colours": "GBR"}}, "input.colours: Input should be 'RGB' or 'BGR' (given: 'GBR')"),
        ({}, {"output": {"clases": 3}}, "no setting output.clases; there are name, kind, std, first"),
        ({}, {"input": {"size": 8}}, "input.size: Input should be greater than or equal to 16 (given: 8)"),
    ],
)
def test_a_contract_that_does_not_match(
    network: Write, contract: Write, made: dict[str, Any], changes: dict[str, Any], wanted: str, capfd: Any
) -> None:
    network(**{"matrix": only(0), **made})
    assert wanted in fault(contract(**changes))
    assert capfd.readouterr().err == ""


def test_the_face_without_a_number_is_named(network: Write, contract: Write) -> None:
    network(only(0), activation="Log")
    assert "face 1 of a batch got a value that is no number" in fault(contract(), crops((9, 9, 9), (0, 9, 9)))


def test_a_network_that_fails_on_the_way(tmp_path: Path, contract: Write, capfd: Any) -> None:
    """A Reshape that only fits one face."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["means"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["means", "to"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([1, 1], np.int64), "to")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "net.onnx"
    )
    teacher = open_teacher(contract())
    assert teacher(crops((30, 30, 30))).mean == pytest.approx([30.0], abs=0.01)
    with pytest.raises(TeacherError, match=r"^teacher net: the network fails: [^\n]*$"):
        teacher(crops((1, 1, 1), (2, 2, 2)))
    assert capfd.readouterr().err == ""


def test_several_are_an_ensemble_and_may_be_recalibrated(tmp_path: Path, network: Write, contract: Write) -> None:
    network(only(0))
    contract("a.toml")
    contract("b.toml", input={"colours": "BGR"})
    both = tmp_path / "both.toml"
    both.write_text('name = "both"\nmembers = ["a.toml", "b.toml"]\nweights = [3.0, 1.0]\n')
    ensemble = open_teacher(both)
    assert isinstance(ensemble, Ensemble)
    assert ensemble(crops((60, 0, 20))).mean == pytest.approx([0.75 * 60 + 0.25 * 20], abs=1e-3)
    rows = {"mean": (AGES / 2).tolist(), "std": [2.0] * 101, "prior": [1 / 101] * 101}  # it sees half of each age
    (tmp_path / "r.json").write_text(json.dumps(rows))
    both.write_text('name = "both"\nmembers = ["a.toml"]\nrecalibration = "r.json"\n')
    assert open_teacher(both)(crops((25, 0, 0))).mean == pytest.approx([50.0], abs=0.1)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('name = "t"', "a teacher needs file, [input] and [output], or members"),
        ('name = "t"\nfile = "a"\nmembers = ["b"]', "a teacher has either members, or file, input and output"),
        ('name = "t"\nmembers = ["b"]\nweights = [1, 2]', "1 members need as many positive weights"),
        ('name = "t"\nmembers = ["b"]\nweights = [0]', "1 members need as many positive weights"),
        ('name = "t"\nmembers = ["absent.toml"]', "absent.toml: No such file or directory"),
        ('name = "t"\nmembers = ["absent"]', "absent: not a run folder (it has no recipe.json)"),
        ('name = "t"\nmembers = ["half"]', "half: this run is not finished; agewise train resumes it"),
        ('name = "t"\nmembers = ["net.toml"]\nchildren = ["half"]', "half: this run is not finished"),
        ('name = "t"\nmembers = ["net.toml"]\nchildren = ["t.toml"]', "t.toml: this ensemble is a member of itself"),
        ('name = "t"\nchildren = ["b"]', "a teacher needs file, [input] and [output], or members"),
        ('name = "t"\nmembers = ["b"]\nswitch = 130', "switch: Input should be less than or equal to 100 (given: 130)"),
        ('name = "t"\nmembers = ["b"]\nswitch = -1', "switch: Input should be greater than or equal to 0 (given: -1)"),
        ('name = "t"\nmembers = ["b"]\nswitch = nan', "switch: Input should be a finite number (given: nan)"),
        (
            'name = "t"\nmembers = ["b"]\nviews = ["flip"]',
            "views: no view 'flip'; there are original, mirror, rotate+5",
        ),
        ('name = "t"\nmembers = ["b"]\nviews = []', "views: views are (); a list of one or more of original"),
        ('name = "t"\nmembers = ["b"]\nviews = ["mirror", "mirror"]', "the view 'mirror' is named twice; once is"),
    ],
)
def test_a_teacher_is_one_network_or_several(
    tmp_path: Path, network: Write, contract: Write, text: str, wanted: str
) -> None:
    network(only(0))
    contract()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "recipe.json").write_text("{}")
    path = tmp_path / "t.toml"
    path.write_text(text)
    assert wanted in fault(path)


@pytest.mark.parametrize("line", ['children = ["b"]', "switch = 10", 'views = ["mirror"]', "weights = [1.0]"])
def test_a_network_of_its_own_has_nothing_of_an_ensemble(network: Write, contract: Write, line: str) -> None:
    network(only(0))
    path = contract()
    path.write_text(f"{line}\n{path.read_text()}")
    assert fault(path).endswith(f"{line.split()[0]} without members; only an ensemble has them")


def test_children_and_views_are_read_from_the_contract(tmp_path: Path, network: Write, contract: Write) -> None:
    network(only(0))
    contract("red.toml")
    contract("blue.toml", input={"colours": "BGR"})
    path = tmp_path / "t.toml"
    path.write_text(
        'name = "t"\nmembers = ["red.toml"]\nchildren = ["blue.toml"]\nswitch = 15.5\nviews = ["original", "scale-5"]\n'
    )
    ensemble = open_teacher(path)
    assert isinstance(ensemble, Ensemble)
    assert (ensemble.switch, ensemble.views) == (15.5, ("original", "scale-5"))
    assert ensemble.names == ["red.toml", "blue.toml"]
    answer = ensemble.answer(crops((15, 0, 40), (16, 0, 40)))
    assert answer.ages.mean == pytest.approx([40.0, 16.0], abs=0.05)
    assert np.isnan(answer.votes[:, 1]).all(axis=1).tolist() == [False, True]
    path.write_text('name = "t"\nmembers = ["red.toml"]\nchildren = ["blue.toml"]\n')
    plain = open_teacher(path)
    assert isinstance(plain, Ensemble)
    assert (plain.switch, plain.views) == (12.0, ("original",))


def test_an_ensemble_is_read_out_by_its_training_faces(tmp_path: Path, network: Write, contract: Write) -> None:
    network(only(0))
    contract("red.toml")
    bank = Bank(AgeDistribution.of_ages([20.0, 60.0]), AgeDistribution.of_ages([10.0, 70.0]), alpha=30.0)
    bank.write(tmp_path / "bank.parquet")
    path = tmp_path / "t.toml"
    path.write_text('name = "t"\nmembers = ["red.toml"]\nreadout = "bank.parquet"\n')
    plain, read = open_teacher(tmp_path / "red.toml"), open_teacher(path)
    faces = crops((20, 0, 0), (60, 0, 0))
    np.testing.assert_allclose(read(faces).probs, bank.read_out(plain(faces)).probs, atol=1e-6)
    assert read(faces).mean[0] < 40 < read(faces).mean[1]


def test_an_ensemble_in_an_ensemble_keeps_its_own_switch(tmp_path: Path, network: Write, contract: Write) -> None:
    network(only(0))
    contract("red.toml")
    contract("blue.toml", input={"colours": "BGR"})
    (tmp_path / "inner.toml").write_text('name = "i"\nmembers = ["red.toml"]\nchildren = ["blue.toml"]\n')
    path = tmp_path / "outer.toml"
    path.write_text('name = "o"\nmembers = ["inner.toml", "red.toml"]\n')
    found = open_teacher(path)(crops((10, 0, 60), (20, 0, 60)))
    assert found.mean == pytest.approx([(60 + 10) / 2, 20], abs=0.3)


def test_runs_are_members_beside_contracts(tmp_path: Path, network: Write, contract: Write, tiny_run: Path) -> None:
    network(only(0))
    contract()
    path = tmp_path / "t.toml"
    path.write_text(f'name = "t"\nmembers = ["net.toml", "{os.path.relpath(tiny_run, tmp_path)}"]\n')
    faces = crops((60, 40, 20), (150, 150, 150))
    ensemble = open_teacher(path, threads=1)
    run = TorchPredictor(load_run(tiny_run))(faces)
    assert ensemble(faces).probs == pytest.approx((open_teacher(contract())(faces).probs + run.probs) / 2, abs=1e-6)
    assert open_run(tiny_run)(faces).probs == pytest.approx(run.probs, abs=1e-6)


def test_a_run_of_another_frame_is_no_member(tmp_path: Path, tiny_run: Path) -> None:
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    said = json.loads((folder / "recipe.json").read_text())
    said["model"]["frame"] = "square"
    (folder / "recipe.json").write_text(json.dumps(said))
    path = tmp_path / "t.toml"
    path.write_text('name = "t"\nmembers = ["run"]\n')
    assert fault(path) == f"{folder}: this run wants crops of the square frame; a teacher gets aligned ones"


def test_the_batch_changes_nothing(network: Write, contract: Write) -> None:
    """More faces than go through the network at once, and the number of the bad one among all of them."""
    network(only(0))
    teacher = open_teacher(contract())
    ages = list(range(20, 89, 3))
    faces = crops(*((age, 0, 0) for age in ages))
    assert teacher(faces).mean == pytest.approx(ages, abs=0.5)
    assert np.array_equal(teacher(faces[15:]).probs, teacher(faces).probs[15:])
    assert len(teacher(faces[:0])) == 0
    network(only(0), activation="Log")
    faces[17] = 0
    assert "face 17 of a batch" in fault(contract(), faces)


def test_a_contract_of_others_is_no_network(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text('name = "t"\nmembers = ["b"]')
    with pytest.raises(TeacherError, match="names no network of its own"):
        OnnxTeacher(read_contract(path), tmp_path)


@pytest.mark.parametrize("name", ["faceapi", "faceres", "pair"])
def test_the_real_teachers_see_old_and_young(shared: Path, name: str) -> None:
    import pyarrow.parquet as pq

    from agewise.faces.align import align
    from agewise.faces.detect import Detector
    from agewise.faces.face import nearest_centre
    from agewise.faces.image import read_photo

    faces: list[NDArray[np.uint8]] = []
    file = pq.ParquetFile(shared / "fairface-val.parquet")
    table = next(file.iter_batches(400, columns=["image", "age_low", "age_high"])).to_pylist()
    detect = Detector(threads=1)
    for low in (3, 60):
        for row in [row for row in table if row["age_low"] == low][:6]:
            photo = read_photo(row["image"]["bytes"])
            face = nearest_centre(detect(photo.pixels), photo.pixels.shape[1], photo.pixels.shape[0])
            if face is not None and len(faces) < (2 if low == 3 else 4):
                faces.append(align(photo.pixels, face, 256))
    assert len(faces) == 4
    found = open_teacher(ROOT / "recipes" / "teachers" / f"{name}.toml", threads=1)(np.stack(faces))
    assert isinstance(found, AgeDistribution)
    assert found.mean[:2].max() < 25
    assert found.mean[2:].min() > 40
