"""OpenVINO as an optional engine: the same file, the same answers, another runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SIZES = (8, 1)
"""Faces that a compiled network takes at once. Where their number is left open, OpenVINO 2026.4 computes our int8 files
wrongly, by 13 years, and rightly where it is fixed (benchmarks/quantize.md)."""

Precision = Literal["f32", "bf16"]


class OpenVinoSession:
    """A network under OpenVINO on the CPU, with the `run` of an ONNX Runtime session.

    precision: what float is computed in. By itself OpenVINO takes bf16 where the processor has it, which moves ages by
    0.2 years.
    """

    def __init__(self, path: Path | str, threads: int = 0, precision: Precision = "f32") -> None:
        import openvino

        self._core = openvino.Core()
        self._path = str(path)
        self._config = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        self._config |= {"INFERENCE_NUM_THREADS": str(threads)} if threads else {}
        self._compiled: dict[int, Any] = {}

    def run(self, names: Sequence[str], feeds: dict[str, NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """The output called `names[0]` (N, K) for an input (N, ...)."""
        (crops,) = feeds.values()
        made, start = list[NDArray[np.float32]](), 0
        while start < len(crops):
            size = next(size for size in SIZES if size <= len(crops) - start)
            network = self._network(size, crops.shape[1:])
            answer = network([crops[start : start + size]])[network.output(names[0])]
            made.append(np.array(answer))  # a copy: the next call writes into the same memory
            start += size
        return [np.concatenate(made)]

    def _network(self, size: int, shape: tuple[int, ...]) -> Any:
        if size not in self._compiled:
            network = self._core.read_model(self._path)
            network.reshape([size, *shape])
            self._compiled[size] = self._core.compile_model(network, "CPU", self._config)
        return self._compiled[size]
