"""What a model scores on corrupted faces, read from the files of its predictions: tables, a heat map, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agewise.data.manifest import ManifestError, metadata, numbers, read_manifest
from agewise.data.replacing import replacing
from agewise.evaluation.corruptions import CATEGORIES, CORRUPTIONS, EXTRAS, SEVERITIES
from agewise.evaluation.corruptions.profiles import Profile
from agewise.evaluation.groups import CONFIDENCE, MAIN, UNKNOWN, Estimate, Faces, Labels, Score, score, score_by
from agewise.evaluation.page import markdown
from agewise.evaluation.robustness import CLEAN, PREDICTED, cell_path, known_ages, made_so
from agewise.metrics import Floats, covered, errors, excesses, inside_group

ALL = "all 13"
"""The mean over the paper's kinds without weights, each the mean over its severities."""

METRICS: dict[Labels, dict[str, str]] = {
    "age": {
        "mae": "mean absolute error, years",
        "bias": "mean of predicted minus true age, years",
        "coverage": "share of the true ages inside their 90 % interval",
        "shift": "mean of predicted minus clean predicted age, years",
        "rise": "mean absolute error less the clean one, years",
    },
    "group": {
        "excess": "mean years outside the known age group",
        "exact_group": "share of the predictions inside the known age group",
        "shift": "mean of predicted minus clean predicted age, years",
        "rise": "years outside the known age group less the clean ones",
    },
}
"""What is measured of each cell, and what it says; the first is the main one."""

NETWORKS = ("teacher", "SENet", "VGG", "DenseNet", "MN3-Large", "MN3-Small")
PUBLISHED: dict[str, tuple[str, ...]] = {
    CLEAN: ("about 5.4", "5.58", "5.58", "5.88", "5.65", "5.69"),
    "defocus_blur": ("18.53", "", "", "16.19", "", ""),
    "zoom_blur": ("", "6.42", "6.42", "", "", ""),
    "motion_blur": ("", "", "11.27", "", "", ""),
    "contrast_plus": ("", "6.20", "", "", "", ""),
    "contrast_minus": ("", "5.91", "", "", "", ""),
    "brightness_plus": ("", "6.23", "", "", "", ""),
    "brightness_minus": ("", "6.21", "", "", "", ""),
    "spatter": ("11.28", "", "", "", "", "8.91"),
    "blur": ("", "10.35", "10.33", "10.83", "11.39", "10.41"),
    "noise": ("", "6.96", "7.25", "7.33", "7.95", "7.59"),
    "digital": ("", "6.71", "6.94", "6.93", "6.83", "6.67"),
    ALL: ("8.07", "7.87", "8.03", "8.19", "8.40", "7.96"),
}
"""MAE in years on LFW+C of NETWORKS, trained on VMAGE, as far as known: Greco et al. (2021) and its released charts."""

Values = dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Robustness:
    """What a model scores on corrupted faces, each cell on the same ones.

    rows: of the manifest; limit: how many of them were asked for. seed, profile: of the corruptions.
    cells: by kind, one score a severity, which is its name. kinds: each kind's mean over its severities.
    means: of the paper's categories and ALL, where all five severities of all of their kinds are there.
    groups: by column, then by CLEAN, kind or mean: a score a group. absent: columns that the manifest has not.
    """

    model: str
    manifest: str
    sha256: str
    rows: int
    limit: int | None
    profile: Profile
    seed: int
    labels: Labels
    resampled: str
    clean: Score
    cells: Mapping[str, tuple[Score, ...]]
    kinds: Mapping[str, Score]
    means: Mapping[str, Score]
    groups: Mapping[str, Mapping[str, tuple[Score, ...]]]
    absent: tuple[str, ...]


