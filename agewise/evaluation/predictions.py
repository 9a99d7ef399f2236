"""Manifest -> a file of predictions, one row a face, here or on a cluster; a call after a kill goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import AGES, AgeDistribution, Predictor
from agewise.data.crops import Batch, bodies
from agewise.data.manifest import (
    COLUMNS,
    ManifestError,
    fingerprint,
    metadata,
    numbers,
    open_manifest,
    probs_column,
    read_manifest,
)
from agewise.data.shards import PART_ROWS, Shards
from agewise.evaluation.groups import Labels
from agewise.teachers.annotation.cluster import work_on_ray
from agewise.teachers.annotation.connecting import check_address
from agewise.teachers.annotation.plan import Plan, Run, pieces, runs_of, shares_of

PREDICTED: dict[str, pa.DataType] = {
    "row": pa.int64(),  # of the manifest, from 0
    "age_probs": COLUMNS["age_probs"],  # null, as the four below, where there is an error
    "mean": pa.float64(),  # years
    "std": pa.float64(),
    "low": pa.float64(),  # years: bounds of the interval with ages.LEVEL of the probability
    "high": pa.float64(),
    "error": pa.string(),  # why the face has no prediction; null where it has one
}
"""The columns that a file of predictions has beside those of its manifest."""

LABELS = ("age", "age_std", "age_low", "age_high")

Progress = Callable[[int, int], None]


def predict_manifest(
    predictor: Predictor,
    manifest_path: Path | str,
    target_parquet: Path | str,
    *,
    name: str,
    batch: int = 64,
    progress: Progress = lambda _done, _total: None,
) -> Path:
    """The file of the ages that a model, called `name`, predicts for the crops of a manifest that knows their ages.

    A crop that cannot be read is a row with its reason. A call after a kill goes on where the first one stopped, but
    not under another name or on another manifest: two models need two names. A finished file of that model and manifest
    is not made again.

    Raises:
        ManifestError: no usable manifest, or no age known in it.
        ValueError: the predictor fails or does not give one distribution a face.
    """
    begun = _begun(Path(manifest_path), Path(target_parquet), name, batch)
    if begun is not None:
        begun.finish(begun.predicted(predictor, begun.missing()), progress)
    return Path(target_parquet)


def predict_manifest_on_ray(
    open_predictor: Callable[[], Predictor],
    manifest_path: Path | str,
    target_parquet: Path | str,
    *,
    name: str,
    address: str,
    workers: int = 0,
    cores: int = 1,
    batch: int = 64,
    progress: Progress = lambda _done, _total: None,
) -> Path:
    """The file that `predict_manifest` writes, made by the workers of a Ray cluster; either finishes the other's.

    open_predictor: is called in every worker (`cluster.opened_as`). address, workers, cores: as of `annotate_on_ray`.

    Raises:
        ClusterError: Ray is not installed, does not answer, or its workers cannot work.
        ManifestError: as of `predict_manifest`; what a worker says arrives as its one line.
    """
    check_address(address)
    begun = _begun(Path(manifest_path).absolute(), Path(target_parquet).absolute(), name, batch)
    if begun is not None:
        shares = shares_of(begun.plan, begun.missing())
        begun.finish(work_on_ray(begun, shares, open_predictor, address, workers, cores), progress)
    return Path(target_parquet)


def _begun(source: Path, target: Path, name: str, batch: int) -> Predictions | None:
    """What is to be predicted; None where the target is that already. Raises what `predict_manifest` raises."""
    if batch < 1:
        raise ValueError(f"the batch is {batch} faces; at least 1 is needed")
    file = open_manifest(source, need=["image"])
    given = [field for field in file.schema_arrow if field.name not in {"image", "age_probs"}]
    if clash := sorted({field.name for field in given} & PREDICTED.keys()):
        raise ManifestError(f"{source}: column {', '.join(clash)} would be overwritten by the predictions; rename it")
    labels_of(source, read_manifest(source, LABELS))
    content = fingerprint(source)
    said = {"step": "predict", "name": name, "manifest": source.name, "content": content}
    if target.exists() and said.items() <= metadata(target).items():
        return None
    plan = Plan(str(source), content, name, file.metadata.num_rows, PART_ROWS, batch, carried=False)
    shards = Shards(target, {"manifest": str(source.resolve()), "content": content, "name": name})
    return Predictions(plan, shards, pa.schema([*given, *PREDICTED.items()]), said)


@dataclass(frozen=True, slots=True)
class Predictions:
    """A file of predictions in the making: a `cluster.Job`, whose parts any process may predict.

    plan: its teacher is the model's name. schema: of the file. said: what the file says of itself.
    """

    plan: Plan
    shards: Shards
    schema: pa.Schema
    said: dict[str, Any]

    def missing(self) -> list[int]:
        """The parts that are not there."""
        return [part for part in range(self.plan.parts) if not self.shards.done(part)]

    def left(self) -> int:
        """Rows that are not there."""
        return self.plan.rows_of(self.missing())

    def count(self, share: Run) -> int:
        """Rows of a share."""
        return self.plan.rows_of(range(*share))

    def do(self, predictor: Predictor, share: Run) -> None:
        """Predicts the parts of a share that are not there."""
        missing = [part for part in range(*share) if not self.shards.done(part)]
        for _ in self.predicted(predictor, missing):
            pass

    def predicted(self, predictor: Predictor, missing: Sequence[int]) -> Iterator[int]:
        """Predicts and writes these parts, and tells the rows of each batch that is done."""
        source = Path(self.plan.manifest)
        folder = source if source.is_dir() else source.parent
        made: list[pa.Table] = []
        for piece in pieces(self.plan, runs_of(missing)):
            where = f"{source}: rows {piece.first}..{piece.first + len(piece.read.rows) - 1}"
            rows = _predicted(piece.read, predictor, piece.first, where, folder)
            made.append(rows.select(self.schema.names).cast(self.schema))
            if piece.last:
                self.shards.write(piece.part, pa.concat_tables(made))
                made = []
            yield len(piece.read.rows)

    def finish(self, steps: Iterable[int], progress: Progress) -> None:
        """Takes all steps, of so many rows each, and joins the parts."""
        done = self.plan.total - self.left()
        progress(done, self.plan.total)
        for rows in steps:
            done += rows
            progress(done, self.plan.total)
        self.shards.join(self.said)


def _predicted(read: Batch, predictor: Predictor, first: int, where: str, folder: Path) -> pa.Table:
    """The rows, the first of which is row `first`, without their images and with what is predicted for them."""
    return prediction_rows(read, _of_batch(predictor, read, where, folder) if len(read.crops) else None, first)


def prediction_rows(read: Batch, found: AgeDistribution | None, first: int) -> pa.Table:
    """A batch's rows, the first of which is row `first`, with the ages of its crops, but without their images."""
    probs = np.eye(1, len(AGES)).repeat(len(read.rows), axis=0)  # stays where there is no crop, and is masked below
    if found is not None:
        probs[read.readable] = found.probs
    ages, failed = AgeDistribution(probs), ~read.readable
    bounds = ages.interval()
    years = {"mean": ages.mean, "std": ages.std, "low": bounds[:, 0], "high": bounds[:, 1]}
    made = {
        "row": pa.array(np.arange(first, first + len(read.rows))),
        "age_probs": pa.FixedSizeListArray.from_arrays(probs_column(ages).flatten(), len(AGES), mask=pa.array(failed)),
        **{name: pa.array(values, mask=failed) for name, values in years.items()},
        "error": pa.array(read.reasons, pa.string()),
    }
    kept = [name for name in read.rows.column_names if name not in {"image", "age_probs"}]
    return pa.table({**{name: read.rows[name] for name in kept}, **made})


