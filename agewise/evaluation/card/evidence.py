"""What was measured of a model, read from the JSON of agewise's commands; what is of another file is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, model_validator

from agewise.ages import Decision
from agewise.data.settings import check
from agewise.evaluation.card.onnx_file import CardError, ModelFile, Said
from agewise.evaluation.gate.nist_cells import Cells
from agewise.evaluation.gate.rule import Rule
from agewise.evaluation.gate.values import GateGap
from agewise.evaluation.groups import Estimate, Labels, Score
from agewise.evaluation.rates import Rate
from agewise.evaluation.report.values import METRICS
from agewise.evaluation.shift import Shift


class ManifestSaid(Said):
    """The manifest that was predicted; rows, limit: of corruptions, how many there are and were asked for."""

    name: str
    sha256: str
    rows: int = 0
    limit: int | None = None


class Intervals(Said):
    """The level of the intervals and what they draw: faces or subjects."""

    level: float
    resampled: str


class GapSaid(Said):
    """The best and the worst group of a column, and their difference in years."""

    metric: Literal["mae", "excess"]
    best: str
    worst: str
    value: float
    interval: tuple[float, float] | None
    n: int


class Under(Said):
    """The scores of `n` faces under a kind of corruption, or the mean of kinds."""

    n: int
    metrics: dict[str, Estimate]


class Corruptions(Said):
    """How faces were corrupted."""

    profile: str
    seed: int


class RobustnessSaid(Said):
    """What `agewise robustness` found, as it stands in a report."""

    model: str
    manifest: ManifestSaid
    corruptions: Corruptions
    labels: Labels
    clean: Under
    kinds: dict[str, Under]
    means: dict[str, Under]


class ReportSaid(Said):
    """report.json of `agewise evaluate`."""

    model: str
    manifest: ManifestSaid
    protocol: str | None
    summary: list[str]
    labels: Labels
    intervals: Intervals
    decision: Decision
    audit: str
    kinds: dict[str, int]
    overall: Score
    bands: list[Score]
    groups: dict[str, list[Score]]
    gaps: dict[str, GapSaid]
    absent: list[str]
    robustness: RobustnessSaid | None

    def parts(self) -> dict[str, list[Score]]:
        """All faces, the bands of age, and the groups of each column."""
        return {"": [self.overall], "age": self.bands, **{k: v for k, v in self.groups.items() if k != "age"}}


class GateScoreSaid(Said):
    """The rates of a set of faces."""

    name: str
    n: int
    rates: dict[str, Rate]
    nist_mae: Cells


class Kinds(Said):
    """Of how many faces only the group is known, and of which kind the ages are."""

    group_only: int
    straddling: int
    kinds: dict[str, int]


class GateSaid(Said):
    """gate.json of `agewise gate`."""

    model: str
    manifest: ManifestSaid
    rule: Rule
    intervals: Intervals
    dropped: dict[str, int]
    ages: Kinds
    overall: GateScoreSaid
    groups: dict[str, list[GateScoreSaid]]
    gaps: dict[str, list[GateGap]]
    absent: list[str]

    @model_validator(mode="after")
    def _whole(self) -> GateSaid:
        for column, found in self.gaps.items():
            rates = {one.name: one.rates for one in self.groups.get(column, [])}
            for gap in found:
                if not all(gap.rate in rates.get(name, {}) for name in (gap.worst, gap.best)):
                    raise ValueError(f"the gap of {gap.rate} by {column} is between groups that it does not hold")
        return self


class QuantizedSaid(Said):
    """What `agewise quantize --json` prints of a file; shift: its answers before and after."""

    kind: Literal["int8", "float16"]
    ranges: str
    size: Annotated[int, Field(alias="bytes")]
    size_before: Annotated[int, Field(alias="bytes_before")]
    sha256: str
    sha256_before: str
    shift: Shift


class SpreadSaid(Said):
    """Milliseconds: median and quartiles of so many rounds."""

    median: float
    low: float
    high: float
    rounds: int


class NetworkSaid(Said):
    """A face's share of a batch on so many threads."""

    batch: int
    threads: int
    face: SpreadSaid


class PhotoSaid(Said):
    """A photo's file to its ages."""

    name: str
    whole: SpreadSaid
    steps: dict[str, SpreadSaid]


class SpeedSaid(Said):
    """What `agewise benchmark --json` prints."""

    model: str
    engine: str
    machine: str
    cores: int
    threads: int
    size: int
    sha256: str
    network: Annotated[list[NetworkSaid], Field(min_length=1)]
    photos: list[PhotoSaid]
    cold: SpreadSaid
    memory: float | None


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
