"""An exported model -> a smaller and faster file, int8 calibrated on faces or float16; refused if it answers worse."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from agewise.data.crops import parts, read_batches
from agewise.data.manifest import ManifestError, check_frame, fingerprint, open_manifest
from agewise.data.replacing import replacing
from agewise.deployment.half import as_float16
from agewise.deployment.int8 import RANGES, as_int8
from agewise.deployment.runtime import KEY, ModelError, OnnxModel
from agewise.evaluation.predictions import predict_manifest
from agewise.evaluation.shift import Limits, Shift, shift
from agewise.faces.align import cut

Kind = Literal["int8", "float16"]
FACES = 256
"""Faces on which the ranges of int8 are read."""
FEWEST = 32
"""Fewer faces calibrate nothing."""
Progress = Callable[[int, int], None]


class QuantizeError(ValueError):
    """A quantised file whose answers are not good enough: the message says where; `shift` is the whole table."""

    def __init__(self, message: str, shift: Shift) -> None:
        super().__init__(message)
        self.shift = shift


@dataclass(frozen=True, slots=True)
class Quantized:
    """Where the file is, bytes and SHA-256 of it and of the original, and its answers.

    ranges: how those of int8 were read; "" of float16.
    """

    path: Path
    kind: Kind
    size: int
    size_before: int
    sha256: str
    sha256_before: str
    ranges: str
    shift: Shift


def quantize(
    source: Path,
    target: Path,
    *,
    calibrate_on: Path | None = None,
    check_on: Path | None = None,
    kind: Kind = "int8",
    faces: int = FACES,
    limits: Limits | None = None,
    groups: Sequence[str] | None = None,
    threads: int = 0,
    progress: Progress = lambda _done, _total: None,
) -> Quantized:
    """Writes a model in int8 or float16, unless its answers are worse than the original's by more than the limits.

    calibrate_on: a manifest of which `faces`, evenly spread, set the ranges of int8; it needs no labels.
    check_on: a manifest of known ages or groups, on which both files are compared; none is `calibrate_on`.
    groups: columns of it; None is sex and ethnicity where they are.

    The metadata are the original's, and what was done. A calibration that it carries stays: the limits hold for
    calibrated answers and their intervals. The original's predictions are kept beside the target while the call lasts,
    so that one after a kill goes on.

    Raises:
        QuantizeError: the file is worse than the limits allow; nothing is left of it.
        ModelError: the model cannot be used, is quantised already, or a file that is read is the target.
        ManifestError: a manifest is missing, its frame is not the model's, or its faces are too few or of no known age.
        ValueError: no such kind, no faces.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"no kind {kind!r}; there are {', '.join(get_args(Kind))}")
    checked = check_on or calibrate_on
    if checked is None or (kind == "int8" and calibrate_on is None):
        raise ValueError("int8 needs a manifest to calibrate on" if kind == "int8" else "float16 needs one to check on")
    model = OnnxModel(source, threads)
    _check_inputs(model, target, [path for path in (calibrate_on, checked) if path])
    graph = onnx.load(model.path)
    ranges = ""
    with replacing(target) as partial:
        if kind == "int8" and calibrate_on is not None:
            views = calibration_views(model, calibrate_on, faces)
            ranges = _write_int8(graph, views, partial, threads)
        else:
            onnx.save(as_float16(graph), partial)
        said = {"kind": kind, **({"calibrated_on": _origin(calibrate_on, len(views), ranges)} if ranges else {})}
        _write_metadata(partial, {**model.info, "quantized": said})
        found = _compared(model, OnnxModel(partial, threads), target, checked, groups, progress)
        if wrong := list(found.beyond(limits or Limits())):
            raise QuantizeError(f"{target}: refused: {'; '.join(wrong)}", found)
        said["checked_on"] = {"manifest": found.manifest, "rise": found.overall.rise, "moved": found.moved}
        _write_metadata(partial, {**model.info, "quantized": said})
    sizes = (target.stat().st_size, model.path.stat().st_size)
    return Quantized(target, kind, *sizes, fingerprint(target), fingerprint(model.path), ranges, found)


