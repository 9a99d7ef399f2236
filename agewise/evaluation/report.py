"""A report as JSON for programs, Markdown for repositories and one self-contained HTML page for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agewise.ages import LEVEL, Decision
from agewise.data.replacing import replacing
from agewise.evaluation.groups import CONFIDENCE, FEWEST_FACES, Estimate, Gap, Labels, Score
from agewise.evaluation.page import html, markdown, png
from agewise.metrics import Floats


@dataclass(frozen=True, slots=True)
class Report:
    """What a model scores on a manifest.

    labels: whether ages or only age groups are known. decision: which one age of a distribution is scored.
    audit: what is known of leaks. kinds: faces by kind of age (real, apparent ...), empty where it is not known.
    resampled: what the intervals draw, subjects or faces.
    groups, gaps: by column; absent: the columns asked for that the manifest has not.
    pred, true, band: predicted mean age, known age (NaN where only a group is known), both in years, and name of the
    band of each scored face (N,).
    """

    model: str
    manifest: str
    sha256: str
    predictions: str
    labels: Labels
    decision: Decision
    audit: str
    kinds: Mapping[str, int]
    resampled: str
    overall: Score
    bands: tuple[Score, ...]
    groups: Mapping[str, tuple[Score, ...]]
    gaps: Mapping[str, Gap]
    absent: tuple[str, ...]
    pred: Floats
    true: Floats
    band: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is shown; `share` is one of 0..1 shown in percent."""

    title: str
    says: str
    share: bool = False


METRICS: dict[str, Metric] = {
    "mae": Metric("MAE", "mean absolute error, years"),
    "rmse": Metric("RMSE", "root of the mean squared error, years"),
    "cs5": Metric("CS@5", "faces with an error of at most 5 years", share=True),
    "bias": Metric("bias", "mean of predicted minus true age, years: above 0 is judged too old"),
    "crps": Metric("CRPS", "continuous ranked probability score of the distribution, years: lower is better"),
    "nll": Metric("NLL", "negative log-likelihood of the true age, nats: lower is better"),
    "coverage": Metric("coverage", f"faces whose true age is inside their {LEVEL:.0%} interval", share=True),
    "width": Metric("width", f"mean width of the {LEVEL:.0%} interval, years"),
    "epsilon_error": Metric("ε-error", "ChaLearn LAP error against the annotators' mean and spread, 0 to 1"),
    "excess": Metric("excess", "mean years by which predictions are outside the face's known age group"),
    "exact_group": Metric("exact group", "predictions inside the face's known age group", share=True),
}

COLOUR = "#33608c"
ACCENT = "#b3541e"


def write_report(report: Report, folder: Path | str) -> list[Path]:
    """Writes report.json, report.md and report.html into a folder, each complete or absent."""
    written = []
    for suffix, text in {"json": to_json(report), "md": to_markdown(report), "html": to_html(report)}.items():
        path = Path(folder) / f"report.{suffix}"
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def to_json(report: Report) -> str:
    """The scores as strict JSON: shares are 0..1, an interval is [low, high] or null."""
    said = {
        "model": report.model,
        "manifest": {"name": report.manifest, "sha256": report.sha256},
        "predictions": report.predictions,
        "labels": report.labels,
        "intervals": {"level": CONFIDENCE, "method": "percentile bootstrap", "resampled": report.resampled},
        "decision": report.decision,
        "audit": report.audit,
        "kinds": dict(report.kinds),
        "overall": _plain(report.overall),
        "bands": [_plain(score) for score in report.bands],
        "groups": {column: [_plain(score) for score in scores] for column, scores in report.groups.items()},
        "gaps": {
            column: {"metric": gap.metric, "best": gap.best, "worst": gap.worst, **_numbers(gap.difference)}
            for column, gap in report.gaps.items()
        },
        "absent": list(report.absent),
    }
    return json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(report: Report) -> str:
    """The scores as Markdown tables."""
    return markdown(heading(report), facts(report), list(tables(report)))


def to_html(report: Report) -> str:
    """One page with the figures inside it, which loads nothing from anywhere."""
    return html(heading(report), facts(report), list(tables(report)), figures(report))


def heading(report: Report) -> str:
    """What the page is of."""
    return f"Ages by {report.model} on {report.manifest}"


