"""Half precision: weights stored in it and computed with in single, the way back, and a network that computes in it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SMALLEST = 64
"""Arrays of fewer numbers stay as they are: there is nothing to gain."""


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its large float32 weights as float16, cast back when a session is made."""
    whole = _copy(model)
    graph = whole.graph
    for item in list(graph.initializer):
        if item.data_type == TensorProto.FLOAT and int(np.prod(item.dims)) >= SMALLEST:
            values = numpy_helper.to_array(item).astype(np.float16)
            stored = numpy_helper.from_array(values, f"{item.name}.half")
            graph.initializer.remove(item)
            graph.initializer.append(stored)
            graph.node.insert(0, helper.make_node("Cast", [stored.name], [item.name], to=TensorProto.FLOAT))
    return whole


def unhalved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every weight in the precision in which it is computed with: no cast of one is left."""
    whole = _copy(model)
    graph = whole.graph
    stored = {item.name: item for item in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Cast" and node.input[0] in stored:
            kind = helper.tensor_dtype_to_np_dtype(node.attribute[0].i)
            values = numpy_helper.to_array(stored[node.input[0]]).astype(kind)
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
            graph.node.remove(node)
    used = {node.domain for node in graph.node}
    for opset in list(whole.opset_import):  # ONNX Runtime writes all domains that it knows
        if opset.domain not in used:
            whole.opset_import.remove(opset)
    read = {name for node in graph.node for name in node.input}
    for item in list(graph.initializer):
        if item.name not in read:
            graph.initializer.remove(item)
    return whole


def as_float16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The network with weights and arithmetic in half precision; pixels and probabilities stay as they are."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    plain = onnx.shape_inference.infer_shapes(unhalved(graph))
    made: onnx.ModelProto = convert_float_to_float16(plain, keep_io_types=True, op_block_list=["Softmax", "Range"])
    return made


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    return whole
