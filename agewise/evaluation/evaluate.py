"""Predictions -> report: every score is read from a file of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import Decision
from agewise.data.manifest import (
    ManifestError,
    distributions,
    metadata,
    numbers,
    read_manifest,
)
from agewise.evaluation.groups import (
    BANDS,
    MAIN,
    UNKNOWN,
    Faces,
    Labels,
    age_values,
    bands_of,
    gap,
    group_names,
    group_values,
    score,
    score_by,
)
from agewise.evaluation.predictions import (
    PREDICTED,
    labels_of,
)
from agewise.evaluation.report.curves import Curves, curves_of_ages, curves_of_groups
from agewise.evaluation.report.values import AGE, Report
from agewise.evaluation.report.worst_faces import worst_faces
from agewise.metrics import Floats

MOST_GROUPS = 100
"""A column with more different values (a name, a number) is refused as a group."""


def evaluate(
    predictions_parquet: Path | str,
    groups: Sequence[str] = ("sex", "ethnicity"),
    *,
    decision: Decision = "mean",
    audit: Path | None = None,
    protocol: str = "",
    resamples: int = 1000,
) -> Report:
    """The scores of predicted ages: overall, by band of age and by each group column of the manifest.

    decision: which one age of each predicted distribution is scored.
    audit: the JSON of an audit of the manifest (`agewise.data.audit.audit.find_audit`), for the report to name.
    protocol: its name and hash, for the report to say.

    Where a single face's exact age is known, exact ages are what is scored, and faces of which only the age group is
    known are dropped and counted.
    """
    path = Path(predictions_parquet)
    said = metadata(path)
    if said.get("step") != "predict":
        raise ManifestError(f"{path}: not a file of predictions; predict_manifest writes one from a manifest")
    table = read_manifest(path, need=list(PREDICTED))
    labels = labels_of(path, table)
    pred = decided(table, decision)
    faces = scored_faces(table, labels, pred)
    scored = faces.dropped == ""
    if not scored.any():
        raise ManifestError(f"{path}: none of the {len(table)} faces can be scored: {faces.dropped[0]}")
    age, low, high = (numbers(table, column) for column in ("age", "age_low", "age_high"))
    bands = bands_of(age) if labels == "age" else group_names(low, high)
    order = list(BANDS) if labels == "age" else bands[np.argsort(low)].tolist()
    names = {column: names_of(path, table, column) for column in groups if column in table.column_names}
    by_group = {column: score_by(found, faces, resamples) for column, found in names.items()}
    by_band = score_by(bands, faces, resamples, order)
    compared = {AGE: (by_band, bands), **{name: (by_group[name], names[name]) for name in names if name != AGE}}
    gaps = {column: gap(*one, faces, labels, resamples) for column, one in compared.items()}
    kept = table.filter(pa.array(scored))
    known = [f"{one:g}" for one in age[scored]] if labels == "age" else bands[scored].tolist()
    row, interval = kept["row"].to_numpy(), np.column_stack([numbers(kept, "low"), numbers(kept, "high")])
    return Report(
        model=said["name"],
        manifest=said["manifest"],
        sha256=said["content"],
        predictions=path.name,
        labels=labels,
        decision=decision,
        audit=_audited(audit),
        kinds=kinds_of(table),
        protocol=protocol,
        resampled="subjects" if len(np.unique(faces.unit)) < len(table) else "faces",
        overall=score("all", faces, resamples),
        bands=by_band,
        groups=by_group,
        gaps={column: found for column, found in gaps.items() if found is not None},
        absent=tuple(column for column in groups if column not in table.column_names),
        pred=pred[scored],
        true=age[scored],
        band=bands[scored],
        curves=_curves(kept, labels, faces[scored], pred[scored], resamples),
        worst=worst_faces(row, known, pred[scored], interval, faces.values[MAIN[labels]][scored]),
    )


def _curves(table: pa.Table, labels: Labels, faces: Faces, pred: Floats, resamples: int) -> Curves:
    ages = distributions(table)
    if labels == "group":
        return curves_of_groups(faces.values["excess"], ages, faces.unit, resamples)
    stored = np.column_stack([numbers(table, "low"), numbers(table, "high")])
    true = numbers(table, "age")
    return curves_of_ages(pred - true, ages, stored, true, faces.unit, resamples)


def _audited(path: Path | None) -> str:
    """What is known of leaks, in a sentence."""
    if path is None:
        return "No audit of this manifest was found beside it (agewise audit looks for leaks)"
    found = json.loads(path.read_text(encoding="utf-8"))
    names = ", ".join(Path(one["name"]).name for one in found["manifests"])
    leaks = [one["message"] for one in found["findings"] if one["severity"] == "leak"]
    return f"Audit {path.name} of {names}: {'; '.join(leaks) or 'no leak'}"


def kinds_of(table: pa.Table) -> dict[str, int]:
    """How many rows have each kind of age (real, apparent, group, estimated), where the manifest says so."""
    if "age_kind" not in table.column_names:
        return {}
    return dict(Counter(str(kind) for kind in table["age_kind"].to_pylist() if kind is not None))


def decided(table: pa.Table, decision: Decision) -> Floats:
    """The age (N,) by the decision rule, NaN where there is no prediction."""
    given = ~np.isnan(numbers(table, "mean"))
    if decision == "mean" or not given.any():
        return numbers(table, "mean")
    pred = np.full(len(table), np.nan)
    pred[given] = distributions(table.filter(pa.array(given))).decided(decision)
    return pred


def scored_faces(table: pa.Table, labels: Labels, pred: Floats) -> Faces:
    """The values of each metric for the faces of a file of predictions, and why some have none."""
    age, low, high = (numbers(table, name) for name in ("age", "age_low", "age_high"))
    dropped = np.array([error or "" for error in table["error"].to_pylist()], dtype=object)
    if labels == "age":
        dropped[np.isnan(age)] = "no age known"
        dropped[np.isnan(age) & ~np.isnan(low + high)] = "only an age group known"
    else:
        dropped[np.isnan(low + high)] = "no age known"
    scored = dropped == ""
    unit: dict[str | int, int] = {}
    subjects = table["subject"].to_pylist() if "subject" in table.column_names else [None] * len(table)
    for row, subject in enumerate(subjects):  # a face of an unknown subject is one of its own
        subjects[row] = unit.setdefault(row if subject is None else subject, len(unit))
    values = _values(table.filter(pa.array(scored)), labels, pred[scored]) if scored.any() else {}
    everywhere = {metric: np.full(len(table), np.nan) for metric in values}
    for metric, found in values.items():
        everywhere[metric][scored] = found
    return Faces(everywhere, dropped.astype(np.str_), np.array(subjects, dtype=np.intp))


def _values(table: pa.Table, labels: Labels, pred: Floats) -> dict[str, Floats]:
    names = ("low", "high", "age", "age_std", "age_low", "age_high")
    low, high, age, std, age_low, age_high = (numbers(table, name) for name in names)
    if labels == "group":
        return group_values(pred, age_low, age_high)
    return age_values(pred, np.column_stack([low, high]), distributions(table), age, std)


def names_of(path: Path, table: pa.Table, column: str) -> NDArray[np.str_]:
    """The group of every row, as text."""
    names = np.array([UNKNOWN if value is None else str(value) for value in table[column].to_pylist()])
    if len(found := np.unique(names)) > MOST_GROUPS:
        raise ManifestError(f"{path}: column {column} has {len(found)} values; a group has at most {MOST_GROUPS}")
    return names
