"""What an age gate lets through, in words: what each rate is called, the facts, and every table as rows of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agewise.evaluation.gate.nist_cells import CELLS, FEWEST_IN_CELL, Cells
from agewise.evaluation.gate.rule import FAIL, NEAR, PASS, REFER, Rule
from agewise.evaluation.gate.values import GateReport, GateScore
from agewise.evaluation.groups import CONFIDENCE, FEWEST_FACES
from agewise.evaluation.rates import Rate, large
from agewise.metrics import FEWEST

Table = tuple[str, list[str], list[list[str]]]
"""Title, head and rows of text."""


def titles(rule: Rule) -> dict[str, tuple[str, str]]:
    """Of each rate in gate.rates: how it is called and what it says."""
    age, near, bound = rule.threshold, near_name(rule), f"P(age < {rule.threshold}) is at most {rule.alpha:g}"
    at = f"Challenge-{rule.buffer}"
    within = f"bound at {rule.budget:.0%} referred"
    false, true = f"false positives: faces below {age}", f"true positives: faces of {age} or older"
    return {
        "fpr": (f"{at} FPR", f"{false} estimated at {rule.buffer} or older"),
        "fpr_near": (f"{at} FPR {near}", f"the same of the faces of {near}"),
        "tpr": (f"{at} TPR {age}+", f"{true} estimated at {rule.buffer} or older"),
        "tpr_buffer": (f"{at} TPR {rule.buffer}+", f"the same of the faces of {rule.buffer} or older"),
        "bound_fpr": ("bound FPR", f"{false} that pass as {bound}"),
        "bound_fpr_near": (f"bound FPR {near}", f"the same of the faces of {near}"),
        "bound_tpr": (f"bound TPR {age}+", f"{true} that pass so"),
        "bound_refer": (f"referred {age}+", f"faces of {age} or older that are referred to another check"),
        "bound_fail": (f"failed {age}+", f"faces of {age} or older that fail as P(age >= {age}) is that small"),
        "budget_fpr": (f"{within}, FPR", f"{false} that pass if so many of {age} or older may be referred"),
        "budget_fpr_near": (f"{within}, FPR {near}", f"the same of the faces of {near}"),
        "budget_tpr": (f"{within}, TPR {age}+", f"{true} that pass then"),
        "teen_tpr": ("13-16 TPR", "faces of 13 to 16 estimated as 13 to 16 (child online safety)"),
        "child_fpr": ("13-16 FPR 8-12", "faces of 8 to 12 estimated as 13 to 16"),
        "older_fpr": ("13-16 FPR 17-22", "faces of 17 to 22 estimated as 13 to 16"),
    }


def near_name(rule: Rule) -> str:
    """The ages of the hardest minors.

    >>> near_name(Rule())
    '14-17'
    """
    first, last = max(0, rule.threshold - NEAR), rule.threshold - 1
    return f"{first}-{last}" if first < last else f"{last}"


def facts(report: GateReport) -> list[str]:
    """What a reader must know of the rates: the rule, N, the labels, the intervals, and what cannot be said."""
    rule = report.rule
    why = "; ".join(f"{reason} ({count})" for reason, count in report.dropped.items())
    grouped = f"; of {report.grouped} faces only the age group is known" if report.grouped else ""
    if report.straddling:
        grouped += f"; {report.straddling} have a group on both sides of {rule.threshold} and count on neither"
    facts = [
        f"{report.overall.n} faces scored, {sum(report.dropped.values())} dropped" + (f": {why}" if why else ""),
        f"Challenge-{rule.buffer}: a face passes if its estimate (the {rule.decision} of its distribution) is at least "
        f"{rule.buffer}",
        f"Bound: it passes if P(age < {rule.threshold}) is at most {rule.alpha:g}, fails if P(age >= {rule.threshold}) "
        "is, else it is referred. These odds are the model's own: the measured rates say whether they hold",
        f"Ages are completed years{grouped}",
        _kinds(report),
        f"Manifest {report.manifest}, SHA-256 {report.sha256}; predictions {report.predictions}",
        _intervals(report),
    ]
    if report.budget_alpha is not None:
        facts.append(
            f"At most {rule.budget:.0%} of these adults are referred with an alpha of {report.budget_alpha:.4g}, which "
            "was chosen on these faces"
        )
    facts += [f"The manifest has no column {column}" for column in report.absent]
    return facts + missing(report)


def missing(report: GateReport) -> list[str]:
    """What the manifest's faces cannot say."""
    rule, found = report.rule, report.overall.rates
    near = near_name(rule)
    sentences = {
        "fpr": f"No face is known to be below {rule.threshold}: no false positives can be counted",
        "fpr_near": f"No face is known to be {near}: nothing is said of these, the hardest minors",
        "tpr": f"No face is known to be {rule.threshold} or older: no true positives, no referrals, no budgets",
        "tpr_buffer": f"No face is known to be {rule.buffer} or older",
        "teen_tpr": "No face is known to be 13 to 16: no true positives of child online safety",
        "child_fpr": "No face is known to be 8 to 12: no false positives of child online safety among children",
        "older_fpr": "No face is known to be 17 to 22: no false positives of child online safety among the older",
    }
    said = [sentence for name, sentence in sentences.items() if not found[name].n]
    if report.overall.nist.error is None:
        said.append(f"No cell of NIST's MAE has {FEWEST_IN_CELL} faces of known sex (column sex) and age")
    return said


