"""What all tests share: no network, and the development data where it is at hand."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]

CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster()
for _ in range(2):
    cluster.add_node(num_cpus=1, object_store_memory=80 << 20, include_dashboard=False, include_log_monitor=False)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def _refused(_socket: socket.socket, address: Any) -> None:
    raise RuntimeError(f"a test tried to reach {address}: tests run without a network")


def pytest_configure() -> None:
    """Closes the network for the whole run, doctests included; what stays inside the machine stays open."""
    for name in ("connect", "connect_ex"):
        original = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any, original: Any = original) -> Any:
            inside = self.family not in {socket.AF_INET, socket.AF_INET6} or address[0] in ("127.0.0.1", "::1")
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


@pytest.fixture(scope="session")
def faces_of() -> Callable[..., Path]:
    """Writes a manifest of synthetic faces, the brighter the older; keywords are columns, also instead of `image`."""

    def write(path: Path, ages: Any, side: int = 40, **columns: Any) -> Path:
        import pyarrow as pa

        from agewise.data.manifest import IMAGE, write_manifest
        from agewise.faces.image import encode_jpeg

        rng = np.random.default_rng(1)
        shades = [rng.normal(40 + 1.6 * age, 6, (side, side, 3)).clip(0, 255).astype(np.uint8) for age in ages]
        image = [{"bytes": encode_jpeg(shade), "path": None} for shade in shades]
        table = {"image": pa.array(columns.pop("image", image), IMAGE), "age": [float(age) for age in ages], **columns}
        known = pa.table({name: column for name, column in table.items() if column is not None})
        return write_manifest(known, path, {"frame": "aligned"})

    return write


@pytest.fixture(scope="session")
def tiny_recipe() -> Callable[..., Any]:
    """A recipe of seconds that learns from a manifest; keywords such as `training.epochs` as `training={...}`."""

    def recipe(train: Path, runs: Path, **changes: Any) -> Any:
        from agewise.data.settings import check
        from agewise.training.config import Recipe

        values: dict[str, Any] = {
            "name": "tiny",
            "runs": str(runs),
            "data": {"train": str(train), "valid": str(train), "workers": 0},
            "model": {"backbone": {"name": "test_resnet"}, "size": 32, "dropout": 0.2},
            "training": {"epochs": 2, "batch": 8, "rate": 3e-3, "head_rate": 10.0, "threads": 1},
        }
        for name, value in changes.items():
            values[name] = {**values[name], **value} if isinstance(value, dict) and name in values else value
        return check(values, Recipe, "recipe")

    return recipe


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, faces_of: Any, tiny_recipe: Any) -> Path:
    """A finished run folder."""
    from agewise.training.fit import train

    folder = tmp_path_factory.mktemp("tiny")
    faces = faces_of(folder / "faces.parquet", range(2, 82, 5))
    return Path(train(tiny_recipe(faces, folder), progress=False))


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster of two nodes of one core each, in a process of its own."""
    quiet = {**os.environ, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    quiet["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate("")