def facts(report: Report) -> list[str]:
    """What a reader must know of the scores: N, the dropped faces and why, the files, the intervals, the gaps."""
    overall = report.overall
    dropped = sum(overall.dropped.values())
    why = "; ".join(f"{reason} ({count})" for reason, count in overall.dropped.items())
    gaps = [
        f"Gap by {column}: {gap.worst} is {as_shown(gap.metric, gap.difference)} years above {gap.best} "
        f"({METRICS[gap.metric].title}; groups of at least {FEWEST_FACES} faces)"
        for column, gap in report.gaps.items()
    ]
    mixed = ". These are different questions, mixed in one score" if len(report.kinds) > 1 else ""
    return [
        f"{overall.n} faces scored, {dropped} dropped" + (f": {why}" if why else ""),
        f"Known of each face: {'its age' if report.labels == 'age' else 'only its age group'}; "
        f"scored is the {report.decision} of its distribution",
        f"Manifest {report.manifest}, SHA-256 {report.sha256}; predictions {report.predictions}",
        f"Brackets: {CONFIDENCE:.0%} percentile bootstrap intervals, {report.resampled} resampled",
        report.audit,
        *([f"Kinds of age: {_counted(report.kinds)}{mixed}"] if report.kinds else []),
        *gaps,
        *(f"The manifest has no column {column}" for column in report.absent),
    ]


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def tables(report: Report) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Each table as its title, its head and its rows of text."""
    shown = [
        [METRICS[key].title, as_shown(key, estimate), str(estimate.n), METRICS[key].says]
        for key, estimate in report.overall.metrics.items()
    ]
    yield "All faces", ["metric", "value", "faces", "what it says"], shown
    for title, scores in {"age": report.bands, **report.groups}.items():
        keys = list(report.overall.metrics)
        head = [title, "faces", "dropped", *(METRICS[key].title for key in keys)]
        yield f"By {title}", head, [_cells(score, keys) for score in scores]


def figures(report: Report) -> dict[str, bytes]:
    """PNG files by title: the error by band of age, and predicted against true ages."""
    keys = ("mae", "bias") if report.labels == "age" else ("excess", "exact_group")
    by_band = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, key, colour in zip(by_band.subplots(1, 2), keys, (COLOUR, ACCENT), strict=True):
        _by_band(axes, report.bands, key, colour)
    against = Figure(figsize=(6.4, 5.2), layout="constrained")
    if report.labels == "age":
        _against_ages(against, report)
    else:
        _against_groups(against, report)
    return {"Error by age": png(by_band), "Predicted and known ages": png(against)}


def _by_band(axes: Axes, scores: Sequence[Score], key: str, colour: str) -> None:
    found = [(score.name, score.metrics[key]) for score in scores if key in score.metrics]
    scale = 100 if METRICS[key].share else 1
    for place, (_, one) in enumerate(found):
        axes.bar(place, scale * one.value, color=colour, width=0.7)
        if one.interval is not None:
            axes.vlines(place, scale * one.interval[0], scale * one.interval[1], color="black", linewidth=1.2)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(found)), [f"{name}\n{one.n}" for name, one in found], fontsize=8)
    axes.set_xlabel("true age, years, and number of faces")
    axes.set_ylabel("%" if METRICS[key].share else "years")
    axes.set_title(METRICS[key].title)


def _against_ages(figure: Figure, report: Report) -> None:
    axes = figure.subplots()
    top = float(max(report.true.max(), report.pred.max())) + 2
    drawn = axes.hexbin(
        report.true, report.pred, gridsize=40, extent=(0, top, 0, top), mincnt=1, bins="log", cmap="viridis"
    )
    axes.plot([0, top], [0, top], color=ACCENT, linewidth=1.2)
    figure.colorbar(drawn, label="faces")
    axes.set(xlabel="true age, years", ylabel="predicted age, years", xlim=(0, top), ylim=(0, top), aspect="equal")


def _against_groups(figure: Figure, report: Report) -> None:
    axes = figure.subplots()
    names = [score.name for score in report.bands if score.n]
    axes.boxplot([report.pred[report.band == name] for name in names], whis=(5, 95), showfliers=False)
    axes.set_xticks(range(1, len(names) + 1), names, fontsize=8)
    axes.set(xlabel="known age group, years", ylabel="predicted age, years (box: quartiles; whiskers: 5 % to 95 %)")
    axes.grid(axis="y", alpha=0.3)


def _cells(score: Score, keys: Sequence[str]) -> list[str]:
    counts = [score.name, str(score.n), str(sum(score.dropped.values()))]
    return [*counts, *(as_shown(key, score.metrics[key]) if key in score.metrics else "" for key in keys)]


def as_shown(key: str, estimate: Estimate) -> str:
    """A value and its interval: `4.21 [4.05, 4.38]`, a share in percent."""
    scale, digits = (100, 1) if METRICS[key].share else (1, 3 if key == "epsilon_error" else 2)
    value = f"{scale * estimate.value:.{digits}f}{' %' if METRICS[key].share else ''}"
    if estimate.interval is None:
        return value
    return f"{value} [{scale * estimate.interval[0]:.{digits}f}, {scale * estimate.interval[1]:.{digits}f}]"


def _plain(score: Score) -> dict[str, Any]:
    metrics = {key: _numbers(estimate) for key, estimate in score.metrics.items()}
    return {"name": score.name, "n": score.n, "dropped": dict(score.dropped), "metrics": metrics}


def _numbers(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "interval": estimate.interval, "n": estimate.n}
