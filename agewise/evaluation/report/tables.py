"""The sections of a report: its pictures and its tables of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agewise.ages import LEVEL
from agewise.evaluation.groups import FEWEST_FACES, MAIN, Score
from agewise.evaluation.page import Table
from agewise.evaluation.report.curves import Curves
from agewise.evaluation.report.error_curves import Cumulative
from agewise.evaluation.report.values import AGE, METRICS, Report, as_shown

COLUMNS = 3
"""Pairs of columns of the cumulative score, whose 21 years are one long column otherwise."""


def everyone(report: Report) -> Table:
    """Each metric over all faces."""
    rows = [
        [METRICS[key].title, as_shown(key, estimate), str(estimate.n), METRICS[key].says]
        for key, estimate in report.overall.metrics.items()
    ]
    return "All faces", ["metric", "value", "faces", "what it says"], rows


def by(column: str, scores: Sequence[Score], report: Report) -> Table:
    """Each metric by group."""
    keys = list(report.overall.metrics)
    head = [column, "faces", "dropped", *(METRICS[key].title for key in keys)]
    return f"By {column}", head, [_cells(score, keys) for score in scores]


def gaps(report: Report) -> Table:
    """The worst and the best group of each column."""
    title = METRICS[MAIN[report.labels]].title
    rows = []
    for column, scores in report.parts().items():
        gap = report.gaps.get(column)
        if gap is None:
            rows.append([column, f"fewer than two groups of {FEWEST_FACES} faces", "", "", "", ""])
            continue
        by_name = {one.name: as_shown(gap.metric, one.metrics[gap.metric]) for one in scores if one.n}
        ends = gap.worst, by_name[gap.worst], gap.best, by_name[gap.best]
        rows.append([column, *ends, as_shown(gap.metric, gap.difference)])
    return "Worst groups and gaps", ["by", "worst", title, "best", title, "gap, years"], rows


def curves(found: Curves, title: str) -> Iterator[Table]:
    """The agreement, the cumulative score, stated and found coverage, risk by coverage."""
    if found.agreement:
        one = found.agreement
        limits = {"mean difference": one.bias, "lower 95 % limit": one.lower, "upper 95 % limit": one.upper}
        rows = [[name, as_shown("bias", value)] for name, value in limits.items()]
        yield (
            "Agreement",
            ["predicted minus known", "years"],
            [*rows, ["between the limits", f"{100 * one.inside:.1f} %"]],
        )
    yield "Cumulative score", ["k, years", "CS@k"] * COLUMNS, _cumulative(found.cumulative)
    yield from calibration(found)
    rows = [[f"{kept:.0%}", f"{error:.2f}"] for kept, error in found.risk.kept.items()]
    area = [
        ["area under the curve", f"{found.risk.area:.2f}"],
        ["the same, largest errors left out first", f"{found.risk.best:.2f}"],
    ]
    yield "Risk and coverage", ["faces kept, the most certain ones", f"{title}, years"], [*rows, *area]


def calibration(found: Curves) -> Iterator[Table]:
    """Stated and found coverage, and the mean width."""
    if found.reliability:
        rows = [
            [f"{one.stated:.0%}", as_shown("coverage", one.coverage), as_shown("width", one.width)]
            for one in found.reliability.levels
        ]
        yield "Stated and found coverage", ["stated", "known ages inside", "mean width, years"], rows


def worst(report: Report) -> Table:
    """The faces with the largest errors, by row of the manifest."""
    head = ["row of the manifest", f"known {AGE if report.labels == 'age' else 'group'}", "predicted"]
    head += [f"{LEVEL:.0%} interval", "years off"]
    rows = [
        [str(one.row), one.known, f"{one.pred:.1f}", f"{one.low:.1f} to {one.high:.1f}", f"{one.off:.1f}"]
        for one in report.worst
    ]
    return f"The {len(rows)} worst faces", head, rows


def _cells(score: Score, keys: Sequence[str]) -> list[str]:
    counts = [score.name, str(score.n), str(sum(score.dropped.values()))]
    return [*counts, *(as_shown(key, score.metrics[key]) if key in score.metrics else "" for key in keys)]


def _cumulative(found: Cumulative) -> list[list[str]]:
    shares = zip(found.share.tolist(), found.low.tolist(), found.high.tolist(), strict=True)
    pairs = [[str(k), _share(*share)] for k, share in enumerate(shares)]
    height = -(-len(pairs) // COLUMNS)
    return [[cell for pair in pairs[row::height] for cell in pair] for row in range(height)]


def _share(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} %" + (f" [{100 * low:.1f}, {100 * high:.1f}]" if low == low else "")
