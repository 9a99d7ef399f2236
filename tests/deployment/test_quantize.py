"""int8 and float16: what the files compute, what is refused and why, and that nothing is left of a refused one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from agewise.ages import AGES
from agewise.data.manifest import ManifestError
from agewise.deployment import quantize as module
from agewise.deployment.half import as_float16, halved, unhalved
from agewise.deployment.int8 import as_int8, kept_in_float
from agewise.deployment.quantize import FEWEST, QuantizeError, calibration_views, quantize
from agewise.deployment.runtime import KEY, ModelError, OnnxModel
from agewise.evaluation.shift import Limits
from agewise.model.calibration.axis import Spread
from agewise.model.calibration.calibration import Calibration, as_metadata

SIDE = 32


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a small depthwise network with a squeeze-excite; the brighter the crop, the older. Keywords: metadata."""
    folder = tmp_path_factory.mktemp("networks")

    def write(**said: Any) -> Path:
        path = folder / f"{len(list(folder.iterdir()))}.onnx"
        onnx.save(graph_of(**said), path)
        return path

    return write


def graph_of(**said: Any) -> Any:
    rng, node = np.random.default_rng(0), onnx.helper.make_node
    channels = 8
    scales = np.logspace(-0.4, 0.4, channels)  # of a folded batch norm: the channels differ in size
    arrays = {
        "mean": np.full((1, 3, 1, 1), 127.5, np.float32),
        "scale": np.full((1, 3, 1, 1), 64.0, np.float32),
        "stem": np.abs(rng.normal(0.2, 0.1, (channels, 3, 3, 3))).astype(np.float32) / 3,
        "stem_bias": np.full(channels, 6.0, np.float32),
        "even": np.full((channels, 1, 3, 3), 1 / 9, np.float32),
        "deep": (np.full((channels, 1, 3, 3), 1 / 9) * scales[:, None, None, None]).astype(np.float32),
        "deep_bias": (0.1 * scales).astype(np.float32),
        "reduce": rng.normal(0, 0.1, (4, channels, 1, 1)).astype(np.float32),
        "expand": rng.normal(0, 0.1, (channels, 4, 1, 1)).astype(np.float32),
        "point": (np.ones((channels, channels, 1, 1)) / scales[:, None, None] / channels).astype(np.float32),
        "zero": np.float32(0.0),
        "most": np.float32(1000.0),
        "axes": np.array([2, 3]),
        "flat": np.array([-1, channels]),
        "head": np.zeros((channels, len(AGES)), np.float32),
        "centre": np.zeros(len(AGES), np.float32),
    }
    # logits -(age - m)^2 / 50 + const, with m = 8 x the mean of the features
    arrays["head"][:] = AGES * 8 * 2 / 50 / channels
    arrays["centre"][:] = -(AGES**2) / 50
    nodes = [
        node("Cast", ["crops"], ["float"], to=onnx.TensorProto.FLOAT),
        node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        node("Sub", ["planes", "mean"], ["centred"]),
        node("Div", ["centred", "scale"], ["input"]),
        node("Conv", ["input", "stem", "stem_bias"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1], name="first"),
        node("Clip", ["a", "zero", "most"], ["b"]),
        node("Conv", ["b", "even"], ["smooth"], group=channels, pads=[1, 1, 1, 1], name="second"),
        node("Conv", ["smooth", "deep", "deep_bias"], ["c"], group=channels, pads=[1, 1, 1, 1], name="depthwise"),
        node("Relu", ["c"], ["d"]),
        node("ReduceMean", ["d", "axes"], ["pooled"], keepdims=1, name="squeeze"),
        node("Conv", ["pooled", "reduce"], ["e"], name="se1"),
        node("Conv", ["e", "expand"], ["f"], name="se2"),
        node("HardSigmoid", ["f"], ["gate"], name="se3"),
        node("Mul", ["d", "gate"], ["g"], name="excite"),
        node("Conv", ["g", "point"], ["h"], name="pointwise"),
        node("ReduceMean", ["h", "axes"], ["i"], keepdims=0, name="pool"),
        node("Reshape", ["i", "flat"], ["j"], name="reshape"),
        node("Gemm", ["j", "head", "centre"], ["logits"], name="linear"),
        node("Softmax", ["logits"], ["probs"], axis=1, name="softmax"),
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "tiny",
        [value("crops", onnx.TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [value("probs", onnx.TensorProto.FLOAT, ["N", len(AGES)])],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    info = {"format": 1, "name": "net", "frame": "aligned", "window": [0.5, 0.5, 1.0], "size": SIDE, **said}
    onnx.helper.set_model_props(model, {KEY: json.dumps(info)})
    return model


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory, faces_of: Callable[..., Path], network: Any) -> Path:
    """Faces of every shade, whose ages are what the network says of them, so that its error is almost 0."""
    folder = tmp_path_factory.mktemp("faces")
    shades = np.linspace(0, 80, 144)
    drawn = faces_of(folder / "drawn.parquet", shades, side=SIDE)
    model = OnnxModel(network(), 1)
    ages = np.clip(model(calibration_views(model, drawn, len(shades))).mean, 0, 100)
    return faces_of(folder / "faces.parquet", shades, side=SIDE, age=ages.tolist(), sex=["F", "M"] * 72)


def views_of(count: int) -> NDArray[np.uint8]:
    shades = np.linspace(0, 255, count).astype(np.uint8)[:, None, None, None]
    return np.broadcast_to(shades, (count, SIDE, SIDE, 3)).copy()


def ages_of(graph: Any, folder: Path, views: NDArray[np.uint8]) -> NDArray[np.float64]:
    onnx.save(graph, folder / "graph.onnx")
    return OnnxModel(folder / "graph.onnx", 1).of_views(views).mean


def test_what_stays_in_float() -> None:
    kept = {name for name in kept_in_float(graph_of()) if name}
    assert kept == {"first", "second", "squeeze", "se1", "se2", "se3", "pool", "reshape", "linear", "softmax"}


def test_the_second_convolution_is_the_one_behind_the_first_not_the_next_in_the_file() -> None:
    """A squeeze of the first one's output, and a convolution of the pixels, stand between the two in the file."""
    graph = graph_of()
    between = [
        onnx.helper.make_node(
            "Conv", ["input", "stem", "stem_bias"], ["unused"], strides=[2, 2], pads=[1, 1, 1, 1], name="apart"
        ),
        onnx.helper.make_node("ReduceMean", ["b", "axes"], ["b_pooled"], keepdims=1, name="early_squeeze"),
        onnx.helper.make_node("Conv", ["b_pooled", "reduce"], ["b_squeezed"], name="early_conv"),
    ]
    at = next(number for number, one in enumerate(graph.graph.node) if one.name == "second")
    for number, one in enumerate(between):
        graph.graph.node.insert(at + number, one)
    assert "second" in kept_in_float(graph)
    assert "apart" not in kept_in_float(graph)


def test_convolutions_are_quantised_by_channel_and_the_rest_is_not() -> None:
    made = as_int8(graph_of(), views_of(48))
    assert not any("quant" in node.op_type.lower() for node in graph_of().graph.node)
    stored = {item.name: item for item in made.graph.initializer}
    weights = [n for n in made.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in stored]
    scales = {n.input[0].removesuffix("_quantized"): list(stored[n.input[1]].dims) for n in weights}
    assert {name: scales[name] for name in ("deep", "point")} == {"deep": [8], "point": [8]}
    assert not {"stem", "even", "reduce", "expand", "head"} & scales.keys()


def test_a_network_without_convolutions_keeps_its_pooling() -> None:
    graph = graph_of()
    for node in [node for node in graph.graph.node if node.op_type == "Conv"]:
        graph.graph.node.remove(node)
    assert {"squeeze", "pool", "linear"} <= kept_in_float(graph)


def test_a_second_convolution_over_all_channels_is_quantised() -> None:
    graph = graph_of()
    (second,) = (node for node in graph.graph.node if node.name == "second")
    second.attribute[0].CopyFrom(onnx.helper.make_attribute("group", 1))
    assert "second" not in kept_in_float(graph)


@pytest.mark.parametrize("ranges", ["min-max", "99.9 %"])
def test_int8_answers_as_float_does(tmp_path: Path, ranges: str) -> None:
    graph, views = graph_of(), views_of(64)
    expected = ages_of(graph, tmp_path, views)
    assert np.ptp(expected) > 30
    given = ages_of_int8(graph, tmp_path, views, ranges)
    assert 0 < np.abs(given - expected).max() < 2.0


def ages_of_int8(graph: Any, folder: Path, views: NDArray[np.uint8], ranges: str) -> NDArray[np.float64]:
    made = as_int8(graph, views, ranges)
    onnx.helper.set_model_props(made, {item.key: item.value for item in graph.metadata_props})
    return ages_of(made, folder, views)


def test_float16_computes_in_half_precision_and_keeps_its_ports(tmp_path: Path) -> None:
    graph, views = graph_of(), views_of(16)
    made = as_float16(graph)
    onnx.helper.set_model_props(made, {item.key: item.value for item in graph.metadata_props})
    kinds = {item.data_type for item in made.graph.initializer if item.name in {"stem", "deep", "head"}}
    assert kinds == {onnx.TensorProto.FLOAT16}
    np.testing.assert_allclose(ages_of(made, tmp_path, views), ages_of(graph, tmp_path, views), atol=1.0)


def test_halving_and_back_is_rounding_to_half_precision() -> None:
    graph = graph_of()
    small, back = halved(graph), unhalved(halved(graph))
    before, after = ({i.name: onnx.numpy_helper.to_array(i) for i in one.graph.initializer} for one in (graph, back))
    assert before.keys() == after.keys()
    assert sum(node.op_type == "Cast" for node in small.graph.node) > 1
    assert sum(node.op_type == "Cast" for node in back.graph.node) == 1  # of the pixels
    for name, array in before.items():
        rounded = array.astype(np.float16).astype(array.dtype) if array.size >= 64 else array
        np.testing.assert_array_equal(after[name], rounded)
    assert [i.name for i in graph.graph.initializer] == list(before)  # what was given is as it was


def test_a_good_file_is_written_with_what_was_done(network: Any, faces: Path, tmp_path: Path) -> None:
    target, steps = tmp_path / "out.onnx", list[tuple[int, int]]()
    made = quantize(
        network(licence="CC0-1.0"),
        target,
        calibrate_on=faces,
        faces=64,
        threads=1,
        limits=Limits(1.0, 3.0, 2.0, 3.0),
        progress=lambda *step: steps.append(step),
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]
    model = OnnxModel(target, 1)
    assert (model.name, model.licence, model.info["format"]) == ("net", "CC0-1.0", 1)
    said = model.info["quantized"]
    assert (said["kind"], said["calibrated_on"]["faces"], said["checked_on"]["manifest"]) == ("int8", 64, faces.name)
    assert said["calibrated_on"]["ranges"] == made.ranges in {"min-max", "99.9 %"}
    assert made.shift.overall.before < 0.1 < 0.2 + made.shift.overall.after
    assert {part.name for part in made.shift.parts if part.column == "sex"} == {"F", "M"}
    assert steps[-1] == (288, 288)
    assert made.size == target.stat().st_size


def test_a_damaged_file_is_refused_and_nothing_is_left(
    network: Any, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(graph: Any, views: NDArray[np.uint8], ranges: str) -> Any:
        made = as_int8(graph, views, ranges)
        head = next(item for item in made.graph.initializer if item.name == "centre.half")
        head.CopyFrom(onnx.numpy_helper.from_array(np.full(len(AGES), -7.0, np.float16), head.name))
        return made

    monkeypatch.setattr(module, "as_int8", damaged)
    message = r"refused: the mae of all faces rises by \d+\.\d\d years \(0\.\d\d -> "
    with pytest.raises(QuantizeError, match=message) as c:
        quantize(network(), tmp_path / "out.onnx", calibrate_on=faces, faces=64, threads=1)
    assert "; the mae of " in str(c.value)
    assert "ages move by" in str(c.value)
    assert c.value.shift.moved > 10
    assert list(tmp_path.iterdir()) == []


def test_only_a_band_that_is_worse_is_refused_too(network: Any, faces: Path, tmp_path: Path) -> None:
    limits = Limits(overall=50.0, part=0.0, moved=50.0, bounds=50.0)
    message = r"refused: the mae of (age|sex) \S+ rises by \d+\.\d\d years .*; 0 is allowed$"
    with pytest.raises(QuantizeError, match=message):
        quantize(network(), tmp_path / "out.onnx", calibrate_on=faces, faces=64, limits=limits, threads=1)


def test_a_calibration_stays_and_its_intervals_are_checked(network: Any, faces: Path, tmp_path: Path) -> None:
    wide = as_metadata(Calibration(1.0, None, Spread((0.9,), (40.0,), ((2.0,),))))
    source = network(format=2, calibration=wide)
    made = quantize(
        source, tmp_path / "a.onnx", calibrate_on=faces, faces=64, limits=Limits(1.0, 3.0, 2.0, 3.0), threads=1
    )
    assert OnnxModel(tmp_path / "a.onnx").calibration == OnnxModel(source).calibration
    assert made.shift.coverage is not None
    limits = Limits(50.0, 50.0, 50.0, 0.0)
    with pytest.raises(QuantizeError, match="the bounds of intervals move by"):
        quantize(source, tmp_path / "b.onnx", calibrate_on=faces, faces=64, limits=limits, threads=1)


def test_float16_needs_a_manifest_to_check_on_only(network: Any, faces: Path, tmp_path: Path) -> None:
    limits = Limits(1.0, 3.0, 2.0, 3.0)
    made = quantize(network(), tmp_path / "out.onnx", kind="float16", check_on=faces, limits=limits, threads=1)
    assert (made.kind, made.ranges) == ("float16", "")
    assert "calibrated_on" not in OnnxModel(made.path).info["quantized"]
    with pytest.raises(ValueError, match="float16 needs one to check on"):
        quantize(network(), tmp_path / "b.onnx", kind="float16")


def test_what_cannot_be_is_said_before_any_work(
    network: Any, faces: Path, faces_of: Callable[..., Path], tmp_path: Path
) -> None:
    source, target = network(), tmp_path / "new" / "out.onnx"
    few = faces_of(tmp_path / "few.parquet", range(FEWEST - 1), side=SIDE)
    with pytest.raises(ValueError, match=r"no kind 'int4'; there are int8, float16"):
        quantize(source, target, calibrate_on=faces, kind="int4")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match="int8 needs a manifest to calibrate on"):
        quantize(source, target, check_on=faces)
    with pytest.raises(ManifestError, match=rf"{FEWEST - 1} faces to calibrate on; {FEWEST} or more"):
        quantize(source, target, calibrate_on=few)
    with pytest.raises(ModelError, match="is read; give the quantised model another name"):
        quantize(source, source, calibrate_on=faces)
    with pytest.raises(ModelError, match="is int8 already"):
        quantize(network(quantized={"kind": "int8"}), target, calibrate_on=faces)
    with pytest.raises(ManifestError, match="its crops are in the aligned frame; the square one is needed"):
        quantize(network(frame="square"), target, calibrate_on=faces)
    with pytest.raises(ValueError, match=r"the limit part is -1\.0 years; 0 or more is allowed"):
        Limits(part=-1.0)
    assert not [path for path in tmp_path.rglob("*") if path != few and path.is_file()]


def test_calibration_faces_are_spread_over_the_manifest(network: Any, faces: Path) -> None:
    views = calibration_views(OnnxModel(network(), 1), faces, 48)
    assert views.shape == (48, SIDE, SIDE, 3)
    shades = views.mean(axis=(1, 2, 3))
    assert (np.diff(shades) > 0).all()
    assert np.ptp(shades) > 110