def robustness(cells: Path, groups: Sequence[str] = (), *, resamples: int = 1000) -> Robustness:
    """The scores of all cells in the folder that `predict_cells` returns, and of each group in these columns.

    A mean over severities or kinds is one of each face first, so that its interval is over faces too. Raises
    ManifestError: no such cells, cells of several plans, or no face that can be scored.
    """
    table = read_manifest(cell_path(cells, CLEAN, 0), need=PREDICTED)
    said = metadata(cell_path(cells, CLEAN, 0))
    labels, base = _clean(cells, table)
    measured = {CLEAN: base}
    scores: dict[str, tuple[Score, ...]] = {}
    for kind in (*CORRUPTIONS, *EXTRAS):
        paths = {level: cell_path(cells, kind, level) for level in SEVERITIES}
        each = {level: _values(path, labels, table, base) for level, path in paths.items() if made_so(path, said)}
        if each:
            faces = {level: Faces(values, base.dropped, base.unit) for level, values in each.items()}
            scores[kind] = tuple(score(str(level), one, resamples) for level, one in faces.items())
            measured[kind] = _mean(list(faces.values()))
    for title, kinds in {**CATEGORIES, ALL: tuple(CORRUPTIONS)}.items():
        if all(len(scores.get(kind, ())) == len(SEVERITIES) for kind in kinds):
            measured[title] = _mean([measured[kind] for kind in kinds])
    overall = {title: score(title, faces, resamples) for title, faces in measured.items()}
    names = {column: _names(table, column) for column in groups if column in table.column_names}
    return Robustness(
        model=said["name"],
        manifest=said["manifest"],
        sha256=said["content"],
        rows=said["rows"],
        limit=said["limit"],
        profile=said["profile"],
        seed=said["seed"],
        labels=labels,
        resampled="subjects" if len(np.unique(base.unit)) < len(table) else "faces",
        clean=overall[CLEAN],
        cells=scores,
        kinds={kind: overall[kind] for kind in scores},
        means={title: overall[title] for title in (*CATEGORIES, ALL) if title in overall},
        groups={
            column: {title: score_by(by, faces, resamples) for title, faces in measured.items()}
            for column, by in names.items()
        },
        absent=tuple(column for column in groups if column not in names),
    )


def write_robustness(found: Robustness, folder: Path) -> list[Path]:
    """Writes robustness.json, robustness.md and robustness.png into a folder, each complete or absent."""
    written = []
    for suffix, text in {"json": to_json(found), "md": to_markdown(found)}.items():
        written.append(folder / f"robustness.{suffix}")
        with replacing(written[-1]) as partial:
            partial.write_text(text, encoding="utf-8")
    written.append(folder / "robustness.png")
    with replacing(written[-1]) as partial:
        heat_map(found).savefig(partial, format="png", dpi=110)
    return written


def to_json(found: Robustness) -> str:
    """The scores as strict JSON: shares are 0..1, an interval is [low, high] or null."""
    said = {
        "model": found.model,
        "manifest": {"name": found.manifest, "sha256": found.sha256, "rows": found.rows, "limit": found.limit},
        "corruptions": {"profile": found.profile, "seed": found.seed},
        "labels": found.labels,
        "metrics": METRICS[found.labels],
        "intervals": {"level": CONFIDENCE, "method": "percentile bootstrap", "resampled": found.resampled},
        "clean": _plain(found.clean),
        "cells": {kind: {one.name: _plain(one) for one in scores} for kind, scores in found.cells.items()},
        "kinds": {kind: _plain(one) for kind, one in found.kinds.items()},
        "means": {title: _plain(one) for title, one in found.means.items()},
        "groups": {
            column: {title: {one.name: _plain(one) for one in scores} for title, scores in rows.items()}
            for column, rows in found.groups.items()
        },
        "absent": list(found.absent),
    }
    return json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(found: Robustness) -> str:
    """The scores as Markdown tables, with the published ones where those are comparable in kind."""
    title = f"{found.model} on corrupted {found.manifest}"
    return markdown(title, facts(found), list(tables(found)), "![Heat map of kinds and severities](robustness.png)")


def facts(found: Robustness) -> list[str]:
    """What a reader must know of the scores."""
    dropped = "; ".join(f"{reason} ({count})" for reason, count in found.clean.dropped.items())
    asked = "" if found.limit is None else f", {found.limit} evenly spread ones asked for"
    return [
        f"{found.clean.n} faces scored in every cell, of {found.rows} rows{asked}"
        + (f"; dropped: {dropped}" if dropped else ""),
        f"Corruptions: profile {found.profile}, seed {found.seed}, on the whole stored crop; docs/corruptions.md",
        f"Known of each face: {'its age' if found.labels == 'age' else 'only its age group'}; manifest {found.manifest}"
        f", SHA-256 {found.sha256}",
        f"Brackets: {CONFIDENCE:.0%} percentile bootstrap intervals, {found.resampled} resampled; "
        "those of rise and of means are over the same faces, corrupted and not",
        *(f"{metric}: {says}" for metric, says in METRICS[found.labels].items()),
        *(f"The manifest has no column {column}" for column in found.absent),
    ]


