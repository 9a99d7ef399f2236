"""Protocols of the literature as settings: which faces are tested, by which models, and what is scored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, model_validator

from agewise.ages import AGES, SCHEMES, AgeDistribution, Predictor, nearest_groups
from agewise.data.crops import parts
from agewise.data.manifest import (
    ManifestError,
    check_frame,
    described,
    distributions,
    fingerprint,
    metadata,
    numbers,
    open_manifest,
    read_manifest,
)
from agewise.data.replacing import replacing
from agewise.data.settings import Settings, read_settings
from agewise.evaluation.corruptions.profiles import Profile
from agewise.evaluation.evaluate import PREDICTED, predict_manifest
from agewise.evaluation.groups import Faces, Score, score
from agewise.evaluation.robustness import predict_cells
from agewise.evaluation.robustness_report import ALL, persons_of, robustness
from agewise.metrics import Floats, epsilon_errors, errors, excesses

WORST = {"epsilon_error": 1.0, "top1": 0.0, "one_off": 0.0}
METRICS = ("mae", "bias", "excess", *WORST)
"""What can be scored; a face without a prediction may score the worst, where a metric has one."""

Source = Predictor | Path
"""A model, or what it predicted: the file of `predict_manifest`, or the folder of `predict_cells`."""

Rows = NDArray[np.int64]


class Published(Settings):
    """What others report, in the units of the protocol's metrics; a metric that is not named is not known."""

    method: str
    source: str
    scores: dict[str, float]


class Protocol(Settings):
    """A test that others have done before; `read_protocol` reads one of recipes/protocols/*.toml.

    holdout: candidates are compared on part `select`, the best one is tested once on part `test`.
    folds: each part of `column` is tested by the model that was not trained on it; mean and std over the parts.
    whole: every model on all faces. matrix: every model on every manifest. corruptions: whole, 13 kinds x 5 severities.
    """

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    says: str
    kind: Literal["holdout", "folds", "whole", "matrix", "corruptions"]
    metrics: list[str] = Field(min_length=1, description="the first one chooses")
    missing: Literal["wrong", "dropped"] = Field(default="dropped", description="a face without a prediction")
    select: str = "valid"
    test: str = "test"
    column: str = "split"
    folds: list[str] = Field(default=[], description="names of the parts of `column`; none: those that it has")
    profile: Profile = "paper"
    notes: list[str] = Field(default=[])
    published: list[Published] = Field(default=[])

    @model_validator(mode="after")
    def _known(self) -> Protocol:
        wrong = [name for name in self.metrics if name not in METRICS]
        if wrong:
            raise ValueError(f"no metric {wrong[0]!r}; there are {', '.join(METRICS)}")
        return self


