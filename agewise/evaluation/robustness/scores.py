"""What a model scores on corrupted faces, read from the files of its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.data.manifest import ManifestError, metadata, numbers, read_manifest
from agewise.evaluation.corruptions import CATEGORIES, CORRUPTIONS, EXTRAS, SEVERITIES
from agewise.evaluation.corruptions.profiles import Profile
from agewise.evaluation.groups import MAIN, UNKNOWN, Faces, Labels, Score, score, score_by
from agewise.evaluation.robustness.cells import known_ages
from agewise.evaluation.robustness.walk import CLEAN, PREDICTED, cell_path, made_so
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

SHARES = ("coverage", "exact_group")
"""The metrics of 0..1 that are shown in percent."""

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


def robustness_of(folder: Path, model: str, sha256: str, *, resamples: int = 1000) -> Robustness:
    """The scores in a folder of `agewise robustness`.

    Raises ManifestError unless they are of that model on the manifest of that SHA-256.
    """
    cells = folder / "cells" if (folder / "cells").is_dir() else folder
    said = metadata(cell_path(cells, CLEAN, 0))
    if (said.get("name"), said.get("content")) != (model, sha256):
        other = f"{said.get('name')} on {said.get('manifest')}, SHA-256 {said.get('content')}"
        raise ManifestError(f"{folder}: of {other}; what is reported is {model} on a manifest of SHA-256 {sha256}")
    return robustness(cells, resamples=resamples)


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
