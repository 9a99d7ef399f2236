"""A network in static int8: 8-bit weights with a scale for each channel, 8-bit activations with a range a tensor.

One scale a tensor (Jacob et al. 2018) is what ruins depthwise networks: the channels of a layer into which its batch
norm was folded differ in size by orders of magnitude (Nagel et al. 2019). Our base model is off by 10 years so, and by
0.02 with a scale for each channel (benchmarks/quantize.md).
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

from agewise.deployment.half import halved, unhalved

RANGES: dict[str, dict[str, Any]] = {
    "min-max": {"calibrate_method": CalibrationMethod.MinMax},
    "99.9 %": {"calibrate_method": CalibrationMethod.Percentile, "extra_options": {"CalibPercentile": 99.9}},
}
"""How a range is read from activations: all of them, or their bulk. The one whose ages move least is kept.

Entropy (Migacz 2017) as ONNX Runtime 1.31 does it by default chose the whole range everywhere (benchmarks/quantize.md).
"""
QUANTIZED = ("Conv", "Clip", "Relu", "Add")
"""Operations that work on 8 bits."""
POOLING = ("ReduceMean", "GlobalAveragePool")


def as_int8(graph: onnx.ModelProto, views: NDArray[np.uint8], ranges: str = "min-max") -> onnx.ModelProto:
    """The network in static int8, its ranges read on views (N, S, S, 3); what stays in float is stored in half."""
    plain = unhalved(graph)
    for number, node in enumerate(plain.graph.node):
        node.name = node.name or f"node{number}"
    with tempfile.TemporaryDirectory() as folder, quiet():
        file = Path(folder) / "int8.onnx"
        quantize_static(
            plain,
            file,
            Views(views),
            op_types_to_quantize=list(QUANTIZED),
            nodes_to_exclude=sorted(kept_in_float(plain)),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            **RANGES[ranges],
        )
        made = onnx.load(file)
    return halved(made)


def kept_in_float(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes that stay in float: the first convolution, and what is made of pooled features alone.

    So does a depthwise convolution right behind the first: its channels' ranges differ most. In our small model it made
    half of what int8 moves ages by, and takes no more time in float (docs/LOG.md).
    """
    kept, pooled = set[str](), set[str]()
    first = next((node for node in model.graph.node if node.op_type == "Conv"), None)
    if first:
        second = _conv_behind(first, model)
        depthwise = second and any(item.name == "group" and item.i > 1 for item in second.attribute)
        kept |= {first.name, second.name} if second and depthwise else {first.name}
    constant = {item.name for item in model.graph.initializer} | {""}
    for node in model.graph.node:
        inputs = [name for name in node.input if name not in constant]
        if node.op_type in POOLING or (inputs and all(name in pooled for name in inputs)):
            kept.add(node.name)
            pooled.update(node.output)
    return kept


def _conv_behind(first: onnx.NodeProto, model: onnx.ModelProto) -> onnx.NodeProto | None:
    """The convolution that what comes out of another first reaches, through whatever lies between but pooling."""
    reached = set(first.output)
    for node in model.graph.node:  # each comes after those whose outputs it takes
        if node.op_type not in POOLING and reached.intersection(node.input):
            if node.op_type == "Conv":
                return node
            reached.update(node.output)
    return None


class Views(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Views in batches of one size, as ONNX Runtime's histograms need them; the last batch may repeat some."""

    def __init__(self, views: NDArray[np.uint8], batch: int = 16) -> None:
        size = min(batch, len(views))
        starts = (min(start, len(views) - size) for start in range(0, len(views), size))
        self._coming: Iterator[dict[str, Any]] = ({"crops": views[start : start + size]} for start in starts)

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, by the name of the network's input."""
        return next(self._coming, None)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The quantiser's hints and prints are kept from the user, who cannot act on them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
