"""What an age gate lets through: predicted ages as decisions on a legal age, scored after NIST's FATE AEV (IR 8525).

Ages are completed years: 14 to 17 holds the true ages from 14 up to, but not, 18. A face of which only the age group is
known is on one side of an age if its whole group is; one whose group holds faces of both sides is on neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import AGES, AgeDistribution, Decision
from agewise.data.manifest import ManifestError, metadata, read_manifest
from agewise.evaluation.evaluate import kinds_of, names_of
from agewise.evaluation.gate.faces import Faces, read_faces, sides, why_dropped
from agewise.evaluation.gate.nist_cells import Cells, nist_error
from agewise.evaluation.groups import UNKNOWN, group_names
from agewise.evaluation.predictions import PREDICTED
from agewise.evaluation.rates import Flags, Rate, difference, large, rate
from agewise.metrics import Floats

NEAR = 4
"""Years below the legal age whose faces are also scored alone, as the hardest minors: 14 to 17 of 18."""

CURVE = 15
"""Years above the legal age up to which the curve of challenge ages goes."""

BUDGETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
"""Shares of the adults that may be referred, at which false positives are told."""

CHILD, TEEN, OLDER = (8, 13), (13, 17), (17, 23)
"""Child online safety: the ages (first, and the one at which it is over) of those to let in, and of those around."""

PASS, REFER, FAIL = "pass", "refer", "fail"

WORST: dict[str, bool] = {"fpr_near": True, "fpr": True, "tpr": False, "bound_fpr_near": True, "bound_refer": True}
"""The rates by which groups are compared, and whether the highest is the worst."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a gate decides, in years. Raises ValueError on a rule that cannot be.

    threshold: the legal age. buffer: the challenge age: a face passes if its estimate, by `decision`, is at least that.
    alpha: a face passes the bound if P(age < threshold) is at most alpha, that is if the one-sided lower bound of its
    age, at 1 - alpha, is at least the threshold; it fails if P(age >= threshold) is at most alpha; else it is referred
    to another check. budget: the share of the adults that may be referred.
    """

    threshold: int = 18
    buffer: int = 25
    alpha: float = 0.05
    budget: float = 0.2
    decision: Decision = "mean"

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= 99:
            raise ValueError(f"the threshold is {self.threshold}; 1..99 years is allowed")
        if not self.threshold <= self.buffer <= AGES[-1]:
            allowed = f"{self.threshold} (the threshold)..{AGES[-1]:g} years is allowed"
            raise ValueError(f"the buffer is {self.buffer}; it is the age that an estimate has to reach: {allowed}")
        if not 0 < self.alpha <= 0.5:
            raise ValueError(f"alpha is {self.alpha:g}; above 0 and up to 0.5 is allowed")
        if not 0 <= self.budget < 1:
            raise ValueError(f"the budget is {self.budget:g}; a share from 0 to below 1 of the adults is allowed")
        if self.decision not in ("mean", "median", "mode"):
            raise ValueError(f"no decision rule {self.decision!r}; there are mean, median, mode")


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


def decide(ages: AgeDistribution, threshold: int = 18, alpha: float = 0.05) -> list[str]:
    """Of each face: pass, refer or fail, by the bound at alpha of a Rule.

    >>> decide(AgeDistribution.gaussian([30.0, 22.0, 8.0], [4.0, 4.0, 2.0]))
    ['pass', 'refer', 'fail']
    """
    rule = Rule(threshold, max(threshold, 25), alpha)
    return verdicts(*sides(ages, rule.threshold), alpha).tolist()


def gate(
    predictions_parquet: Path | str,
    rule: Rule | None = None,
    groups: Sequence[str] = ("sex", "ethnicity"),
    *,
    resamples: int = 1000,
) -> GateReport:
    """The scores of a file of predictions (predictions.predict_manifest) as the decisions of a gate.

    Raises ManifestError on another file, without a known age, or where no face is surely on one side of the threshold.
    """
    path, rule = Path(predictions_parquet), rule or Rule()
    said = metadata(path)
    if said.get("step") != "predict":
        raise ManifestError(f"{path}: not a file of predictions; predict_manifest writes one from a manifest")
    table = read_manifest(path, need=list(PREDICTED))
    reasons = why_dropped(path, table)
    kept = table.filter(pa.array(reasons == ""))
    faces = read_faces(path, kept, rule.threshold, rule.decision)
    minors, adults = faces.aged(0, rule.threshold), faces.aged(rule.threshold)
    if not (minors | adults).any():
        raise ManifestError(f"{path}: the age groups of all {len(kept)} faces are on both sides of {rule.threshold}")
    alpha = alpha_within(rule.budget, np.minimum(faces.young, faces.old)[adults])
    names = {column: names_of(path, kept, column) for column in groups if column in kept.column_names}
    scores = {column: _by(found, faces, rule, alpha, resamples) for column, found in names.items()}
    bands, years = _named(faces, rule)
    return GateReport(
        model=said["name"],
        manifest=said["manifest"],
        sha256=said["content"],
        predictions=path.name,
        rule=rule,
        resampled="faces" if len(np.unique(faces.unit)) == len(faces.unit) else "subjects",
        dropped=dict(Counter(reasons[reasons != ""].tolist()).most_common()),
        straddling=int((~minors & ~adults).sum()),
        grouped=int((faces.least != faces.most).sum()),
        kinds=kinds_of(kept),
        overall=_score("all", faces, rule, alpha, resamples),
        budget_alpha=alpha,
        curve=tuple(challenge(faces, rule.threshold, age, resamples) for age in _ages(rule)),
        budgets=tuple(budgets(faces, rule, resamples)),
        bands=tuple(outcome(name, faces[rows], rule.alpha, resamples) for name, rows in bands.items()),
        years=tuple(outcome(name, faces[rows], rule.alpha, resamples) for name, rows in years.items()),
        groups=scores,
        gaps={column: gaps(found) for column, found in scores.items()},
        absent=tuple(column for column in groups if column not in kept.column_names),
    )


def rates(faces: Faces, rule: Rule, alpha: float | None, resamples: int) -> dict[str, Rate]:
    """Each rate by name, with the faces among which it is taken.

    fpr, fpr_near, tpr, tpr_buffer: the estimate is at least the buffer, among the faces below the threshold, the NEAR
    years below it, those from the threshold on (adults) and those from the buffer on.
    bound_fpr, bound_fpr_near, bound_tpr: the bound at rule.alpha passes; bound_refer, bound_fail: it refers or fails,
    among adults. budget_fpr, budget_fpr_near, budget_tpr: the bound at `alpha` passes.
    teen_tpr, child_fpr, older_fpr: the estimate is in 13 to 16, among those aged 13 to 16, 8 to 12 and 17 to 22.
    """
    passed, teen = faces.guess >= rule.buffer, (faces.guess >= TEEN[0]) & (faces.guess < TEEN[1])
    verdict = verdicts(faces.young, faces.old, rule.alpha)
    adults = faces.aged(rule.threshold)
    found = _sided("", passed, faces, rule.threshold, resamples)
    found["tpr_buffer"] = rate(passed, faces.aged(rule.buffer), faces.unit, resamples)
    found |= _sided("bound_", verdict == PASS, faces, rule.threshold, resamples)
    for kind in (REFER, FAIL):
        found[f"bound_{kind}"] = rate(verdict == kind, adults, faces.unit, resamples)
    if alpha is not None:
        within = verdicts(faces.young, faces.old, alpha) == PASS
        found |= _sided("budget_", within, faces, rule.threshold, resamples)
    for name, ages in {"teen_tpr": TEEN, "child_fpr": CHILD, "older_fpr": OLDER}.items():
        found[name] = rate(teen, faces.aged(*ages), faces.unit, resamples)
    return found


def verdicts(young: Floats, old: Floats, alpha: float) -> NDArray[np.str_]:
    """pass, refer or fail (N,) of the probabilities (N,) below the threshold and from it on; even odds never pass."""
    passes = (young <= alpha) & (young < old)
    return np.where(passes, PASS, np.where(np.minimum(young, old) <= alpha, FAIL, REFER))


def alpha_within(budget: float, doubt: Floats) -> float | None:
    """The least alpha that refers at most that share of these faces (N,); None for no face.

    doubt: the smaller of the probabilities on the two sides of the threshold, 0..0.5.

    >>> alpha_within(0.5, np.array([0.1, 0.4, 0.2, 0.3]))
    0.2
    """
    if not len(doubt):
        return None
    allowed = int(np.floor(budget * len(doubt) + 1e-9))
    return float(np.sort(doubt)[len(doubt) - 1 - allowed]) if allowed < len(doubt) else 0.0


def challenge(faces: Faces, threshold: int, age: int, resamples: int) -> Point:
    """The rates of a gate that lets faces pass whose estimate is at least a challenge age."""
    return Point(age, _sided("", faces.guess >= age, faces, threshold, resamples))


def budgets(faces: Faces, rule: Rule, resamples: int) -> list[Point]:
    """The rates of the bound at the least alpha that refers each budget of these adults; none without adults.

    Each alpha is chosen on the faces that it is scored on, so at a gate a somewhat other share is referred.
    """
    adults = faces.aged(rule.threshold)
    points = []
    for budget in sorted({*BUDGETS, rule.budget}):
        alpha = alpha_within(budget, np.minimum(faces.young, faces.old)[adults])
        if alpha is not None:
            verdict = verdicts(faces.young, faces.old, alpha)
            found = _sided("", verdict == PASS, faces, rule.threshold, resamples)
            found["refer"] = rate(verdict == REFER, adults, faces.unit, resamples)
            points.append(Point(alpha, found, budget))
    return points


def outcome(name: str, faces: Faces, alpha: float, resamples: int) -> Outcome:
    """What the bound at alpha does with these faces."""
    verdict, everyone = verdicts(faces.young, faces.old, alpha), np.ones(len(faces.unit), np.bool_)
    return Outcome(name, {kind: rate(verdict == kind, everyone, faces.unit, resamples) for kind in (PASS, REFER, FAIL)})


def gaps(scores: Sequence[GateScore]) -> tuple[GateGap, ...]:
    """The worst group by each rate in WORST, and how far it is from the best; unknown and small groups aside.

    There is none of a rate that is the same in all groups.
    """
    found = []
    for name, high_is_worst in WORST.items():
        known = [one for one in scores if one.name != UNKNOWN and large(one.rates[name])]
        if len(known) < 2:
            continue
        ranked = sorted(known, key=lambda one: one.rates[name].value or 0.0, reverse=not high_is_worst)
        best, worst = ranked[0], ranked[-1]
        if best.rates[name].value == worst.rates[name].value:
            continue
        high, low = (worst, best) if high_is_worst else (best, worst)
        found.append(GateGap(name, best.name, worst.name, *difference(high.rates[name], low.rates[name])))
    return tuple(found)


def _sided(prefix: str, passed: Flags, faces: Faces, threshold: int, resamples: int) -> dict[str, Rate]:
    among = {
        "fpr": faces.aged(0, threshold),
        "fpr_near": faces.aged(max(0, threshold - NEAR), threshold),
        "tpr": faces.aged(threshold),
    }
    return {prefix + name: rate(passed, rows, faces.unit, resamples) for name, rows in among.items()}


def _score(name: str, faces: Faces, rule: Rule, alpha: float | None, resamples: int) -> GateScore:
    return GateScore(name, len(faces.unit), rates(faces, rule, alpha, resamples), nist_error(faces, resamples))


def _by(
    names: NDArray[np.str_], faces: Faces, rule: Rule, alpha: float | None, resamples: int
) -> tuple[GateScore, ...]:
    found = sorted(set(names.tolist()), key=lambda name: (name == UNKNOWN, name))
    return tuple(_score(name, faces[names == name], rule, alpha, resamples) for name in found)


def _ages(rule: Rule) -> list[int]:
    """The challenge ages of the curve; the rule's own is always one."""
    return sorted({*range(rule.threshold, min(rule.threshold + CURVE, int(AGES[-1])) + 1), rule.buffer})


def _named(faces: Faces, rule: Rule) -> tuple[dict[str, Flags], dict[str, Flags]]:
    """The faces of each band of age, and of each year around the rule's ages; where only groups are known, of each."""
    if (faces.least != faces.most).all():
        names = group_names(faces.least, np.floor(faces.most))
        order = dict.fromkeys(names[np.lexsort([faces.most, faces.least])].tolist())
        groups = {name: names == name for name in order}
        return groups, groups
    edges = sorted({0, max(0, rule.threshold - NEAR), rule.threshold, rule.buffer, rule.buffer + 5})
    bands = {
        f"{first}-{over - 1}" if over - 1 > first else f"{first}": faces.aged(first, over)
        for first, over in pairwise(edges)
    }
    bands[f"{edges[-1]}+"] = faces.aged(edges[-1])
    years = {f"{age}": faces.aged(age, age + 1) for age in range(max(0, rule.threshold - 8), rule.buffer + 6)}
    return bands, {name: rows for name, rows in years.items() if rows.any()}
