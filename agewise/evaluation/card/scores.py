"""The part of a card that shows a report: every score with its N and interval, gaps, corruptions, what is weak."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agewise.ages import LEVEL
from agewise.evaluation.card.onnx_file import ModelFile
from agewise.evaluation.card.prose import bullets, paragraphs, table
from agewise.evaluation.card.records import ReportSaid, RobustnessSaid
from agewise.evaluation.groups import FEWEST_FACES, Estimate, Labels
from agewise.evaluation.report.values import AGE, METRICS, as_shown, counted
from agewise.evaluation.robustness import scores as corrupted

SHOWN: dict[Labels, tuple[str, ...]] = {
    "age": ("mae", "bias", "cs5", "coverage", "crps", "epsilon_error"),
    "group": ("excess", "exact_group"),
}
"""The metrics of a card's tables, where a report has them."""
GROUPS = ("sex", "ethnicity")
"""The columns that `agewise evaluate` takes where none are named."""
FAR = 3.0
"""Years of bias, or outside the known group, from which a band of age is named among the weaknesses."""
HELD = 0.8
"""A band in which fewer of the ages are inside their interval is named there too."""


def report_lines(report: ReportSaid, model: ModelFile) -> list[str]:
    """A report: how it is made again and of which data, its tables, its words."""
    known = "exact ages" if report.labels == "age" else "age groups"
    lines = [f"### {report.manifest.name}: {known}, N = {count(report.overall.n)}", ""]
    lines += paragraphs(" ".join(_origin(report, model)))
    lines += _scores(report)
    if report.gaps:
        lines += [*_gaps(report)]
    lines += paragraphs(" ".join(report.summary))
    return lines + (_corruptions(report.robustness, model) if report.robustness else [])


def weak(report: ReportSaid) -> Iterator[str]:
    """The bands of age in which a model is far off, or its intervals do not hold, in sentences."""
    name, dropped = report.manifest.name, sum(report.overall.dropped.values())
    if dropped:
        yield f"{name}: {count(dropped)} faces have no score: {counted(report.overall.dropped)}."
    metric = "bias" if report.labels == "age" else "excess"
    found = [(band.name, band.metrics[metric]) for band in report.bands if metric in band.metrics]
    worst = sorted((one for one in found if _far(one[1])), key=lambda one: -abs(one[1].value))
    if worst:
        said = [f"**{band}** {_off(metric, one)} (N = {count(one.n)})" for band, one in worst]
        yield f"{name}, bands of age that are {FAR:g} years or more off: {'; '.join(said)}."
    inside = [(band.name, band.metrics["coverage"]) for band in report.bands if "coverage" in band.metrics]
    loose = [f"{as_shown('coverage', one)} of {band} (N = {count(one.n)})" for band, one in inside if one.value < HELD]
    if loose:
        yield f"{name}: the {100 * LEVEL:.0f} % interval, there too narrow, holds the ages of only {'; '.join(loose)}."


def count(number: int) -> str:
    """A number of faces.

    >>> count(9954)
    '9,954'
    """
    return f"{number:,}"


def manifest_said(name: str, sha256: str, model: ModelFile) -> str:
    """A manifest by its hash, and what the model's run did with it."""
    role = model.trained_on(sha256)
    said = f"Manifest {name}, SHA-256 `{sha256}`"
    fitted = " **The calibration in the file was fitted on these faces.**" if model.fitted_on(sha256) else ""
    if role == "trained":
        return f"**{said}: these are the faces that the model was trained on; this is no test.**"
    if role:
        return f"{said}: the run was validated on this file.{fitted}"
    known = {path.rpartition("/")[2] for path in model.said.run.manifests}
    changed = ": the run had a file of this name with other content" if name in known else ""
    return f"{said}{changed}.{fitted}"


def _origin(report: ReportSaid, model: ModelFile) -> Iterator[str]:
    yield f"`{_command(report, model)}`."
    yield manifest_said(report.manifest.name, report.manifest.sha256, model)
    if report.protocol:
        yield f"Protocol: {report.protocol}."
    why = counted(report.overall.dropped)
    dropped = sum(report.overall.dropped.values())
    yield f"{count(report.overall.n)} faces scored, {count(dropped)} dropped{f': {why}' if why else ''};"
    yield f"brackets: {100 * report.intervals.level:.0f} % bootstrap intervals, {report.intervals.resampled} resampled."
    if report.kinds:
        yield f"Kinds of age: {counted(report.kinds)}."
    if report.absent:
        yield f"It has no column {', '.join(report.absent)}."
    yield f"{report.audit.rstrip('.')}."


