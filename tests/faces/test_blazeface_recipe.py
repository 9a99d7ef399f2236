"""recipes/blazeface.py: channels of zeros that fill a layer change nothing of what the network answers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

RECIPE = Path(__file__).parents[2] / "recipes" / "blazeface.py"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("blazeface", RECIPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network(channels: int = 24, wider: int = 4) -> onnx.ModelProto:
    """What BlazeFace is made of: a convolution, a block of depthwise and pointwise, a residual that grows, a head."""
    rng = np.random.default_rng(0)
    last = channels + wider
    weights = {
        "stem": (channels, 3, 3, 3),
        "stem_bias": (channels,),
        "depth": (channels, 1, 3, 3),
        "point": (last, channels, 1, 1),
        "point_bias": (last,),
        "head": (16, last, 1, 1),
        "head_bias": (16,),
    }
    stored = [
        numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float16), f"{name}_half")
        for name, shape in weights.items()
    ]
    stored.append(numpy_helper.from_array(np.array([0, 0, 0, 0, 0, wider, 0, 0], np.int64), "pad"))
    same = {"pads": [1, 1, 1, 1]}
    nodes = [
        *(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT) for name in weights),
        helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "stem", "stem_bias"], ["first"], **same),
        helper.make_node("Relu", ["first"], ["rectified"]),
        helper.make_node("Conv", ["rectified", "depth"], ["deep"], group=channels, **same),
        helper.make_node("Conv", ["deep", "point", "point_bias"], ["pointed"]),
        helper.make_node("Pad", ["rectified", "pad"], ["grown"]),
        helper.make_node("Add", ["pointed", "grown"], ["sum"]),
        helper.make_node("Conv", ["sum", "head", "head_bias"], ["answer"]),
        helper.make_node("Transpose", ["answer"], ["scores_16"], perm=[0, 2, 3, 1]),
    ]
    image = helper.make_tensor_value_info("centred", TensorProto.FLOAT, [1, 8, 8, 3])
    scores = helper.make_tensor_value_info("scores_16", TensorProto.FLOAT, [1, 8, 8, 16])
    graph = helper.make_graph(nodes, "small", [image], [scores], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("channels", "wider"), [(24, 4), (16, 16), (5, 40)])
def test_zeros_that_fill_a_layer_change_no_answer(recipe: ModuleType, channels: int, wider: int) -> None:
    image = np.random.default_rng(1).normal(0, 1, (1, 8, 8, 3)).astype(np.float32)

    def answer(model: onnx.ModelProto) -> np.ndarray:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {"centred": image})[0])

    before = answer(network(channels, wider))
    full = recipe.filled(network(channels, wider))
    assert np.allclose(before, answer(full), atol=1e-4)
    made = {item.name: numpy_helper.to_array(item).shape for item in full.graph.initializer}
    assert made["stem_half"][0] % recipe.BLOCK == 0
    assert made["point_half"][:2] == (-(-(channels + wider) // 16) * 16, -(-channels // 16) * 16)
    assert made["head_half"][0] == 16
