"""What is said of an age gate: rates, outcomes, groups and gaps, and the report that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agewise.evaluation.gate.nist_cells import Cells
from agewise.evaluation.gate.rule import Rule
from agewise.evaluation.rates import Rate


@dataclass(frozen=True, slots=True)
class Point:
    """The rates `fpr`, `fpr_near` and `tpr` of a rule: of a challenge age, or of the bound at alpha (and `refer`)."""

    at: float
    rates: Mapping[str, Rate]
    budget: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the bound at alpha does with the faces of an age: the share of each outcome."""

    name: str
    shares: Mapping[str, Rate]


@dataclass(frozen=True, slots=True)
class GateScore:
    """The rates of a set of faces, by name as in `rates`, and NIST's mean absolute error."""

    name: str
    n: int
    rates: Mapping[str, Rate]
    nist: Cells


@dataclass(frozen=True, slots=True)
class GateGap:
    """The groups with the best and the worst of a rate, each of FEWEST_FACES faces, and their difference.

    The interval takes the two groups as given; as they were chosen for their rates, it is somewhat too narrow.
    """

    rate: str
    best: str
    worst: str
    difference: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class GateReport:
    """What a gate would do with the faces of a manifest.

    dropped: why faces have no score; straddling: how many of the scored have a group on both sides of the threshold.
    kinds: how many ages are real, apparent or estimated, where the manifest says so; grouped: of how many only the
    group is known. budget_alpha: the alpha that refers at most the rule's budget of these adults, None without adults.
    """

    model: str
    manifest: str
    sha256: str
    predictions: str
    rule: Rule
    resampled: str
    dropped: Mapping[str, int]
    straddling: int
    grouped: int
    kinds: Mapping[str, int]
    overall: GateScore
    budget_alpha: float | None
    curve: tuple[Point, ...]
    budgets: tuple[Point, ...]
    bands: tuple[Outcome, ...]
    years: tuple[Outcome, ...]
    groups: Mapping[str, tuple[GateScore, ...]]
    gaps: Mapping[str, tuple[GateGap, ...]]
    absent: tuple[str, ...]