def _command(report: ReportSaid, model: ModelFile) -> str:
    words = ["agewise evaluate", model.called, report.manifest.name]
    columns = [*report.groups, *report.absent]
    if sorted(columns) != sorted(GROUPS):
        words.append(f"--groups {','.join(columns) or chr(34) * 2}")
    if report.decision != "mean":
        words.append(f"--decision {report.decision}")
    return " ".join(words)


def _scores(report: ReportSaid) -> list[str]:
    keys = [key for key in SHOWN[report.labels] if key in report.overall.metrics]
    dropped = any(sum(one.dropped.values()) for part in report.parts().values() for one in part)
    head = ["", "N", *(["dropped"] if dropped else []), *map(_title, keys)]
    rows = [
        [
            f"{column}: {one.name}" if column not in ("", AGE) else one.name,
            count(one.n),
            *([count(sum(one.dropped.values()))] if dropped else []),
            *(as_shown(key, one.metrics[key]) if key in one.metrics else "" for key in keys),
        ]
        for column, part in report.parts().items()
        for one in part
    ]
    return table(head, rows)


def _title(key: str) -> str:
    metric = METRICS[key]
    if key == "coverage":
        return f"inside the {100 * LEVEL:.0f} % interval"
    years = "" if metric.share or key == "epsilon_error" else ", years"
    return f"{'outside the group' if key == 'excess' else metric.title}{years}"


def _gaps(report: ReportSaid) -> list[str]:
    parts, rows = report.parts(), []
    for column, gap in report.gaps.items():
        sizes = {one.name: count(one.n) for one in parts.get(column, [])}
        difference = as_shown(gap.metric, Estimate(gap.value, gap.interval, gap.n))
        ends = (f"{name} ({sizes.get(name, 'unknown')})" for name in (gap.worst, gap.best))
        rows.append([column, *ends, difference])
    title = _title(next(iter(report.gaps.values())).metric)
    head = ["gap by", "worst (N)", "best (N)", f"difference: {title}; groups of at least {FEWEST_FACES} faces"]
    return table(head, rows)


def _corruptions(found: RobustnessSaid, model: ModelFile) -> list[str]:
    main, *others, rise = corrupted.METRICS[found.labels]
    rows = {"not corrupted": found.clean, **found.means, **found.kinds}
    cells = [
        [name, count(one.n), *(_years(one.metrics, metric) for metric in (main, rise, *others))]
        for name, one in rows.items()
    ]
    asked = f" --limit {found.manifest.limit}" if found.manifest.limit is not None else ""
    command = f"agewise robustness {model.called} {found.manifest.name}{asked}"
    how = f"profile {found.corruptions.profile}, seed {found.corruptions.seed}, mean over five severities"
    says = bullets([f"{metric}: {words}" for metric, words in corrupted.METRICS[found.labels].items()])
    head = ["under", "N", main, rise, *others]
    return [*paragraphs(f"Under corruptions: `{command}`; {how} (docs/corruptions.md)."), *table(head, cells), *says]


def _years(metrics: Mapping[str, Estimate], metric: str) -> str:
    if metric not in metrics:
        return ""
    return as_shown(metric if metric in METRICS else "bias", metrics[metric])  # shift and rise are years as a bias is


def _far(one: Estimate) -> bool:
    """Whether a band is FAR off, and its interval is all on that side of 0: a few faces may be so by chance."""
    return abs(one.value) >= FAR and one.interval is not None and one.interval[0] * one.interval[1] > 0


def _off(metric: str, one: Estimate) -> str:
    if metric == "excess":
        return f"{as_shown(metric, one)} outside the group"
    if one.value > 0 or one.interval is None:
        return f"{as_shown(metric, one)} too old"
    low, high = one.interval
    return f"{as_shown(metric, Estimate(-one.value, (-high, -low), one.n))} too young"
