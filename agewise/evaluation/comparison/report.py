"""A comparison of models as JSON, Markdown and one HTML page with its figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.figure import Figure

from agewise.data.replacing import replacing
from agewise.evaluation.comparison.compare import AGE, SHOWN, Comparison, Difference, Part, Trial
from agewise.evaluation.comparison.rank_figure import draw
from agewise.evaluation.comparison.significance import apart, chance
from agewise.evaluation.groups import CONFIDENCE, FEWEST_FACES, MAIN
from agewise.evaluation.page import Table, html, markdown, png
from agewise.evaluation.report.values import METRICS, as_shown


def write_compare(found: Comparison, folder: Path | str) -> list[Path]:
    """Writes compare.json, compare.md and compare.html into a folder, each complete or absent."""
    page = f"Comparison of {', '.join(found.models)}", facts(found), list(tables(found))
    files = {"json": to_json(found), "md": markdown(*page), "html": html(*page, figures(found))}
    written = [Path(folder) / f"compare.{suffix}" for suffix in files]
    for path, text in zip(written, files.values(), strict=True):
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return written


def to_json(found: Comparison) -> str:
    """The comparison as strict JSON: shares are 0..1, an interval is [low, high] or null."""
    ranked = {
        column: {
            **asdict(one),
            "ranks": one.ranks.tolist(),
            "statistic": one.statistic if isfinite(one.statistic) else None,  # all blocks order the models alike
            "p": chance(one),
            "apart": apart(one),
        }
        for column, one in found.rankings.items()
    }
    said = {
        "step": "compare",
        "intervals": {"level": CONFIDENCE, "method": "paired percentile bootstrap"},
        **{name: getattr(found, name) for name in ("models", "against", "decision")},
        "manifests": [asdict(trial) for trial in found.trials],
        "rankings": ranked,
    }
    return json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def facts(found: Comparison) -> list[str]:
    """What a reader must know: the faces, the intervals, how many verdicts there are, who is better."""
    parts = [part for trial in found.trials for part in (trial.overall, *sum(trial.parts.values(), ()))]
    verdicts = [one.verdict for part in parts for one in part.differences.values() if one.verdict != "too few"]
    said = [
        f"Scored is the {found.decision} of each distribution; differences are those from {found.against} on the same "
        "faces, in years: below 0 is better",
        f"Brackets: {CONFIDENCE:.0%} percentile bootstrap intervals: other faces, not other trainings. Better or "
        f"worse is said where a difference's leaves out 0, for at least {FEWEST_FACES} subjects; each stands alone: of "
        f"the {len(verdicts)} here about {(1 - CONFIDENCE) * len(verdicts):.0f} would do so by chance were all equal",
    ]
    for trial in found.trials:
        why = ": " * bool(trial.dropped) + "; ".join(f"{reason} ({count})" for reason, count in trial.dropped.items())
        faces = f"{trial.overall.n} faces scored, {sum(trial.dropped.values())} dropped for all{why}"
        says = f"{METRICS[MAIN[trial.labels]].title} is compared, by known {trial.labels}s, {trial.resampled} resampled"
        said.append(f"{trial.manifest}, SHA-256 {trial.sha256}: {faces}; {says}")
        said += [f"{trial.manifest} has no column {column}" for column in trial.absent]
    for column, one in found.rankings.items():
        pairs = "; ".join(f"{better} before {worse}" for better, worse in apart(one)) or "no pair"
        out = ", more than ranks can differ by" if one.critical >= len(one.names) - 1 else ""
        blocks = f"Ranks over {one.blocks} blocks by {column}, taken to share no face"
        critical = f"critical difference {one.critical:.2f}{out}"
        said.append(f"{blocks}: Friedman p {chance(one):.2g}, {critical}; told apart: {pairs}")
    return said


def tables(found: Comparison) -> Iterator[Table]:
    """Each table as its title, its head and its rows of text: by manifest all faces, each column and the gaps."""
    for trial in found.trials:
        metric, title, everyone = MAIN[trial.labels], METRICS[MAIN[trial.labels]].title, trial.overall
        keys = [key for key in SHOWN if key in everyone.scores[found.against].metrics]
        head = ["model", "faces", *(METRICS[key].title for key in keys), f"{title} less that of {found.against}"]
        less = everyone.differences
        rows = [
            [name, str(one.n), *(as_shown(key, one.metrics[key]) for key in keys), _less(less.get(name))]
            for name, one in everyone.scores.items()
        ]
        yield f"All faces of {trial.manifest}", head, rows
        head = [f"{title}, {name}" for name in found.models]
        head += [f"{name} less {found.against}" for name in everyone.differences]
        for column, parts in trial.parts.items():
            rows = [_cells(part, metric) for part in parts]
            yield f"{trial.manifest} by {column}", [column, "faces", *head], rows
        gaps = [(name, column, gap) for column, models in trial.gaps.items() for name, gap in models.items()]
        rows = [[name, column, gap.worst, gap.best, as_shown(metric, gap.difference)] for name, column, gap in gaps]
        yield f"Worst gaps on {trial.manifest}", ["model", "groups", "worst", "best", "gap, years"], rows
    head = ["blocks by", "blocks", *found.models, "critical difference", "Friedman p"]
    rows = [
        [column, str(one.blocks), *(f"{value:.2f}" for value in (*one.ranks, one.critical)), f"{chance(one):.2g}"]
        for column, one in found.rankings.items()
    ]
    if rows:
        yield "Mean ranks (1 is the best)", head, rows


def figures(found: Comparison) -> dict[str, bytes]:
    """PNG files by title: the differences by age on each manifest, and the critical difference of each ranking."""
    drawn = {f"Differences from {found.against} on {one.manifest}": png(_differences(one)) for one in found.trials}
    with TemporaryDirectory() as folder:
        for column, ranking in found.rankings.items():
            title = f"Mean ranks over {ranking.blocks} blocks by {column}"
            drawn[title] = draw(ranking, Path(folder) / "ranks.png").read_bytes()
    return drawn


def _differences(trial: Trial) -> Figure:
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    axes, parts, models = figure.subplots(), (trial.overall, *trial.parts[AGE]), list(trial.overall.differences)
    for number, name in enumerate(models):
        years = [part.differences[name].years for part in parts]
        places = np.arange(len(parts)) + 0.6 * ((number + 0.5) / len(models) - 0.5)
        axes.plot(places, [one.value for one in years], "o", markersize=4, color=f"C{number}", label=name)
        bounds = [one.interval or (one.value, one.value) for one in years]
        axes.vlines(places, *np.transpose(bounds), color=f"C{number}", linewidth=1.4)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(parts)), [f"{part.name}\n{part.n}" for part in parts], fontsize=8)
    axes.set(
        xlabel="true age, years, and number of faces",
        ylabel=f"difference of {METRICS[MAIN[trial.labels]].title}, years",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _cells(part: Part, metric: str) -> list[str]:
    values = [f"{one.metrics[metric].value:.2f}" for one in part.scores.values()]
    return [part.name, str(part.n), *values, *map(_less, part.differences.values())]


def _less(one: Difference | None) -> str:
    return f"{as_shown('mae', one.years)} {one.verdict}" if one else ""
