"""What an age gate lets through, as JSON for programs, Markdown for repositories and one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agewise.data.replacing import replacing
from agewise.evaluation.gate.figures import figures
from agewise.evaluation.gate.tables import facts, tables
from agewise.evaluation.gate.values import GateReport, GateScore
from agewise.evaluation.groups import CONFIDENCE
from agewise.evaluation.page import html, markdown
from agewise.evaluation.rates import Rate

STEP = "gate"


def write_gate(report: GateReport, folder: Path | str) -> list[Path]:
    """Writes gate.json, gate.md and gate.html into a folder, each complete or absent."""
    written = []
    for suffix, text in {"json": to_json(report), "md": to_markdown(report), "html": to_html(report)}.items():
        path = Path(folder) / f"gate.{suffix}"
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def to_json(report: GateReport) -> str:
    """The rates as strict JSON: shares are 0..1, an interval is [low, high] or null, a rate of no face is null."""
    said = {
        "step": STEP,
        "model": report.model,
        "manifest": {"name": report.manifest, "sha256": report.sha256},
        "predictions": report.predictions,
        "rule": asdict(report.rule),
        "intervals": {"level": CONFIDENCE, "resampled": report.resampled},
        "dropped": dict(report.dropped),
        "ages": {"group_only": report.grouped, "straddling": report.straddling, "kinds": dict(report.kinds)},
        "overall": _plain(report.overall),
        "budget_alpha": report.budget_alpha,
        "challenge": [{"age": point.at, "rates": _rates(point.rates)} for point in report.curve],
        "budgets": [
            {"budget": point.budget, "alpha": point.at, "rates": _rates(point.rates)} for point in report.budgets
        ],
        "bands": [{"name": one.name, "shares": _rates(one.shares)} for one in report.bands],
        "years": [{"name": one.name, "shares": _rates(one.shares)} for one in report.years],
        "groups": {column: [_plain(score) for score in scores] for column, scores in report.groups.items()},
        "gaps": {column: [asdict(gap) for gap in found] for column, found in report.gaps.items()},
        "absent": list(report.absent),
    }
    return json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(report: GateReport) -> str:
    """The rates as Markdown tables."""
    return markdown(heading(report), facts(report), list(tables(report)))


def to_html(report: GateReport) -> str:
    """One page with the figures inside it, which loads nothing from anywhere."""
    return html(heading(report), facts(report), list(tables(report)), figures(report))


def heading(report: GateReport) -> str:
    """What the page is of."""
    return f"Age gate at {report.rule.threshold}, {report.model} on {report.manifest}"


def _plain(score: GateScore) -> dict[str, Any]:
    return {"name": score.name, "n": score.n, "rates": _rates(score.rates), "nist_mae": asdict(score.nist)}


def _rates(rates: Mapping[str, Rate]) -> dict[str, Any]:
    return {name: asdict(one) for name, one in rates.items()}