def tables(found: Robustness) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Each table as its title, its head and its rows of text."""
    main, *others, rise = METRICS[found.labels]
    means = {CLEAN: found.clean, **found.means}
    yield "Means", ["", "faces", main, rise, "times the clean", *others], [_row(found, *item) for item in means.items()]
    yield (
        "Kinds, mean over severities",
        ["", "faces", main, rise, "times the clean", *others],
        [_row(found, *item) for item in found.kinds.items()],
    )
    for metric in (main, *others):
        head = [metric, *map(str, SEVERITIES)]
        rows = [[kind, *_by_severity(scores, metric)] for kind, scores in found.cells.items()]
        yield f"{metric}: {METRICS[found.labels][metric]}, by severity", head, rows
    for column, by_title in found.groups.items():
        names = [f"{one.name} ({one.n})" for one in by_title[CLEAN]]
        rows = [[title, *(_shown(one.metrics.get(main)) for one in scores)] for title, scores in by_title.items()]
        yield f"{main} by {column}", ["", *names], rows
    if found.labels == "age":
        whole = {kind: one for kind, one in found.kinds.items() if len(found.cells[kind]) == len(SEVERITIES)}
        ours = {CLEAN: found.clean, **whole, **found.means}
        head = ["MAE, years", "ours, here", *(f"{name}, LFW+C" for name in NETWORKS)]
        rows = [
            [title, _shown(ours[title].metrics["mae"]) if title in ours else "not all cells", *_published(title)]
            for title in (CLEAN, *CORRUPTIONS, *CATEGORIES, ALL)
        ]
        yield "Published (Greco et al. 2021): other faces, unless this manifest is LFW+", head, rows


def heat_map(found: Robustness) -> Figure:
    """Kinds in rows, severities and their mean in columns: the main metric, what it is biased by, and its share."""
    main, second, third = list(METRICS[found.labels])[:3]
    if found.labels == "group":
        second, third = "shift", "exact_group"
    figure = Figure(figsize=(15, 1.9 + 0.36 * len(found.cells)), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for axes, metric, colours in zip(panels, (main, second, third), ("YlOrRd", "PuOr_r", "YlGnBu"), strict=True):
        _panel(axes, found, metric, colours)
    panels[0].set_yticks(range(len(found.cells) + 1), [CLEAN, *(kind.replace("_", " ") for kind in found.cells)])
    figure.suptitle(f"{found.model} on {found.manifest}: {found.clean.n} faces, profile {found.profile}", fontsize=11)
    return figure


def _panel(axes: Axes, found: Robustness, metric: str, colours: str) -> None:
    scale = 100 if metric in _SHARES else 1
    grid = np.full((len(found.cells) + 1, len(SEVERITIES) + 1), np.nan)
    grid[0, -1] = found.clean.metrics[metric].value if metric in found.clean.metrics else 0.0
    for row, (kind, scores) in enumerate(found.cells.items(), 1):
        for one in scores:
            grid[row, SEVERITIES.index(int(one.name))] = one.metrics[metric].value
        grid[row, -1] = found.kinds[kind].metrics[metric].value
    grid = np.round(grid * scale, 0 if scale == 100 else 1) + 0.0  # and no -0.0
    top = float(np.nanmax(abs(grid))) or 1.0
    low, high = (-top, top) if metric in ("bias", "shift") else (float(np.nanmin(grid)), float(np.nanmax(grid)))
    drawn = axes.imshow(grid, cmap=colours, vmin=low, vmax=max(high, low + 1e-9), aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        if not np.isnan(value):
            red, green, blue, _ = drawn.to_rgba(np.array(value))
            ink = "white" if 0.3 * red + 0.6 * green + 0.1 * blue < 0.5 else "black"
            axes.text(column, row, f"{value:.{0 if scale == 100 else 1}f}", ha="center", va="center", color=ink, size=8)
    axes.axvline(len(SEVERITIES) - 0.5, color="white", linewidth=3)
    for line in _borders(list(found.cells)):
        axes.axhline(line, color="white", linewidth=3)
    axes.set_xticks(range(len(SEVERITIES) + 1), [*map(str, SEVERITIES), "mean"])
    axes.set_xlabel("severity")
    axes.set_title(f"{metric}: {METRICS[found.labels][metric].replace('share of', '% of')}", fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _borders(kinds: Sequence[str]) -> list[float]:
    """Where a line parts the clean row, the categories and the extras."""
    of = {kind: title for title, members in CATEGORIES.items() for kind in members}
    titles = [CLEAN, *(of.get(kind, "extras") for kind in kinds)]
    return [row - 0.5 for row in range(1, len(titles)) if titles[row] != titles[row - 1]]


def _clean(cells: Path, table: pa.Table) -> tuple[Labels, Faces]:
    """The faces uncorrupted, why some cannot be scored, and who they are."""
    labels, known = known_ages(table)
    dropped = np.array([error or "" for error in table["error"].to_pylist()], dtype=object)
    dropped[(dropped == "") & ~known] = "no age known"
    if not (dropped == "").any():
        raise ManifestError(f"{cells}: none of the {len(table)} faces can be scored: {dropped[0]}")
    empty = Faces({}, dropped.astype(np.str_), persons_of(table))
    values = _values(cell_path(cells, CLEAN, 0), labels, table, empty)
    return labels, Faces({name: values[name] for name in values if name != "shift"}, empty.dropped, empty.unit)


def persons_of(table: pa.Table) -> NDArray[np.intp]:
    """A number (N,) for each face's subject; a face of an unknown one is of its own."""
    unit: dict[Any, int] = {}
    who = table["subject"].to_pylist() if "subject" in table.column_names else [None] * len(table)
    persons = [unit.setdefault(row if one is None else one, len(unit)) for row, one in enumerate(who)]
    return np.array(persons, dtype=np.intp)