def calibration_views(model: OnnxModel, manifest: Path, faces: int = FACES) -> NDArray[np.uint8]:
    """What a model sees of so many faces of a manifest, evenly spread: (N, S, S, 3).

    Raises ManifestError below FEWEST.
    """
    total = open_manifest(manifest, need=["image"]).metadata.num_rows
    wanted = set(np.linspace(0, total - 1, min(faces, total)).astype(int).tolist()) if total else set()
    made: list[NDArray[np.uint8]] = []
    first = 0
    for table in parts(manifest):
        chosen = table.take([row for row in range(len(table)) if first + row in wanted])
        crops = (batch.crops for batch in read_batches(chosen, manifest.parent, len(chosen) or 1))
        made += [cut(part, model.window, model.size) for part in crops if len(part)]
        first += len(table)
    count = sum(map(len, made))
    if count < FEWEST:
        raise ManifestError(f"{manifest}: {count} faces to calibrate on; {FEWEST} or more are needed")
    return np.concatenate(made)


def _write_int8(graph: onnx.ModelProto, views: NDArray[np.uint8], target: Path, threads: int) -> str:
    """Writes the file by the ranges under which the ages of the faces move least; returns their name.

    Ranges are read on every other face, and judged on those between.
    """
    learnt, held = views[::2], views[1::2]
    original = _ages(graph, held, threads)
    moved: dict[str, float] = {}
    for ranges in RANGES:
        made = as_int8(graph, learnt, ranges)
        moved[ranges] = float(np.abs(_ages(made, held, threads) - original).mean())
        if min(moved, key=moved.__getitem__) == ranges:
            onnx.save(made, target)
    return min(moved, key=moved.__getitem__)


def _ages(graph: onnx.ModelProto, views: NDArray[np.uint8], threads: int) -> NDArray[np.float64]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        onnx.save(graph, file)
        return OnnxModel(file, threads).of_views(views).mean


def _check_inputs(model: OnnxModel, target: Path, manifests: Sequence[Path]) -> None:
    """Raises ModelError or ManifestError where it is seen before any work that there will be no file."""
    if "quantized" in model.info:
        raise ModelError(f"{model.path} is {model.info['quantized'].get('kind')} already; give the file it was made of")
    for path in manifests:
        check_frame(path, model.frame, model.margin)
    if target.exists() and target.resolve() in {model.path.resolve(), *(path.resolve() for path in manifests)}:
        raise ModelError(f"{target} is read; give the quantised model another name")


def _compared(
    model: OnnxModel, made: OnnxModel, target: Path, manifest: Path, groups: Sequence[str] | None, progress: Progress
) -> Shift:
    """What becomes of the answers on a manifest."""
    folder = target.with_name(f".{target.name}.check")
    content = fingerprint(model.path)[:8]
    before = folder / f"{content}-{fingerprint(manifest)[:8]}.parquet"
    total = open_manifest(manifest).metadata.num_rows

    def second(done: int, _total: int) -> None:
        progress(total + done, 2 * total)

    name = f"{model.name} {content}"
    predict_manifest(model, manifest, before, name=name, progress=lambda done, _total: progress(done, 2 * total))
    with tempfile.TemporaryDirectory() as fresh:
        after = Path(fresh) / "predictions.parquet"
        predict_manifest(made, manifest, after, name=f"{name} quantised", progress=second)
        found = shift(before, after, groups)
    _clear(folder)
    return found


def _clear(folder: Path) -> None:
    """Deletes what this call and earlier ones left there; what others put there is theirs."""
    for path in folder.iterdir():
        if re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{8}\.parquet(\.parts)?", path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _write_metadata(path: Path, said: dict[str, Any]) -> None:
    made = onnx.load(path)
    helper.set_model_props(made, {KEY: json.dumps(said)})
    onnx.save(made, path)


def _origin(manifest: Path | None, faces: int, ranges: str) -> dict[str, Any]:
    assert manifest is not None  # as int8 has one
    return {"manifest": manifest.name, "sha256": fingerprint(manifest), "faces": faces, "ranges": ranges}
