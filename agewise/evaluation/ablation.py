"""What each part of a teacher adds: one member, the members' vote, the views, the switch to the children's members."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.data.crops import Batch, parts, read_batches
from agewise.data.manifest import fingerprint, metadata, open_manifest, read_manifest
from agewise.data.shards import Shards
from agewise.evaluation.comparison.compare import Comparison, compare
from agewise.evaluation.groups import MAIN, Estimate
from agewise.evaluation.page import Table
from agewise.evaluation.predictions import LABELS, labels_of, prediction_rows
from agewise.evaluation.report.values import METRICS, as_shown
from agewise.teachers.ensemble import Ensemble

STEPS = ("one member", "vote", "views", "children")
"""Each step has all that those before it have; with one member, the general members take turns, face by face."""


def predict_steps(
    teacher: Ensemble,
    manifest: Path,
    folder: Path,
    *,
    name: str,
    batch: int = 64,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Path]:
    """A file of predictions for each step that the teacher has, in `folder`; a call after a kill goes on.

    Raises ManifestError where the manifest cannot be used, and what the teacher raises.
    """
    steps = steps_of(teacher)
    labels_of(manifest, read_manifest(manifest, LABELS))
    plan = {"step": "predict", "manifest": manifest.name, "content": fingerprint(manifest)}
    names = {step: f"{step} of {name}" for step in steps}
    targets = {step: folder / f"{step.replace(' ', '-')}.parquet" for step in steps}
    said = {step: {**plan, "name": names[step]} for step in steps}
    if all(path.exists() and said[step].items() <= metadata(path).items() for step, path in targets.items()):
        return list(targets.values())
    shards = {step: Shards(path, {**plan, "name": names[step]}) for step, path in targets.items()}
    total, first = open_manifest(manifest, need=["image"]).metadata.num_rows, 0
    for index, table in enumerate(parts(manifest)):
        if not all(shard.done(index) for shard in shards.values()):
            made: dict[str, list[pa.Table]] = {step: [] for step in steps}
            start = first
            for read in read_batches(table, manifest.parent, batch):
                for step, rows in _predicted(teacher, read, start):
                    made[step].append(rows)
                start += len(read.rows)
                progress(start, total)
            for step, shard in shards.items():
                shard.write(index, pa.concat_tables(made[step]))
        first += len(table)
        progress(first, total)
    for step, shard in shards.items():
        shard.join(said[step])
    return list(targets.values())


def steps_of(teacher: Ensemble) -> tuple[str, ...]:
    """The steps that a teacher has: only one with other views than the original has `views`, and so on."""
    has = {"views": teacher.views != ("original",), "children": bool(teacher.children)}
    return tuple(step for step in STEPS if has.get(step, True))


def _predicted(teacher: Ensemble, read: Batch, first: int) -> Iterator[tuple[str, pa.Table]]:
    """Each step and the rows that it predicts."""
    if not len(read.crops):
        for step in steps_of(teacher):
            yield step, prediction_rows(read, None, first)
        return
    for step, ages in _answers(teacher, read.crops, np.arange(first, first + len(read.rows))[read.readable]):
        yield step, prediction_rows(read, ages, first)


def _answers(
    teacher: Ensemble, crops: NDArray[np.uint8], rows: NDArray[np.intp]
) -> Iterator[tuple[str, AgeDistribution]]:
    count = len(teacher.members)
    general = {"weights": teacher.weights, "names": teacher.names[:count]}
    vote = Ensemble(teacher.members, **general).answer(crops)
    yield "one member", AgeDistribution(vote.votes[np.arange(len(crops)), rows % count])
    yield "vote", vote.ages
    ages = vote.ages
    if teacher.views != ("original",):
        ages = Ensemble(teacher.members, **general, views=teacher.views)(crops)
        yield "views", ages
    if teacher.children:
        young = teacher.young(ages)
        probs = ages.probs.copy()
        if young.any():
            probs[young] = Ensemble(teacher.children, views=teacher.views)(crops[young]).probs
        yield "children", AgeDistribution(probs)


def ablation(predictions: Sequence[Path], resamples: int = 1000) -> list[Comparison]:
    """Each step compared with the one before it, on the same faces."""
    pairs = pairwise(predictions)
    return [compare([before, after], [], resamples=resamples) for before, after in pairs]


def tables(found: Sequence[Comparison]) -> Iterator[Table]:
    """The main metric of each step, and the difference to the step before, for all faces and by band of age."""
    trials = [one.trials[0] for one in found]
    metric = MAIN[trials[0].labels]
    steps = [found[0].models[0], *(one.models[1] for one in found)]
    heads = [step.partition(" of ")[0] for step in steps]
    columns = [[trial.overall, *trial.parts["age"]] for trial in trials]
    rows, gains = [], []
    for at, part in enumerate(columns[0]):
        scores = [
            part.scores[steps[0]],
            *(column[at].scores[one] for column, one in zip(columns, steps[1:], strict=True)),
        ]
        rows.append([part.name, str(part.n), *(as_shown(metric, score.metrics[metric]) for score in scores)])
        less = [column[at].differences[one] for column, one in zip(columns, steps[1:], strict=True)]
        gains.append([part.name, str(part.n), *(f"{_signed(one.years)} {one.verdict}" for one in less)])
    title = f"{METRICS[metric].title} on {trials[0].manifest}, years"
    yield title, ["age", "faces", *heads], rows
    yield "Difference to the step before", ["age", "faces", *(f"+ {step}" for step in heads[1:])], gains


def _signed(years: Estimate) -> str:
    if years.interval is None:
        return f"{years.value:+.2f}"
    return f"{years.value:+.2f} [{years.interval[0]:+.2f}, {years.interval[1]:+.2f}]"
