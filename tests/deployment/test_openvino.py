"""OpenVINO as an engine, played by ONNX Runtime behind its names: batches of fixed size, and other ages refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from agewise.deployment.openvino import OpenVinoSession
from agewise.deployment.runtime import ModelError, OnnxModel, load

Write = Callable[..., Path]


class Compiled:
    """A network of a fixed number of faces; it answers into the same memory each time, as OpenVINO does."""

    def __init__(self, path: str, shape: list[int], shift: int) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.shape, self.shift = shape, shift
        self.memory = np.empty((shape[0], 101), np.float32)

    def output(self, name: str) -> str:
        return name

    def __call__(self, feeds: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        assert list(feeds[0].shape) == self.shape
        self.memory[:] = np.roll(self.session.run(["probs"], {"crops": feeds[0]})[0], self.shift, axis=1)
        return {"probs": self.memory}


@pytest.fixture
def openvino(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module; `shift` is by how many years its ages are wrong, `made` what was compiled."""
    said = SimpleNamespace(shift=0, made=[])

    class Network:
        def __init__(self, path: str) -> None:
            self.path = path

        def reshape(self, shape: list[int]) -> None:
            self.shape = shape

    class Core:
        def read_model(self, path: str) -> Network:
            return Network(path)

        def compile_model(self, network: Network, device: str, config: dict[str, str]) -> Compiled:
            said.made.append((network.shape[0], device, config))
            return Compiled(network.path, network.shape, said.shift)

    said.Core = Core
    monkeypatch.setitem(sys.modules, "openvino", said)
    return said


def views_of(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 23])
def test_the_answers_are_those_of_onnx_runtime(openvino: Any, tiny_model: Write, count: int) -> None:
    path = tiny_model()
    other = load(path, threads=1, engine="openvino")
    np.testing.assert_allclose(other.of_views(views_of(count)).probs, OnnxModel(path).of_views(views_of(count)).probs)
    assert sorted(size for size, _, _ in openvino.made) == [1, 8]  # each compiled once


def test_threads_and_precision_are_told(openvino: Any, tiny_model: Write) -> None:
    OpenVinoSession(tiny_model(), 3).run(["probs"], {"crops": views_of(1)})
    ((_, device, config),) = openvino.made
    assert (device, config["INFERENCE_NUM_THREADS"], config["INFERENCE_PRECISION_HINT"]) == ("CPU", "3", "f32")
    OpenVinoSession(tiny_model(), precision="bf16").run(["probs"], {"crops": views_of(1)})
    assert "INFERENCE_NUM_THREADS" not in openvino.made[-1][2]


def test_an_engine_that_gives_other_ages_is_refused(openvino: Any, tiny_model: Write) -> None:
    openvino.shift = 5
    with pytest.raises(ModelError, match=r"OpenVINO gives other ages, by \d+\.\d years; use the engine onnxruntime"):
        load(tiny_model(), engine="openvino")


def test_an_engine_that_is_not_there(tiny_model: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="no engine 'tensorrt'; there are onnxruntime, openvino"):
        load(tiny_model(), engine="tensorrt")  # type: ignore[arg-type]  # what is tested
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModuleNotFoundError):
        load(tiny_model(), engine="openvino")
