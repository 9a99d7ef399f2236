"""The scores of a protocol beside the published ones: JSON for programs, Markdown, and one page for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agewise
from agewise.data.replacing import replacing
from agewise.evaluation.groups import CONFIDENCE, Score
from agewise.evaluation.page import Table, html, markdown
from agewise.evaluation.protocols.outcome import Outcome

DIGITS = {"epsilon_error": 4}
"""Of a metric, after the point; 3 for the others."""


def write_outcome(outcome: Outcome, folder: Path) -> list[Path]:
    """Writes protocol.json, protocol.md and protocol.html into a folder, each complete or absent."""
    written = []
    for suffix, text in {"json": to_json(outcome), "md": to_markdown(outcome), "html": to_html(outcome)}.items():
        path = folder / f"protocol.{suffix}"
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def to_json(outcome: Outcome) -> str:
    """Everything as strict JSON: shares are 0..1, an interval is [low, high] or null."""
    said = {
        "protocol": outcome.protocol.model_dump(mode="json", exclude={"published"}),
        "sha256": outcome.protocol.sha256,
        "agewise": agewise.__version__,
        "models": dict(outcome.models),
        "manifests": {
            name: {"file": one.file, "rows": one.rows, "sha256": one.sha256} for name, one in outcome.manifests.items()
        },
        "intervals": {"level": CONFIDENCE, "method": "percentile bootstrap"},
        "results": [
            {"model": one.model, "manifest": one.manifest, "part": one.part, **plain(one.score)}
            for one in outcome.results
        ],
        "folds": {"mean": dict(outcome.mean), "std": dict(outcome.std)} if outcome.mean else None,
        "published": [one.model_dump(mode="json") for one in outcome.protocol.known],
        "notes": list(outcome.notes),
    }
    return json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(outcome: Outcome) -> str:
    """The scores, their mean and spread over folds, and the published ones, as Markdown."""
    return markdown(heading(outcome), facts(outcome), list(tables(outcome)))


def to_html(outcome: Outcome) -> str:
    """One page that loads nothing from anywhere."""
    return html(heading(outcome), facts(outcome), list(tables(outcome)), {})


def heading(outcome: Outcome) -> str:
    """What the page is of."""
    return f"{outcome.protocol.name}: {outcome.protocol.says}"


def facts(outcome: Outcome) -> list[str]:
    """What a reader must know: the rules, the files and their hashes, who was tested, the protocol's own hash."""
    files = "; ".join(
        f"{name} is {one.file}, {one.rows} rows, SHA-256 {one.sha256}" for name, one in outcome.manifests.items()
    )
    who = ", ".join(f"{name} is {own}" if own != name else name for name, own in outcome.models.items())
    return [
        *outcome.notes,
        f"Manifests: {files}",
        f"Models: {who}",
        f"Rules of {outcome.protocol.name}: SHA-256 {outcome.protocol.sha256}; agewise {agewise.__version__}",
        f"Brackets: {CONFIDENCE:.0%} percentile bootstrap intervals, by subject where subjects are known",
    ]


def tables(outcome: Outcome) -> Iterator[Table]:
    """One table: what is measured, then what is published."""
    metrics = outcome.protocol.metrics
    rows = []
    for one in outcome.results:
        counts = [str(one.score.n), str(sum(one.score.dropped.values()))]
        rows.append([one.model, one.manifest, one.part, *counts, *(shown(one.score, metric) for metric in metrics)])
    if outcome.mean:
        spread = (
            f"{outcome.mean[key]:.{DIGITS.get(key, 3)}f} ± {outcome.std[key]:.{DIGITS.get(key, 3)}f}"
            if key in outcome.mean
            else ""
            for key in metrics
        )
        rows.append(["mean ± std over folds", "", "", "", "", *spread])
    for other in outcome.protocol.known:
        known = (f"{other.scores[metric]:.4g}" if metric in other.scores else "unknown" for metric in metrics)
        rows.append([f"published: {other.method}", other.source, "", "", "", *known])
    yield "Measured, and published", ["model", "manifest", "part", "faces", "dropped", *metrics], rows


def shown(one: Score, metric: str) -> str:
    """A value and its interval: `4.213 [4.052, 4.380]`; nothing where it is not known."""
    if metric not in one.metrics:
        return ""
    value, interval, digits = one.metrics[metric].value, one.metrics[metric].interval, DIGITS.get(metric, 3)
    return f"{value:.{digits}f}" + (f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]" if interval else "")


def plain(one: Score) -> dict[str, Any]:
    """A score as JSON takes it."""
    metrics = {key: {"value": est.value, "interval": est.interval, "n": est.n} for key, est in one.metrics.items()}
    return {"n": one.n, "dropped": dict(one.dropped), "metrics": metrics}