def _values(path: Path, labels: Labels, clean: pa.Table, base: Faces) -> Values:
    """Of each metric one value (N,) a face of a cell, NaN where the face cannot be scored."""
    table = read_manifest(path, need=PREDICTED)
    if not table["row"].equals(clean["row"]):
        raise ManifestError(f"{path}: other faces than in {CLEAN}.0.parquet; delete it")
    scored = base.dropped == ""
    mean, low, high = (numbers(table, name)[scored] for name in ("mean", "low", "high"))
    age, first, last = (numbers(clean, name)[scored] for name in ("age", "age_low", "age_high"))
    if labels == "age":
        error = errors(mean, age)
        inside = covered(np.column_stack([low, high]), age)
        given = {"mae": abs(error), "bias": error, "coverage": inside}
    else:
        given = {"excess": excesses(mean, first, last), "exact_group": inside_group(mean, first, last)}
    given["shift"] = mean - numbers(clean, "mean")[scored]
    values = {metric: np.full(len(table), np.nan) for metric in given}
    for metric, found in given.items():
        values[metric][scored] = found
    main = MAIN[labels]
    return {**values, "rise": values[main] - base.values[main]} if base.values else values


def _mean(parts: Sequence[Faces]) -> Faces:
    """The mean of each face's values over cells or kinds."""
    values = {metric: np.mean([part.values[metric] for part in parts], axis=0) for metric in parts[0].values}
    return Faces(values, parts[0].dropped, parts[0].unit)


def _names(table: pa.Table, column: str) -> NDArray[np.str_]:
    return np.array([UNKNOWN if value is None else str(value) for value in table[column].to_pylist()])


_SHARES = ("coverage", "exact_group")


def _row(found: Robustness, title: str, one: Score) -> list[str]:
    main, *others, rise = METRICS[found.labels]
    clean = found.clean.metrics[main].value
    times = f"{one.metrics[main].value / clean:.2f}" if clean else ""
    shown = (_shown(one.metrics.get(metric), metric) for metric in (main, rise))
    return [title, str(one.n), *shown, times, *(_shown(one.metrics.get(metric), metric) for metric in others)]


def _by_severity(scores: Sequence[Score], metric: str) -> list[str]:
    by_level = {one.name: one for one in scores}
    return [_shown(by_level[str(n)].metrics[metric], metric) if str(n) in by_level else "" for n in SEVERITIES]


def _published(title: str) -> list[str]:
    return [value or "unknown" for value in PUBLISHED.get(title, ("",) * len(NETWORKS))]


def _shown(one: Estimate | None, metric: str = "") -> str:
    """A value and its interval: `4.21 [4.05, 4.38]`, a share in percent."""
    if one is None:
        return ""
    scale, digits = (100, 1) if metric in _SHARES else (1, 2)
    value = f"{scale * one.value:.{digits}f}{' %' if scale == 100 else ''}"
    if one.interval is None:
        return value
    return f"{value} [{scale * one.interval[0]:.{digits}f}, {scale * one.interval[1]:.{digits}f}]"


def _plain(one: Score) -> dict[str, Any]:
    metrics = {key: {"value": est.value, "interval": est.interval, "n": est.n} for key, est in one.metrics.items()}
    return {"n": one.n, "dropped": dict(one.dropped), "metrics": metrics}
