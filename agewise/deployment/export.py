"""Run folder -> one ONNX file: preprocessing inside, recipe and calibration in its metadata, checked against torch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper
from torch import Tensor, nn

from agewise.ages import AGES, LEVEL
from agewise.data.manifest import check_frame, fingerprint, metadata, read_manifest
from agewise.data.replacing import check_place, replacing
from agewise.deployment.half import halved
from agewise.deployment.runtime import FORMAT, KEY, PLAIN_FORMAT, ModelError, OnnxModel
from agewise.evaluation.calibration_fit import LABELS, Style, check_style, fit_calibration, labelled
from agewise.evaluation.predictions import predict_manifest
from agewise.model.age_model import AgeModel
from agewise.model.calibration.calibration import Calibration, as_metadata
from agewise.model.calibration.conformal import checked_levels
from agewise.training.run_folder import load_run, read_json

TOLERANCE = 0.1
"""Years by which a mean age may move through the export; half precision needs most of it."""


class ExportError(ValueError):
    """A file whose answers are not the run's; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Exported:
    """Where the file is, its size in bytes, and the largest difference from torch, in years and in probability.

    With a mirror image, torch answers with the mean as well.
    """

    path: Path
    size: int
    years: float
    probability: float


class _Graph(nn.Module):
    def __init__(self, model: AgeModel, mirror: bool) -> None:
        super().__init__()
        self.model, self.mirror = model, mirror

    def forward(self, crops: Tensor) -> Tensor:
        if not self.mirror:
            return self._probs(crops)
        pairs = torch.stack((crops, crops.flip(2)), dim=1)
        return self._probs(pairs.flatten(0, 1)).view(-1, 2, len(AGES)).mean(dim=1)

    def _probs(self, crops: Tensor) -> Tensor:
        return self.model.head.log_probs(self.model(crops)).softmax(dim=-1)


def export(
    run: Path,
    target: Path,
    *,
    name: str = "",
    licence: str = "unknown",
    half: bool = True,
    mirror: bool = False,
    calibrate_on: Path | None = None,
) -> Exported:
    """Writes the model of a run as ONNX: crops (N, S, S, 3) uint8 RGB -> probs (N, 101).

    name: what the model calls itself in reports; the run's own if empty.
    half: weights are stored in half precision (computed with in single), which halves the file.
    mirror: the answer is the mean of those to a crop and to its mirror image, for twice the time.
    calibrate_on: a manifest with known ages or groups, on which the distributions are calibrated (see `calibrate`).

    Raises:
        SettingsError: the run is not there or not finished.
        ExportError: the file answers differently from the run by more than TOLERANCE years, or would replace the
            manifest.
        ManifestError: the manifest cannot calibrate the model.
    """
    if calibrate_on and target.exists() and target.resolve() == calibrate_on.resolve():
        raise ExportError(f"{target} is read; give the model another name")
    model = load_run(run).float()
    if calibrate_on:
        _check_labels(calibrate_on, model.settings.frame, model.settings.margin, (LEVEL,))
    recipe, origin = read_json(run / "recipe.json"), read_json(run / "run.json")
    size = model.settings.size
    whole = _Graph(model, mirror).eval()
    graph = _traced(whole, size)
    if half:
        graph = halved(graph)
    window = model.window
    said = {
        "format": PLAIN_FORMAT,
        "name": name or recipe["name"],
        "frame": model.settings.frame,
        "margin": model.settings.margin,
        "window": [window.x, window.y, window.side],
        "size": size,
        "licence": licence,
        "mirror": mirror,
        "recipe": recipe,
        "run": origin,
    }
    helper.set_model_props(graph, {KEY: json.dumps(said)})
    with replacing(target) as partial:
        onnx.save(graph, partial)
        years, probability = _difference(whole, partial, size)
        if not years <= TOLERANCE:
            raise ExportError(f"{target}: ages differ from torch's by {years:.3f} years; {TOLERANCE} is allowed")
        if calibrate_on:
            with tempfile.TemporaryDirectory() as folder:
                fitted = _fitted(OnnxModel(partial), calibrate_on, Path(folder) / "predictions.parquet", (LEVEL,), None)
            _write_calibrated(graph, said, fitted, partial)
    return Exported(target, target.stat().st_size, years, probability)


def calibrate(
    source: Path,
    manifest: Path,
    target: Path,
    *,
    levels: tuple[float, ...] = (LEVEL,),
    style: Style | None = None,
    threads: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Calibration:
    """Writes an exported model with a calibration fitted on a manifest of known ages or groups; the graph is the same.

    A calibration that the model already carries is replaced: it is fitted on what the network itself says. Predictions
    are kept beside the target while the call lasts, so that one after a kill goes on where the first one stopped.
    levels, style: see `fit_calibration`. threads: of ONNX Runtime; 0 is one a core.

    Raises:
        ModelError: the model cannot be used, or is the target.
        ManifestError: the manifest's frame is not the model's, or its labels are too few, or all one age.
        ValueError: a level outside 0..1, or no such style.
    """
    model = OnnxModel(source, threads)
    if target.exists() and target.resolve() in {model.path.resolve(), manifest.resolve()}:
        raise ModelError(f"{target} is read; give the calibrated model another name")
    check_place(target)
    check_style(style)
    _check_labels(manifest, model.frame, model.margin, checked_levels(levels))
    graph = onnx.load(model.path)
    predictions = target.with_name(f".{target.name}.predictions.parquet")
    if predictions.exists() and metadata(predictions).get("step") != "predict":
        raise ModelError(f"{predictions}: in the way, and no predictions of ours; move it elsewhere")
    calibration = _fitted(model, manifest, predictions, levels, style, progress)
    with replacing(target) as partial:
        _write_calibrated(graph, model.info, calibration, partial)
    predictions.unlink()
    return calibration


def _check_labels(manifest: Path, frame: str, margin: float, levels: tuple[float, ...]) -> None:
    """Raises ManifestError where it is seen without running a network that a manifest cannot calibrate it."""
    check_frame(manifest, frame, margin)
    labelled(read_manifest(manifest, LABELS), manifest.name, levels)


def _fitted(
    model: OnnxModel,
    manifest: Path,
    predictions: Path,
    levels: tuple[float, ...],
    style: Style | None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Calibration:
    model.calibration = None
    name = f"{model.name} {fingerprint(model.path)[:8]} uncalibrated"
    predict_manifest(model, manifest, predictions, name=name, progress=progress)
    return fit_calibration(predictions, levels, style)


def _write_calibrated(graph: onnx.ModelProto, said: dict[str, Any], calibration: Calibration, target: Path) -> None:
    """The graph in a file whose metadata carry the calibration too, under the format that says so."""
    whole = onnx.ModelProto()
    whole.CopyFrom(graph)
    helper.set_model_props(
        whole, {KEY: json.dumps({**said, "format": FORMAT, "calibration": as_metadata(calibration)})}
    )
    onnx.save(whole, target)


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
