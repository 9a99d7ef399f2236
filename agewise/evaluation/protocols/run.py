"""A protocol run: models predict the faces that it says, and are scored; a call after a kill goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from agewise.ages import Predictor
from agewise.data.manifest import ManifestError, fingerprint, metadata, numbers, read_manifest
from agewise.evaluation.groups import score
from agewise.evaluation.predictions import predict_manifest
from agewise.evaluation.protocols.outcome import Outcome, Result, Tested
from agewise.evaluation.protocols.parts import Rows, folds_of, parts_of, subset
from agewise.evaluation.protocols.scoring import faces_of
from agewise.evaluation.protocols.settings import Protocol
from agewise.evaluation.protocols.sources import Model, Source, cells_of, opened, predictions_of, read_predictions
from agewise.evaluation.robustness.cells import predict_cells
from agewise.evaluation.robustness.scores import ALL, robustness
from agewise.evaluation.robustness.walk import CLEAN


@dataclass(frozen=True, slots=True)
class How:
    """How faces are predicted: none of it changes a number. progress: done and total, of faces or of cells."""

    batch: int = 64
    workers: int = 1
    progress: Callable[[int, int], None] = lambda _done, _total: None


PLAIN = How()


def run(
    protocol: Protocol,
    models: Mapping[str, Source],
    manifests: Mapping[str, Path],
    folder: Path,
    resamples: int = 1000,
    how: How = PLAIN,
) -> Outcome:
    """The scores of models by a protocol; their predictions are files in `folder` first.

    models: by name; of folds one a fold, by its name, or a single one that has seen none of them. manifests: by name,
    of crops; one, but for a matrix. Raises ManifestError, or ValueError of a model, in one line.
    """
    if not models or not manifests or (protocol.kind != "matrix" and len(manifests) > 1):
        wanted = "manifests and models" if protocol.kind == "matrix" else "one manifest and models"
        raise ManifestError(f"{protocol.name}: {len(manifests)} manifests, {len(models)} models; {wanted} are needed")
    if protocol.kind == "tables":
        raise ManifestError(f"{protocol.name}: a protocol of tables is run by agewise.evaluation.paper")
    tested = {name: Tested.of(path) for name, path in manifests.items()}
    walk = {"holdout": _holdout, "folds": _folds, "corruptions": _corruptions}.get(protocol.kind, _whole)
    test = _Test(protocol, models, manifests, folder, resamples, how)
    results = tuple(walk(test))
    mean, std = _over_folds(protocol, results)
    notes = [*protocol.notes, *(f"{name}: {_kinds_of_age(path)}" for name, path in manifests.items())]
    if protocol.kind == "folds" and len(models) == 1:
        notes.append(f"One model, {next(iter(models))}, for all folds: it must have seen none of their faces")
    return Outcome(protocol, results, mean, std, tuple(notes), dict(test.names), tested)


@dataclass(frozen=True, slots=True)
class _Test:
    """What `run` was given; names: of the models that were asked, as they call themselves."""

    protocol: Protocol
    models: Mapping[str, Source]
    manifests: Mapping[str, Path]
    folder: Path
    resamples: int
    how: How
    names: dict[str, str] = field(default_factory=dict)

    def of(self, model: str, name: str, part: str, rows: Rows | None = None) -> Result:
        """One model on those rows of a manifest, on all where None."""
        table = self._predictions(model, name, part, rows)
        scored = score(part, faces_of(self.protocol, table, name), self.resamples)
        ages = {"age": numbers(table, "age"), "mean": numbers(table, "mean")}
        return Result(
            model, name, part, scored, pa.table({"row": np.arange(len(table)) if rows is None else rows, **ages})
        )

    def _predictions(self, model: str, name: str, part: str, rows: Rows | None) -> pa.Table:
        source, manifest = self.models[model], self.manifests[name]
        if isinstance(source, Path):
            file = predictions_of(source, manifest)
            self.names[model] = metadata(file)["name"]
            table = read_predictions(file)
            return table if rows is None else table.take(pa.array(rows))
        predictor, called = opened(source, model, manifest)
        self.names[model] = called
        stem = _file_name(self.protocol.name, model, name, part)
        crops = manifest if rows is None else subset(manifest, rows, self.folder / f"{stem}.crops.parquet")
        target, how = self.folder / f"{stem}.parquet", self.how
        try:
            predict_manifest(predictor, crops, target, name=called, batch=how.batch, progress=how.progress)
        finally:
            if crops != manifest:
                crops.unlink(missing_ok=True)  # pictures of people do not stay in a folder of results
        return read_predictions(target)

    def cells(self, model: str, manifest: Path) -> Path:
        """The folder of a model's 65 cells, made here where they are not given."""
        source = self.models[model]
        if isinstance(source, Path):
            found = cells_of(source)
            if found is None:
                raise ManifestError(f"{source}: no cells there; agewise robustness makes them")
            return found
        _, called = opened(source, model, manifest)
        how, folder = self.how, self.folder / _file_name(self.protocol.name, model)
        openly = source.predictor if isinstance(source, Model) else partial(_itself, source)
        return predict_cells(
            openly,
            manifest,
            folder,
            name=called,
            profile=self.protocol.profile,
            batch=how.batch,
            workers=how.workers,
            progress=how.progress,
        )


