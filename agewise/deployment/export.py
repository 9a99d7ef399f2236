"""Run folder -> one ONNX file: preprocessing inside, the recipe in its metadata, its outputs checked against torch."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.utils.data import DataLoader

from agewise.ages import AGES
from agewise.data.dataset import Faces
from agewise.data.manifest import check_frame
from agewise.data.replacing import replacing
from agewise.deployment.runtime import FORMAT, KEY
from agewise.model.age_model import AgeModel
from agewise.model.calibrate import fit_temperature, tempered
from agewise.training.run_folder import load_run, read_json

TOLERANCE = 0.1
"""Years by which a mean age may move through the export; half precision needs most of it."""


class ExportError(ValueError):
    """A file whose answers are not the run's; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Exported:
    """Where the file is, its size in bytes, and the largest difference from torch, in years and in probability."""

    path: Path
    size: int
    years: float
    probability: float


class _Graph(nn.Module):
    def __init__(self, model: AgeModel, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, crops: Tensor) -> Tensor:
        return tempered(self.model.head.log_probs(self.model(crops)), self.temperature)


def export(
    run: Path, target: Path, *, licence: str = "unknown", half: bool = True, calibrate_on: Path | None = None
) -> Exported:
    """Writes the model of a run as ONNX: crops (N, S, S, 3) uint8 RGB -> probs (N, 101).

    half: weights are stored in half precision (computed with in single), which halves the file.
    calibrate_on: a manifest with known ages or groups, on which the temperature of the distributions is fitted.

    Raises:
        SettingsError: the run is not there or not finished.
        ExportError: the file answers differently from the run by more than TOLERANCE years.
    """
    model = load_run(run).float()
    recipe, origin = read_json(run / "recipe.json"), read_json(run / "run.json")
    size = model.settings.size
    temperature = _temperature(model, calibrate_on) if calibrate_on else 1.0
    whole = _Graph(model, temperature).eval()
    graph = _traced(whole, size)
    if half:
        _halve(graph)
    window = model.window
    said = {
        "format": FORMAT,
        "name": recipe["name"],
        "frame": model.settings.frame,
        "margin": model.settings.margin,
        "window": [window.x, window.y, window.side],
        "size": size,
        "licence": licence,
        "temperature": round(temperature, 4),
        "recipe": recipe,
        "run": origin,
    }
    helper.set_model_props(graph, {KEY: json.dumps(said)})
    with replacing(target) as partial:
        onnx.save(graph, partial)
        years, probability = _difference(whole, partial, size)
        if not years <= TOLERANCE:
            raise ExportError(f"{target}: ages differ from the run's by {years:.3f} years; {TOLERANCE} is allowed")
    return Exported(target, target.stat().st_size, years, probability)


def _temperature(model: AgeModel, manifest: Path) -> float:
    check_frame(manifest, model.settings.frame, model.settings.margin)
    faces = Faces(manifest, model.window, model.settings.size, bodies=model.tokens is not None)
    with torch.inference_mode():
        logs = torch.cat([model.head.log_probs(model(batch["crop"])) for batch in DataLoader(faces, 64)])
    low = np.minimum(faces.low, AGES[-1])[:, None]
    known = (np.abs(AGES - low) <= 0.5) | ((low <= AGES) & (faces.high[:, None] > AGES))
    return fit_temperature(logs, known)


def _traced(whole: _Graph, size: int) -> onnx.ModelProto:
    """The graph with a free batch size, batch norms folded into convolutions by ONNX Runtime."""
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        plain, folded = Path(folder) / "plain.onnx", Path(folder) / "folded.onnx"
        torch.onnx.export(
            whole,
            (example,),
            plain,
            input_names=["crops"],
            output_names=["probs"],
            dynamic_shapes={"crops": {0: torch.export.Dim("N", min=1, max=4096)}},
            opset_version=18,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        onnxruntime.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
        graph = onnx.load(folded)
    graph.producer_name = "agewise"
    del graph.metadata_props[:]
    for node in graph.graph.node:
        del node.metadata_props[:]  # torch's stack traces, with the paths of this machine
    return graph


def _halve(model: onnx.ModelProto) -> None:
    """Stores large float32 weights as float16, cast back when a session is made."""
    graph = model.graph
    for item in list(graph.initializer):
        if item.data_type == TensorProto.FLOAT and int(np.prod(item.dims)) >= 64:
            values = numpy_helper.to_array(item).astype(np.float16)
            stored = numpy_helper.from_array(values, f"{item.name}.half")
            graph.initializer.remove(item)
            graph.initializer.append(stored)
            graph.node.insert(0, helper.make_node("Cast", [stored.name], [item.name], to=TensorProto.FLOAT))


def _difference(whole: _Graph, path: Path, size: int) -> tuple[float, float]:
    """Largest difference between the file and torch on random pixels: mean age in years, and probability."""
    faces = np.random.default_rng(0).integers(0, 256, (8, size, size, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = whole(torch.from_numpy(faces)).numpy()
    given = session.run(["probs"], {"crops": faces})[0]
    alone = np.concatenate([session.run(["probs"], {"crops": face[None]})[0] for face in faces])
    gaps = np.concatenate([given - expected, alone - expected])  # in a batch and one by one
    return float(np.abs(gaps @ AGES).max()), float(np.abs(gaps).max())
