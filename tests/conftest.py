"""What all tests share: no network, and the development data where it is at hand."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def _refused(_socket: socket.socket, address: Any) -> None:
    raise RuntimeError(f"a test tried to reach {address}: tests run without a network")


def pytest_configure() -> None:
    """Closes the network for the whole run, doctests included; sockets inside the machine (AF_UNIX) stay open."""
    for name in ("connect", "connect_ex"):
        original = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any, original: Any = original) -> Any:
            inside = self.family not in {socket.AF_INET, socket.AF_INET6}
            return original(self, address) if inside else _refused(self, address)

        setattr(socket.socket, name, connect)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real faces and teachers beside the checkout; a test that needs it is skipped without."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the development data is not at {folder}")
    return folder


@pytest.fixture(scope="session")
def astronaut() -> Path:
    """A photo with one face (examples/README.md)."""
    return ROOT / "examples" / "astronaut.jpg"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes an ONNX model whose age depends on the crop's mean colour; keywords change its metadata."""
    folder = tmp_path_factory.mktemp("models")

    def write(side: int = 32, *, scale: float = 0.02, **changes: Any) -> Path:
        onnx = pytest.importorskip("onnx", reason="the models of these tests are built with onnx")
        make = onnx.helper.make_node
        weights = scale * np.random.default_rng(0).normal(size=(3, 101)).astype(np.float32)
        nodes = [
            make("Cast", ["crops"], ["float"], to=onnx.TensorProto.FLOAT),
            make("ReduceMean", ["float"], ["colour"], axes=[1, 2], keepdims=0),
            make("MatMul", ["colour", "weights"], ["logits"]),
            make("Softmax", ["logits"], ["probs"], axis=1),
        ]
        value = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            nodes,
            "tiny",
            [value("crops", onnx.TensorProto.UINT8, ["N", side, side, 3])],
            [value("probs", onnx.TensorProto.FLOAT, ["N", 101])],
            [onnx.numpy_helper.from_array(weights, "weights")],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        info = {"format": 1, "name": "tiny", "frame": "aligned", "window": [0.5, 0.5, 1.0], "size": side}
        info = {**info, "licence": "CC0-1.0", "recipe": {}, **changes}
        onnx.helper.set_model_props(model, {"agewise": json.dumps(info)})
        path = folder / f"{len(list(folder.iterdir()))}.onnx"
        onnx.save(model, path)
        return path

    return write
