"""What the file of a model says of itself: its metadata, its hash, its size, and how many numbers it has learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto
from pydantic import ConfigDict

from agewise.data.manifest import fingerprint
from agewise.data.settings import Settings, check
from agewise.model.calibration.calibration import from_metadata

LEARNT = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT8, TensorProto.UINT8}
LEARNT |= {TensorProto.INT32, TensorProto.DOUBLE}
"""Types of weights and biases; INT64 are shapes and indices."""
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
STORED = {TensorProto.FLOAT16: "half precision, computed with in single", TensorProto.FLOAT: "single precision"}


class CardError(ValueError):
    """A card that cannot be written; the message is one line for the user."""


class Said(Settings):
    """A part of JSON that agewise wrote, of which only what a card shows is read."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Data(Said):
    """The manifests that a recipe names."""

    train: str
    valid: str | None = None


class Backbone(Said):
    """The network by its name; width: the share of its filters that it has."""

    name: str
    width: float = 1.0


class Network(Said):
    """The backbone, and the head by its name or with its options."""

    backbone: Backbone
    head: str | dict[str, Any]


class Recipe(Said):
    """What of a resolved recipe is told in words."""

    data: Data
    model: Network


class Member(Said):
    """One of the runs whose weights were averaged: its folder, the SHA-256 of its weights, its seed."""

    run: str
    weights: str
    seed: int


class Run(Said):
    """What a run was: SHA-256 of each manifest by its path, versions, and that of the weights that it started from.

    A mean of runs (`agewise average`) has no seed of its own.
    """

    seed: int | None = None
    manifests: dict[str, str]
    agewise: str
    versions: dict[str, str]
    python: str
    threads: int
    start: str | None = None
    mean_of: tuple[Member, ...] = ()


class Ranges(Said):
    """The faces on which the ranges of 8 bits were read."""

    manifest: str
    sha256: str
    faces: int
    ranges: str


class Quantization(Said):
    """What `agewise quantize` did; checked_on: its manifest, the rise of the error and how far ages moved."""

    kind: str
    calibrated_on: Ranges | None = None
    checked_on: dict[str, Any] | None = None


class Metadata(Said):
    """What an exported file says of itself, beside what it takes to run it."""

    name: str
    recipe: Recipe
    run: Run
    licence: str = ""
    mirror: bool = False
    temperature: float | None = None
    quantized: Quantization | None = None


@dataclass(frozen=True, slots=True)
class ModelFile:
    """An exported model. called: the word that names it on the command line. place: its file, as the card names it.

    size: bytes. parameters: weights and biases. stored: in which precision. info: its metadata (`OnnxModel.info`),
    and `said` those that are told in words.
    """

    called: str
    place: str
    sha256: str
    size: int
    parameters: int
    stored: str
    info: Mapping[str, Any]
    said: Metadata

    @property
    def identity(self) -> str:
        """The name under which `agewise evaluate` reports it: with the first eight digits of its SHA-256."""
        return f"{self.said.name} {self.sha256[:8]}"

    def fitted_on(self, sha256: str) -> bool:
        """Whether the calibration in the file was fitted on the manifest of that SHA-256."""
        said = self.info.get("calibration")
        origin = None if said is None else from_metadata(said).origin
        return origin is not None and origin.sha256 == sha256

    def trained_on(self, sha256: str) -> str:
        """What its run did with the manifest of that SHA-256: "trained", "validated", or "" for neither."""
        data, manifests = self.said.recipe.data, self.said.run.manifests
        roles = {"trained": data.train, "validated": data.valid}
        return next((role for role, path in roles.items() if path and manifests.get(path) == sha256), "")


def read_model_file(path: Path, called: str, place: str, info: Mapping[str, Any]) -> ModelFile:
    """The file at a path with its metadata.

    Raises CardError where these say nothing of how the model was trained, SettingsError where a part of it is missing.
    """
    for name in ("recipe", "run"):
        if not info.get(name):
            raise CardError(f"{path}: its metadata has no {name}; a card is of what `agewise export` made of a run")
    said = check(dict(info), Metadata, f"{path}: its metadata")
    graph = onnx.load(path).graph
    stored = said.quantized.kind if said.quantized else _stored(graph)
    return ModelFile(called, place, fingerprint(path), path.stat().st_size, parameters(graph), stored, info, said)


def parameters(graph: onnx.GraphProto) -> int:
    """Weights and biases, without the scales and zero points of 8 bits, and without single numbers."""
    scales = {name for node in graph.node if node.op_type in QUANTIZERS for name in node.input[1:]}
    scales |= {node.input[0] for node in graph.node if node.op_type == "Cast" and node.output[0] in scales}
    learnt = (item for item in graph.initializer if item.data_type in LEARNT and item.name not in scales)
    return sum(prod(item.dims) for item in learnt if item.dims)


def _stored(graph: onnx.GraphProto) -> str:
    """The precision of most of the weights."""
    counts: dict[int, int] = {}
    for item in graph.initializer:
        counts[item.data_type] = counts.get(item.data_type, 0) + prod(item.dims)
    most = max(STORED, key=lambda kind: counts.get(kind, 0))
    return STORED[most]
