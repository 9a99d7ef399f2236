"""A report in plain words: what was measured and what came out, without a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agewise.ages import LEVEL
from agewise.evaluation.groups import CONFIDENCE, FEWEST_FACES, UNKNOWN, Estimate, Score
from agewise.evaluation.report.values import Report
from agewise.metrics import FEWEST

KEPT = 0.5
"""The share of the faces, the most certain ones, whose error is told."""


def summary(report: Report) -> list[str]:
    """Sentences for who reads no table: faces and drops, error, worst band and groups, coverage, uncertainty."""
    return [
        " ".join([_faces(report), _error(report)]),
        " ".join(_extremes(report)),
        " ".join(_certainty(report)),
    ]


def no_interval(report: Report) -> str:
    """Which bands and groups have no interval, in a sentence; empty where all have one."""
    few = [
        f"{column} {one.name} ({one.n})"
        for column, scores in report.parts().items()
        for one in scores
        if one.n and any(estimate.interval is None for estimate in one.metrics.values())
    ]
    everyone = any(estimate.interval is None for estimate in report.overall.metrics.values())
    if not few and not everyone:
        return ""
    whose = f"all faces ({report.overall.n}), " * everyone + ", ".join(few)
    return f"No interval is given for fewer than {FEWEST} {report.resampled}: {whose.removesuffix(', ')}"


def _faces(report: Report) -> str:
    scored, dropped = report.overall.n, sum(report.overall.dropped.values())
    scored_of = f"{report.model} was scored on {scored} face{'s' * (scored != 1)} of {report.manifest}"
    return f"{scored_of}; {dropped or 'none'} {'were' if dropped != 1 else 'was'} dropped."


def _error(report: Report) -> str:
    found = report.overall.metrics
    if report.labels == "age":
        off = (
            f"On average it is off by {_years(found['mae'])}; {_percent(found['cs5'])} of the faces are within 5 years."
        )
        side = "old" if found["bias"].value > 0 else "young"
        return f"{off} Faces are judged {abs(found['bias'].value):.2f} years too {side} on average."
    return (
        f"On average it is {_years(found['excess'])} outside the known age group; "
        f"{_percent(found['exact_group'])} of the faces are inside it."
    )


def _extremes(report: Report) -> Iterator[str]:
    """The worst band of age and the worst group of each column."""
    for column, scores in report.parts().items():
        gap = report.gaps.get(column)
        if gap is None:
            yield f"By {column} nothing is compared: {_too_few(scores)}."
            continue
        by_name = {one.name: one.metrics[gap.metric] for one in scores if one.n}
        yield (
            f"By {column} the error is largest for {gap.worst}, {by_name[gap.worst].value:.2f} years, and smallest for "
            f"{gap.best}, {by_name[gap.best].value:.2f}: a gap of {_years(gap.difference)}{_left_out(scores)}."
        )


def _too_few(scores: Sequence[Score]) -> str:
    large = sum(one.n >= FEWEST_FACES and one.name != UNKNOWN for one in scores)
    return (
        f"{large} of its groups ha{'s' if large == 1 else 've'} the {FEWEST_FACES} faces that it takes, two are needed"
    )


def _left_out(scores: Sequence[Score]) -> str:
    few = sum(0 < one.n < FEWEST_FACES and one.name != UNKNOWN for one in scores)
    return f", without {few} group{'s' * (few != 1)} of fewer than {FEWEST_FACES} faces" if few else ""


def _certainty(report: Report) -> Iterator[str]:
    found = report.overall.metrics
    if "coverage" in found:
        yield (
            f"Its {100 * LEVEL:.0f} % intervals hold {_percent(found['coverage'])} of the known ages and are "
            f"{found['width'].value:.1f} years wide on average."
        )
    if report.overall.n > 1:
        off = "off by {} years" if report.labels == "age" else "{} years outside the known group"
        said = off.format(f"{report.curves.risk.kept[KEPT]:.2f}")
        yield f"On the half of the faces that it is most certain of it is {said} on average."


def _years(one: Estimate) -> str:
    return f"{one.value:.2f} years{_bounds(one.interval, 1, 2)}"


def _percent(one: Estimate) -> str:
    return f"{100 * one.value:.1f} %{_bounds(one.interval, 100, 1)}"


def _bounds(interval: tuple[float, float] | None, scale: int, digits: int) -> str:
    if interval is None:
        return ""
    low, high = (f"{scale * end:.{digits}f}" for end in interval)
    return f" ({100 * CONFIDENCE:.0f} % interval {low} to {high})"