def _holdout(test: _Test) -> Iterator[Result]:
    protocol, (name, manifest) = test.protocol, next(iter(test.manifests.items()))
    of_row = parts_of(manifest, protocol.column)
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
    names = folds_of(test.protocol, manifest)
    if len(test.models) > 1 and set(test.models) != set(names):
        given = ", ".join(test.models)
        raise ManifestError(f"{manifest}: the models are {given}; one a fold is needed, named {', '.join(names)}")
    of_row = parts_of(manifest, test.protocol.column)
    for fold in names:
        model = fold if fold in test.models else next(iter(test.models))
        yield test.of(model, name, fold, np.flatnonzero(of_row == fold))


def _whole(test: _Test) -> Iterator[Result]:
    for name in test.manifests:
        for model in test.models:
            yield test.of(model, name, "all")


def _corruptions(test: _Test) -> Iterator[Result]:
    protocol, (name, manifest) = test.protocol, next(iter(test.manifests.items()))
    for model in test.models:
        cells = test.cells(model, manifest)
        found = robustness(cells, resamples=test.resamples)
        if found.sha256 != fingerprint(manifest) or found.profile != protocol.profile:
            raise ManifestError(f"{cells}: not of {manifest} in profile {protocol.profile}; give such cells")
        if ALL not in found.means:
            raise ManifestError(f"{cells}: {protocol.name} needs all of the 13 kinds x 5 severities")
        test.names[model] = found.model
        for part, one in {CLEAN: found.clean, **found.kinds, **found.means}.items():
            yield Result(model, name, part, one)


def _over_folds(protocol: Protocol, results: tuple[Result, ...]) -> tuple[dict[str, float], dict[str, float]]:
    tested = [one.score for one in results if protocol.kind == "folds"]
    shared = [metric for metric in protocol.metrics if tested and all(metric in one.metrics for one in tested)]
    over = {metric: np.array([one.metrics[metric].value for one in tested]) for metric in shared}
    mean = {metric: float(values.mean()) for metric, values in over.items()}
    return mean, {metric: float(values.std(ddof=1)) for metric, values in over.items()}


def _itself(predictor: Predictor) -> Predictor:
    return predictor


def _file_name(*words: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words))


def _kinds_of_age(manifest: Path) -> str:
    """Which kinds of age a manifest has: errors against different kinds are different numbers."""
    table = read_manifest(manifest, ["age_kind"])
    kinds = sorted({str(kind) for kind in table["age_kind"].to_pylist()}) if table.column_names else ["unsaid"]
    return f"kind of age {', '.join(kinds)}"
