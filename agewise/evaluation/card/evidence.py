"""What was measured of a model, read from the JSON of agewise's commands; what is of another file is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from agewise.data.settings import check
from agewise.evaluation.card.onnx_file import CardError, ModelFile, Said
from agewise.evaluation.card.records import GateSaid, QuantizedSaid, ReportSaid, SpeedSaid
from agewise.evaluation.report.values import METRICS

S = TypeVar("S", bound=Said)


def read_report(folder: Path, model: ModelFile) -> ReportSaid:
    """The report in a folder. Raises CardError without one or of another file, SettingsError where it is none."""
    path = _in(folder, "report.json", "agewise evaluate")
    found = _read(path, ReportSaid)
    _check_model(path, found.model, model)
    if found.robustness:
        _check_model(path, found.robustness.model, model)
    return found


def read_gate(folder: Path, model: ModelFile) -> GateSaid:
    """The gate's rates in a folder; raises as `read_report` does."""
    path = _in(folder, "gate.json", "agewise gate")
    found = _read(path, GateSaid)
    _check_model(path, found.model, model)
    return found


def read_quantized(path: Path, model: ModelFile) -> QuantizedSaid:
    """What the file's quantisation did, or, where the file is the original, what one of it does.

    Raises CardError where both files are others: by the SHA-256 of an original, and what a quantised one says of
    itself, which may have been calibrated since.
    """
    said = _json(path)
    found = _checked({**said, "shift": said}, QuantizedSaid, path)
    if not found.shift.parts or found.shift.metric not in METRICS:
        raise CardError(f"{path}: no errors in it; give what `agewise quantize --json` printed")
    done = model.said.quantized
    if done is None:
        same = found.sha256_before == model.sha256
    else:
        checked = {"manifest": found.shift.manifest, "rise": found.shift.overall.rise, "moved": found.shift.moved}
        same = (found.kind, checked) == (done.kind, done.checked_on)
    if not same:
        files = f"{found.sha256_before[:8]} and its {found.kind}, {found.sha256[:8]}"
        raise CardError(f"{path}: of other files, {files}; the card is of {model.identity} ({model.place})")
    return found


def read_speed(path: Path, model: ModelFile) -> SpeedSaid:
    """What the file costs on some machine. Raises CardError where it is of another file."""
    found = _read(path, SpeedSaid)
    if found.sha256 != model.sha256:
        other = f"{found.model} {found.sha256[:8]}"
        raise CardError(f"{path}: of another file, {other}; the card is of {model.identity} ({model.place})")
    return found


def _in(folder: Path, name: str, command: str) -> Path:
    if not (folder / name).is_file():
        raise CardError(f"{folder}: no {name} in it; give a folder that `{command}` wrote")
    return folder / name


def _check_model(path: Path, found: str, model: ModelFile) -> None:
    """Raises CardError unless a report is of the very file: by its name and the first digits of its SHA-256."""
    if found != model.identity:
        raise CardError(f"{path}: of another file: it is of {found}, the card of {model.identity} ({model.place})")


def _read(path: Path, kind: type[S]) -> S:
    return _checked(_json(path), kind, path)


def _checked(values: Mapping[str, Any], kind: type[S], path: Path) -> S:
    return check(dict(values), kind, str(path))


def _json(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CardError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(said, dict):
        raise CardError(f"{path}: not the JSON of a command of agewise, but a {type(said).__name__}")
    return said