def _of_batch(predictor: Predictor, read: Batch, where: str, folder: Path) -> AgeDistribution:
    size = int(getattr(predictor, "body_size", 0))
    shown = [bodies(read, folder, size)] if size and "body" in read.rows.column_names else []
    return asked(predictor, where, read.crops, *shown)


def asked(predictor: Predictor, where: str, *shown: NDArray[np.uint8]) -> AgeDistribution:
    """The ages of crops, and of the bodies that some predictors see too. ValueError saying where it gives none."""
    try:
        ages = predictor(*shown)
    except ValueError as error:
        raise ValueError(f"{where}: the predictor fails: {error}") from error
    if not isinstance(ages, AgeDistribution) or len(ages) != len(shown[0]):
        found = f"{len(ages)} faces" if isinstance(ages, AgeDistribution) else f"a {type(ages).__name__}"
        raise ValueError(
            f"{where}: the predictor gives {found} for {len(shown[0])} crops; one distribution each is needed"
        )
    return ages


def labels_of(path: Path, table: pa.Table) -> Labels:
    """What faces are scored against: exact ages where there is one, else age groups; ManifestError of neither."""
    if not np.isnan(numbers(table, "age")).all():
        return "age"
    if not np.isnan(numbers(table, "age_low") + numbers(table, "age_high")).all():
        return "group"
    raise ManifestError(f"{path}: no row has a known age (column age, or age_low and age_high) to score against")
