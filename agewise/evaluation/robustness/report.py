"""What a model scores on corrupted faces as tables, a heat map and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agewise.data.replacing import replacing
from agewise.evaluation.corruptions import CATEGORIES, CORRUPTIONS, SEVERITIES
from agewise.evaluation.groups import CONFIDENCE, Estimate, Score
from agewise.evaluation.page import Table, markdown, png
from agewise.evaluation.published import UNKNOWN, read_published
from agewise.evaluation.robustness.figure import heat_map
from agewise.evaluation.robustness.scores import ALL, METRICS, SHARES, Robustness
from agewise.evaluation.robustness.walk import CLEAN

NETWORKS = ("teacher", "senet-vmage", "vgg-vmage", "densenet-vmage", "mn3-large-vmage", "mn3-small-vmage")
"""Whose mean absolute errors on LFW+C stand beside ours, as far as Greco et al. (2021) publish them."""


def write_robustness(found: Robustness, folder: Path) -> list[Path]:
    """Writes robustness.json, robustness.md and robustness.png into a folder, each complete or absent."""
    written = []
    for suffix, text in {"json": to_json(found), "md": to_markdown(found)}.items():
        written.append(folder / f"robustness.{suffix}")
        with replacing(written[-1]) as partial:
            partial.write_text(text, encoding="utf-8")
    written.append(folder / "robustness.png")
    with replacing(written[-1]) as partial:
        partial.write_bytes(png(heat_map(found)))
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


def tables(found: Robustness) -> Iterator[Table]:
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
    """The cells of a kind of corruption, or of clean faces, by network; some are not known."""
    data_set, metric = ("lfw-plus", "mae") if title == CLEAN else ("lfw-plus-c", title)
    rows = [read_published().row(name) for name in NETWORKS]
    cells = [UNKNOWN if row is None else row.cell(data_set, metric) for row in rows]
    return [
        "unknown" if cell.value is None else f"about {cell.value:g}" if cell.about else f"{cell.value:.2f}"
        for cell in cells
    ]


def _shown(one: Estimate | None, metric: str = "") -> str:
    """A value and its interval: `4.21 [4.05, 4.38]`, a share in percent."""
    if one is None:
        return ""
    scale, digits = (100, 1) if metric in SHARES else (1, 2)
    value = f"{scale * one.value:.{digits}f}{' %' if scale == 100 else ''}"
    if one.interval is None:
        return value
    return f"{value} [{scale * one.interval[0]:.{digits}f}, {scale * one.interval[1]:.{digits}f}]"


def _plain(one: Score) -> dict[str, Any]:
    metrics = {key: {"value": est.value, "interval": est.interval, "n": est.n} for key, est in one.metrics.items()}
    return {"n": one.n, "dropped": dict(one.dropped), "metrics": metrics}