@dataclass(frozen=True, slots=True)
class Result:
    """What one model scores on one part of one manifest."""

    model: str
    manifest: str
    part: str
    score: Score


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a protocol; mean and std (of the sample, n - 1) are over folds, and empty without folds."""

    protocol: Protocol
    results: tuple[Result, ...]
    mean: Mapping[str, float]
    std: Mapping[str, float]
    notes: tuple[str, ...]


def read_protocol(path: Path | str, overrides: Sequence[str] = ()) -> Protocol:
    """The protocol in a TOML file after `name=value` overrides."""
    return read_settings(path, Protocol, overrides)


def run(
    protocol: Protocol, models: Mapping[str, Source], manifests: Mapping[str, Path], folder: Path, resamples: int = 1000
) -> Outcome:
    """The scores of models by a protocol; their predictions are files in `folder` first.

    models: by name; of folds one a fold, by its name, or a single one that has seen none of them. manifests: by name,
    of crops; one, but for a matrix. Raises ManifestError, or ValueError of a model, in one line.
    """
    if not models or not manifests or (protocol.kind != "matrix" and len(manifests) > 1):
        wanted = "manifests and models" if protocol.kind == "matrix" else "one manifest and models"
        raise ManifestError(f"{protocol.name}: {len(manifests)} manifests, {len(models)} models; {wanted} are needed")
    walk = {"holdout": _holdout, "folds": _folds, "corruptions": _corruptions}.get(protocol.kind, _whole)
    results = tuple(walk(_Test(protocol, models, manifests, folder, resamples)))
    tested = [one.score for one in results if protocol.kind == "folds"]
    shared = [metric for metric in protocol.metrics if tested and all(metric in one.metrics for one in tested)]
    over = {metric: np.array([one.metrics[metric].value for one in tested]) for metric in shared}
    notes = [*protocol.notes, *(f"{name}: {_kinds_of_age(path)}" for name, path in manifests.items())]
    if protocol.kind == "folds" and len(models) == 1:
        notes.append(f"One model, {next(iter(models))}, for all folds: it must have seen none of their faces")
    return Outcome(
        protocol,
        results,
        {metric: float(values.mean()) for metric, values in over.items()},
        {metric: float(values.std(ddof=1)) for metric, values in over.items()},
        tuple(notes),
    )


def to_markdown(outcome: Outcome) -> str:
    """The scores, their mean and spread over folds, and the published ones, as Markdown."""
    metrics, protocol = outcome.protocol.metrics, outcome.protocol
    rows = [["model", "manifest", "part", "faces", "dropped", *metrics]]
    for one in outcome.results:
        counts = [str(one.score.n), str(sum(one.score.dropped.values()))]
        rows.append([one.model, one.manifest, one.part, *counts, *(_shown(one.score, metric) for metric in metrics)])
    if outcome.mean:
        spread = (f"{outcome.mean[key]:.3f} ± {outcome.std[key]:.3f}" if key in outcome.mean else "" for key in metrics)
        rows.append(["mean ± std over folds", "", "", "", "", *spread])
    for other in protocol.published:
        known = (f"{other.scores[metric]:.4g}" if metric in other.scores else "unknown" for metric in metrics)
        rows.append([f"published: {other.method}", "", other.source, "", "", *known])
    rows.insert(1, ["---"] * len(rows[0]))
    lines = [f"# {protocol.name}: {protocol.says}", "", *(f"- {note}" for note in outcome.notes), ""]
    return "\n".join([*lines, *(f"| {' | '.join(cell.replace('|', ' ') for cell in row)} |" for row in rows), ""])


def lay_out(protocol: Protocol, manifest: Path, folder: Path) -> dict[str, dict[str, Path]]:
    """Writes what a recipe needs to train by a protocol of parts: by round, then train, valid (holdout) and test.

    The one round of a holdout has the protocol's name; the rounds of folds are called after the fold that is tested.
    """
    of_row = _parts_of(manifest, protocol.column)
    names = _named(protocol, manifest, of_row)
    rounds: dict[str, dict[str, NDArray[np.bool_]]] = {}
    if protocol.kind == "holdout":
        chosen = {"valid": of_row == protocol.select, "test": of_row == protocol.test}
        rounds[protocol.name] = {"train": ~chosen["valid"] & ~chosen["test"], **chosen}
    elif protocol.kind == "folds":
        rounds = {name: {"train": np.isin(of_row, names) & (of_row != name), "test": of_row == name} for name in names}
    else:
        raise ManifestError(f"{protocol.name}: nothing is trained by it; there are parts in holdout and folds")
    return {
        name: {
            part: _subset(manifest, np.flatnonzero(mask), folder / f"{protocol.name}.{name}.{part}.parquet")
            for part, mask in chosen.items()
        }
        for name, chosen in rounds.items()
    }


def class_masses(ages: AgeDistribution, bounds: Sequence[tuple[int, int]]) -> Floats:
    """Probability (N, G) of each class of ages; an age between two classes counts for the nearer, else the younger."""
    return ages.probs @ np.eye(len(bounds))[nearest_groups(bounds)]


def classes_of(low: Floats, high: Floats, bounds: Sequence[tuple[int, int]]) -> NDArray[np.intp]:
    """The class (N,) that holds each known group of ages, -1 where none does."""
    edges = np.array(bounds)
    holds = (edges[:, 0] <= low[:, None]) & (high[:, None] <= edges[:, 1])
    return np.where(holds.any(axis=1), holds.argmax(axis=1), -1)


@dataclass(frozen=True, slots=True)
class _Test:
    """What `run` was given."""

    protocol: Protocol
    models: Mapping[str, Source]
    manifests: Mapping[str, Path]
    folder: Path
    resamples: int

    def of(self, model: str, name: str, part: str, rows: Rows | None = None) -> Result:
        """One model on those rows of a manifest, on all where None."""
        table = self._predictions(model, name, part, rows)
        return Result(model, name, part, score(part, faces_of(self.protocol, table, name), self.resamples))

    def _predictions(self, model: str, name: str, part: str, rows: Rows | None) -> pa.Table:
        source, manifest = self.models[model], self.manifests[name]
        if isinstance(source, Path):
            said = metadata(source)
            if said.get("step") != "predict" or said.get("content") != fingerprint(manifest):
                raise ManifestError(f"{source}: no predictions of {manifest}; agewise evaluate makes them")
            table = read_manifest(source, need=list(PREDICTED))
            return table if rows is None else table.take(pa.array(rows))
        _check_crops(manifest, source)
        stem = _file_name(self.protocol.name, model, name, part)
        crops = manifest if rows is None else _subset(manifest, rows, self.folder / f"{stem}.crops.parquet")
        made = predict_manifest(source, crops, self.folder / f"{stem}.parquet", name=model)
        if crops != manifest:
            crops.unlink()
        return read_manifest(made, need=list(PREDICTED))


def faces_of(protocol: Protocol, table: pa.Table, where: str) -> Faces:
    """The values of the protocol's metrics of predicted faces, NaN where one is not known.

    Raises ManifestError where the first metric is known of no face; `where` says of which manifest.
    """
    failed = table["error"].is_valid().to_numpy()
    probs = np.full((len(table), len(AGES)), np.nan)
    if not failed.all():
        probs[~failed] = distributions(table.filter(pa.array(~failed))).probs
    values: dict[str, Floats] = {}
    for metric in protocol.metrics:
        known, found = _values(metric, table, probs, ~failed)
        if protocol.missing == "wrong" and metric in WORST:
            found[known & failed] = WORST[metric]
        if not np.isnan(found).all():
            values[metric] = found
    if not values or (protocol.kind != "matrix" and protocol.metrics[0] not in values):
        needs = {"epsilon_error": "age and age_std", "mae": "age"}.get(protocol.metrics[0], "age_low and age_high")
        raise ManifestError(
            f"{where}: no face to score by {protocol.metrics[0]}: {needs}, and a prediction, are needed"
        )
    scored = ~np.isnan(np.stack(list(values.values()))).all(axis=0)
    reasons = [error or "no label that the protocol scores" for error in table["error"].to_pylist()]
    dropped = np.where(scored, "", np.array(reasons, dtype=np.str_))
    return Faces(values, dropped, persons_of(table))


def _values(metric: str, table: pa.Table, probs: Floats, told: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], Floats]:
    """Which faces (N,) have the label that a metric needs, and its values (N,), NaN where there is none."""
    names = ("mean", "age", "age_std", "age_low", "age_high")
    mean, age, std, low, high = (numbers(table, name) for name in names)
    bounds = SCHEMES["adience"]
    actual = classes_of(np.where(np.isnan(low), age, low), np.where(np.isnan(high), age, high), bounds)
    known = {
        "epsilon_error": ~np.isnan(age + std),
        "excess": ~np.isnan(low + high) & np.isnan(age),
        "top1": actual >= 0,
        "one_off": actual >= 0,
    }.get(metric, ~np.isnan(age))
    found = np.full(len(table), np.nan)
    rows = known & told
    if not rows.any():
        return known, found
    if metric in ("top1", "one_off"):
        away = abs(class_masses(AgeDistribution(probs[rows]), bounds).argmax(axis=1) - actual[rows])
        found[rows] = away <= (metric == "one_off")
    elif metric == "excess":
        found[rows] = excesses(mean[rows], low[rows], high[rows])
    elif metric == "epsilon_error":
        found[rows] = epsilon_errors(mean[rows], age[rows], std[rows])
    else:
        error = errors(mean[rows], age[rows])
        found[rows] = error if metric == "bias" else abs(error)
    return known, found


def _holdout(test: _Test) -> Iterator[Result]:
    protocol, (name, manifest) = test.protocol, next(iter(test.manifests.items()))
    of_row = _parts_of(manifest, protocol.column)
    wanted = [protocol.test, *([protocol.select] if len(test.models) > 1 else [])]
    rows = {part: np.flatnonzero(of_row == part) for part in wanted}
    for part, found in rows.items():
        if not len(found):
            there = ", ".join(map(str, np.unique(of_row)))
            raise ManifestError(f"{manifest}: no row of part {part!r} in column {protocol.column}; it has {there}")
    candidates = test.models if len(test.models) > 1 else ()
    tried = [test.of(model, name, protocol.select, rows[protocol.select]) for model in candidates]
    yield from tried
    main = protocol.metrics[0]
    sign = -1 if main in ("top1", "one_off") else 1
    ranked = sorted(tried, key=lambda one: sign * one.score.metrics[main].value)
    best = ranked[0].model if ranked else next(iter(test.models))
    yield test.of(best, name, protocol.test, rows[protocol.test])


def _folds(test: _Test) -> Iterator[Result]:
    name, manifest = next(iter(test.manifests.items()))
    of_row = _parts_of(manifest, test.protocol.column)
    names = _named(test.protocol, manifest, of_row)
    if len(test.models) > 1 and set(test.models) != set(names):
        given = ", ".join(test.models)
        raise ManifestError(f"{manifest}: the models are {given}; one a fold is needed, named {', '.join(names)}")
    for fold in names:
        model = fold if fold in test.models else next(iter(test.models))
        yield test.of(model, name, fold, np.flatnonzero(of_row == fold))


def _whole(test: _Test) -> Iterator[Result]:
    for name in test.manifests:
        for model in test.models:
            yield test.of(model, name, "all")


def _corruptions(test: _Test) -> Iterator[Result]:
    protocol, (name, manifest) = test.protocol, next(iter(test.manifests.items()))
    for model, source in test.models.items():
        cells = source
        if not isinstance(cells, Path):
            _check_crops(manifest, cells)
            folder = test.folder / _file_name(protocol.name, model)
            cells = predict_cells(
                partial(lambda one: one, cells), manifest, folder, name=model, profile=protocol.profile
            )
        found = robustness(cells, resamples=test.resamples)
        if found.sha256 != fingerprint(manifest) or found.profile != protocol.profile:
            raise ManifestError(f"{cells}: not of {manifest} in profile {protocol.profile}; give such cells")
        if ALL not in found.means:
            raise ManifestError(f"{cells}: {protocol.name} needs all of the 13 kinds x 5 severities")
        for part, one in {"clean": found.clean, **found.kinds, **found.means}.items():
            yield Result(model, name, part, one)


def _file_name(*words: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words))


def _check_crops(manifest: Path, predictor: Predictor) -> None:
    """Raises ManifestError for raw photos, and for crops of another frame than a predictor that says its own wants."""
    said = metadata(manifest)
    frame, margin = getattr(predictor, "frame", None), getattr(predictor, "margin", None)
    check_frame(manifest, frame or said.get("frame", "aligned"), said.get("margin", 0.0) if margin is None else margin)


def _parts_of(manifest: Path, column: str) -> NDArray[np.str_]:
    """The part of each row (N,) as text."""
    found = open_manifest(manifest, need=[column]).read(columns=[column])[column]
    if not len(found) or found.null_count:
        raise ManifestError(f"{manifest}: {found.null_count} of {len(found)} rows have no {column}")
    return np.array([str(part) for part in found.to_pylist()])


def _named(protocol: Protocol, manifest: Path, of_row: NDArray[np.str_]) -> list[str]:
    """The folds by name, numbers as numbers; each must be there, and be more than one."""
    there = sorted(set(of_row.tolist()), key=lambda name: (len(name) if name.isdecimal() else 99, name))
    missing = [fold for fold in protocol.folds if fold not in there]
    if protocol.kind == "folds" and (missing or len(there) < 2):
        wanted = ", ".join(protocol.folds) or "two folds at least"
        raise ManifestError(f"{manifest}: column {protocol.column} has {', '.join(there[:9])}; {wanted} is needed")
    return protocol.folds or there


def _subset(manifest: Path, rows: Rows, target: Path) -> Path:
    """Writes those rows of a manifest, in their order, with all columns."""
    schema = described(open_manifest(manifest).schema_arrow.empty_table(), metadata(manifest)).schema
    first = 0
    with replacing(target) as path, pq.ParquetWriter(path, schema) as writer:
        for part in parts(manifest):
            inside = rows[(rows >= first) & (rows < first + len(part))] - first
            chosen = part.take(pa.array(inside))
            moved = target.parent.resolve() != manifest.parent.resolve()
            if moved and any(image and not image["bytes"] for image in chosen["image"].to_pylist()):
                raise ManifestError(f"{target}: some pictures of {manifest} are files beside it; write into its folder")
            writer.write_table(chosen.cast(schema))
            first += len(part)
    return target


def _shown(one: Score, metric: str) -> str:
    if metric not in one.metrics:
        return ""
    value, interval = one.metrics[metric].value, one.metrics[metric].interval
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _kinds_of_age(manifest: Path) -> str:
    """Which kinds of age a manifest has: errors against different kinds are different numbers."""
    table = read_manifest(manifest, ["age_kind"])
    kinds = sorted({str(kind) for kind in table["age_kind"].to_pylist()}) if table.column_names else ["unsaid"]
    return f"kind of age {', '.join(kinds)}"
