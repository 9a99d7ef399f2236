"""What an age gate lets through: predicted ages as decisions on a legal age, scored after NIST's FATE AEV (IR 8525).

Ages are completed years: 14 to 17 holds the true ages from 14 up to, but not, 18. A face of which only the age group is
known is on one side of an age if its whole group is; one whose group holds faces of both sides is on neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import AGES
from agewise.data.manifest import ManifestError, metadata, read_manifest
from agewise.evaluation.evaluate import kinds_of, names_of
from agewise.evaluation.gate.faces import Faces, read_faces, why_dropped
from agewise.evaluation.gate.nist_cells import nist_error
from agewise.evaluation.gate.rule import FAIL, NEAR, PASS, REFER, Rule, alpha_within, verdicts
from agewise.evaluation.gate.values import GateGap, GateReport, GateScore, Outcome, Point
from agewise.evaluation.groups import UNKNOWN, group_names
from agewise.evaluation.predictions import PREDICTED
from agewise.evaluation.rates import Flags, Rate, difference, large, rate

CURVE = 15
"""Years above the legal age up to which the curve of challenge ages goes."""

BUDGETS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
"""Shares of the adults that may be referred, at which false positives are told."""

CHILD, TEEN, OLDER = (8, 13), (13, 17), (17, 23)
"""Child online safety: the ages (first, and the one at which it is over) of those to let in, and of those around."""

WORST: dict[str, bool] = {"fpr_near": True, "fpr": True, "tpr": False, "bound_fpr_near": True, "bound_refer": True}
"""The rates by which groups are compared, and whether the highest is the worst."""


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
