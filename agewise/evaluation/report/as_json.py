"""A report as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from agewise.evaluation.groups import CONFIDENCE, Estimate, Score
from agewise.evaluation.report.curves import Curves
from agewise.evaluation.report.error_curves import ByYear
from agewise.evaluation.report.values import Report
from agewise.metrics import Floats


def as_json(report: Report, summary: Sequence[str], robustness: dict[str, Any] | None) -> str:
    """The scores as strict JSON: shares are 0..1, an interval is [low, high] or null, what is not known is null."""
    said = {
        "model": report.model,
        "manifest": {"name": report.manifest, "sha256": report.sha256},
        "protocol": report.protocol or None,
        "summary": list(summary),
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
        "curves": _curves(report.curves),
        "worst": [asdict(one) for one in report.worst],
        "robustness": robustness,
    }
    return json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _curves(found: Curves) -> dict[str, Any]:
    share, risk, agreement = found.cumulative, found.risk, found.agreement
    limits = {} if agreement is None else {name: getattr(agreement, name) for name in ("bias", "lower", "upper")}
    return {
        "cumulative": {name: _listed(getattr(share, name)) for name in ("share", "low", "high")},
        "risk": {
            "coverage": _listed(risk.coverage),
            "risk": _listed(risk.risk),
            "kept": [{"share": kept, "error": error} for kept, error in risk.kept.items()],
            "area": risk.area,
            "best_area": risk.best,
        },
        "by_year": found.by_year and _by_year(found.by_year),
        "agreement": agreement
        and {**{name: _numbers(one) for name, one in limits.items()}, "inside": agreement.inside},
        "reliability": found.reliability
        and {
            "levels": [
                {"stated": one.stated, "coverage": _numbers(one.coverage), "width": _numbers(one.width)}
                for one in found.reliability.levels
            ],
            "pit": found.reliability.pit.tolist(),
        },
    }


def _by_year(found: ByYear) -> dict[str, Any]:
    smooth = {"absolute": found.absolute, "signed": found.signed}
    curves = {
        name: {part: _listed(getattr(one, part)) for part in ("value", "low", "high")} for name, one in smooth.items()
    }
    return {"faces": found.faces.tolist(), "mae": _listed(found.mae), **curves}


def _listed(values: Floats) -> list[float | None]:
    return [float(one) if np.isfinite(one) else None for one in values]


def _plain(score: Score) -> dict[str, Any]:
    metrics = {key: _numbers(estimate) for key, estimate in score.metrics.items()}
    return {"name": score.name, "n": score.n, "dropped": dict(score.dropped), "metrics": metrics}


def _numbers(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "interval": estimate.interval, "n": estimate.n}