def tables(report: GateReport) -> Iterator[Table]:
    """Each table as its title, its head and its rows of text."""
    rule, named = report.rule, titles(report.rule)
    near, adults = near_name(rule), f"{rule.threshold}+"
    rows = [[named[key][0], shown(one), str(one.n), named[key][1]] for key, one in _given(report.overall.rates)]
    nist = report.overall.nist
    if nist.error:
        rows.append(["NIST MAE", _years(nist), str(nist.error.n), _cells(nist)])
    yield "All faces", ["rate", "value", "faces", "what it says"], rows
    head = ["an estimate of at least", "FPR", f"FPR {near}", f"TPR {adults}"]
    yield "Challenge ages", head, [[f"{point.at:g}", *map(shown, point.rates.values())] for point in report.curve]
    if report.budgets:
        head = [f"{adults} referred at the most", "alpha", "FPR", f"FPR {near}", f"TPR {adults}", f"referred {adults}"]
        yield (
            "False positives at a fixed share of referred adults",
            head,
            [[f"{point.budget:.0%}", f"{point.at:.4g}", *map(shown, point.rates.values())] for point in report.budgets],
        )
    head = ["true age", "faces", PASS, REFER, FAIL]
    rows = [[one.name, str(one.shares[PASS].n), *map(shown, one.shares.values())] for one in report.bands]
    yield f"Pass, refer or fail by true age (alpha {rule.alpha:g})", head, rows
    for column, scores in report.groups.items():
        yield from _by(column, scores, report)


def _by(column: str, scores: tuple[GateScore, ...], report: GateReport) -> Iterator[Table]:
    """The rates of each group in two tables, and the worst groups."""
    named = titles(report.rule)
    first = [key for key, _ in _given(report.overall.rates) if not key.startswith(("bound_", "budget_"))]
    second = [key for key, _ in _given(report.overall.rates) if key not in first]
    rows = [[one.name, str(one.n), *(_of(one.rates[key]) for key in first), _years(one.nist)] for one in scores]
    yield f"Estimates by {column}", [column, "faces", *(named[key][0] for key in first), "NIST MAE"], rows
    rows = [[one.name, str(one.n), *(_of(one.rates[key]) for key in second)] for one in scores]
    yield f"Bounds by {column}", [column, "faces", *(named[key][0] for key in second)], rows
    worst = [
        [named[gap.rate][0], gap.worst, gap.best, _points(gap.difference, gap.interval)] for gap in report.gaps[column]
    ]
    if worst:
        yield f"Worst {column}", ["rate", "worst", "best", "gap, percentage points"], worst


def shown(one: Rate) -> str:
    """A share in percent and its interval.

    >>> shown(Rate(0.051, (0.028, 0.0839), 275)), shown(Rate(None, None, 0))
    ('5.1 % [2.8, 8.4]', '')
    """
    if one.value is None:
        return ""
    bounds = f" [{100 * one.interval[0]:.1f}, {100 * one.interval[1]:.1f}]" if one.interval else ""
    return f"{100 * one.value:.1f} %{bounds}"


def _of(one: Rate) -> str:
    """The same and of how many faces, marked where these are few."""
    return f"{shown(one)} of {one.n}{'' if large(one) else ' *'}" if one.n else ""


def _years(nist: Cells) -> str:
    if nist.error is None:
        return ""
    low_high = nist.error.interval
    bounds = f" [{low_high[0]:.2f}, {low_high[1]:.2f}]" if low_high else ""
    return f"{nist.error.value:.2f}{bounds} ({nist.cells}/{len(CELLS)} cells)"


def _cells(nist: Cells) -> str:
    thin = f"; {nist.thin} cells of fewer than {FEWEST_IN_CELL} faces left out" if nist.thin else ""
    return f"mean of {nist.cells} of the {len(CELLS)} cells of sex and age 18 to 30 of their MAE, years{thin}"


def _points(difference: float, interval: tuple[float, float] | None) -> str:
    bounds = f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else ""
    return f"{100 * difference:.1f}{bounds}"


def _kinds(report: GateReport) -> str:
    counts = ", ".join(f"{kind} ({count})" for kind, count in report.kinds.items())
    if set(report.kinds) == {"real"}:
        return "All ages are real"
    said = f"Kinds of age: {counts}" if counts else "The manifest does not say whether its ages are real"
    return f"{said}; a law means the real age, and an apparent or estimated one is not that"


def _intervals(report: GateReport) -> str:
    if report.resampled == "faces":
        how = "exact (Clopper and Pearson 1934), each face taken as another person's"
    else:
        how = "percentile bootstrap with subjects resampled; exact where each face, or the answer, is one a subject"
    return (
        f"Brackets: {CONFIDENCE:.0%} intervals, {how}; none for fewer than {FEWEST} subjects. "
        f"*: fewer than {FEWEST_FACES} faces, not compared with other groups"
    )


def _given(rates: Mapping[str, Rate]) -> list[tuple[str, Rate]]:
    """The rates that have a face."""
    return [(key, one) for key, one in rates.items() if one.n]
