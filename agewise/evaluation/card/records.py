"""What the JSON files of reports, gates, quantisation and speed say, as far as a card needs it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from agewise.ages import Decision
from agewise.evaluation.card.onnx_file import Said
from agewise.evaluation.gate.nist_cells import Cells
from agewise.evaluation.gate.rule import Rule
from agewise.evaluation.gate.values import GateGap
from agewise.evaluation.groups import Estimate, Labels, Score
from agewise.evaluation.rates import Rate
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
