"""Manifest + teacher -> the same manifest with an age distribution a face (VMAGE-style annotation)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from agewise.ages import AgeDistribution, Predictor
from agewise.data.crops import Batch, parts, read_batches
from agewise.data.manifest import (
    ManifestError,
    check_frame,
    distributions,
    fingerprint,
    first_fault,
    metadata,
    numbers,
    open_manifest,
    probs_column,
    read_manifest,
    write_manifest,
)
from agewise.data.replacing import check_place
from agewise.data.shards import Shards
from agewise.teachers.ensemble import Ensemble
from agewise.teachers.recalibrate import Response, blurred, fit_response

Progress = Callable[[int, int], None]

GROWN = 20.0
"""The age from which people who label age groups err alike; they err less on children."""

EDGES = 20.0
"""The most, in years, by which the bounds of groups may be blurred."""

BOUNDS = ("age", "age_low", "age_high")
"""The columns that say what is known of a face."""


def annotate(
    manifest: Path,
    teacher: Predictor,
    target: Path,
    *,
    identity: str,
    batch: int = 50,
    progress: Progress = lambda _done, _total: None,
) -> tuple[int, list[tuple[str, str]]]:
    """Writes `manifest` with the teacher's `age_probs`, and `agreement` where the teacher is an Ensemble.

    identity: what the teacher is (a fingerprint), so that a resumed run is not finished by another one.

    Returns the number of faces annotated and the rows left out, each with its reason. A finished target of the same
    manifest and teacher is not made again; one of another is refused.
    """
    total = open_manifest(manifest, need=["image"]).metadata.num_rows
    if total == 0:
        raise ManifestError(f"{manifest}: no row to annotate")
    check_frame(manifest, "aligned")
    check_place(target)
    read_manifest(manifest, columns=[*BOUNDS, "age_std"])  # a label that cannot be is found before the long work
    plan = {"manifest": fingerprint(manifest), "teacher": identity}
    if target.exists():
        return _finished(target, {"step": "annotate", **plan})
    shards = Shards(target, plan)
    done = 0
    for index, table in enumerate(parts(manifest)):
        if not shards.done(index):
            pieces: list[pa.Table] = []
            notes: list[list[str]] = []
            first = done
            for read in read_batches(table, manifest.parent, batch):
                pieces.append(_annotated(read, teacher))
                notes += [[f"row {first + n}", reason] for n, reason in enumerate(read.reasons) if reason]
                first += len(read.rows)
                progress(first, total)
            shards.write(index, pa.concat_tables(pieces), notes)
        done += len(table)
        progress(done, total)
    left_out = [(row, reason) for row, reason in shards.notes()]
    return shards.join({**metadata(manifest), "step": "annotate", **plan, "left_out": left_out}), left_out


def recalibrate(
    manifest: Path,
    target: Path,
    response: Path,
    *,
    fit_on: Path | None = None,
    constrain: bool = False,
    edge: float = 0.0,
) -> Response:
    """Writes an annotated manifest with recalibrated `age_probs`, and the fitted Response as JSON.

    fit_on: the annotated manifest with ages or groups to fit on; `manifest` itself where None.
    constrain: each distribution keeps only the ages of its row's known group.
    edge: std, in years, by which the known groups' bounds are blurred first (less below GROWN): labels err too.
    """
    if metadata(manifest).get("step") == "recalibrate":
        raise ManifestError(f"{manifest} is recalibrated already; take the one that agewise annotate wrote")
    _check_places(manifest, fit_on or manifest, target, response)
    if not 0 <= edge <= EDGES:
        raise ManifestError(f"the blur of the groups' bounds is {edge:g}; 0..{EDGES:g} years is allowed")
    fitted_on = read_manifest(fit_on or manifest, need=["age_probs"])
    labelled = ~np.all([np.isnan(numbers(fitted_on, name)) for name in BOUNDS], axis=0)
    if not labelled.any():
        raise ManifestError(f"{fit_on or manifest}: no row with an age, or with age_low and age_high")
    chosen = fitted_on.filter(pa.array(labelled))
    fitted = fit_response(distributions(chosen).mean, known(chosen).probs)
    table = read_manifest(manifest, need=["age_probs"])
    within = known(table).probs if constrain else None
    if within is not None:
        grouped = np.isnan(numbers(table, "age"))
        within[grouped] = blurred(within[grouped], edge, GROWN)
    ages = fitted.posterior(distributions(table).mean, within)
    column = table.schema.get_field_index("age_probs")
    said = {**metadata(manifest), "step": "recalibrate", "constrained": constrain, "edge": edge}
    fitted.write(response)
    write_manifest(table.set_column(column, "age_probs", probs_column(ages)), target, said)
    return fitted


def known(table: pa.Table) -> AgeDistribution:
    """What the labels of each row say: an exact age, a group, or nothing (uniform)."""
    if (fault := first_fault(table)) is not None:
        raise ManifestError(f"row {fault[0]}: {fault[1]}")
    low = np.nan_to_num(numbers(table, "age_low"), nan=0.0)
    high = np.nan_to_num(numbers(table, "age_high"), nan=100.0)
    groups = AgeDistribution.of_groups(low, high).probs
    age = numbers(table, "age")
    exact = ~np.isnan(age)
    groups[exact] = AgeDistribution.of_ages(age[exact]).probs
    return AgeDistribution(groups)


def _check_places(manifest: Path, fit_on: Path, target: Path, response: Path) -> None:
    """Raises ManifestError where an output is a folder, or would overwrite what is read or the other output."""
    if target.is_dir() or response.is_dir():
        raise ManifestError(f"{target if target.is_dir() else response}: a folder; the name of a file is needed")
    for place in (target, response):
        if place.resolve() in (manifest.resolve(), fit_on.resolve()):
            raise ManifestError(f"{place} is the manifest that is read; give the new one another name")
    if target.resolve() == response.resolve():
        raise ManifestError(f"{target} is to hold the manifest and the response; give one another name")


def _finished(target: Path, said: dict[str, Any]) -> tuple[int, list[tuple[str, str]]]:
    """What annotate returned when it wrote `target`; refuses a file that another manifest or teacher made."""
    earlier = metadata(target)
    if any(earlier.get(key) != value for key, value in said.items()):
        raise ManifestError(f"{target} exists and is not this teacher's for this manifest; delete it, or write another")
    return open_manifest(target).metadata.num_rows, [(row, reason) for row, reason in earlier.get("left_out", [])]


def _annotated(read: Batch, teacher: Predictor) -> pa.Table:
    rows = read.rows.filter(pa.array(read.readable))
    agreement: Any = None
    if not len(read.crops):
        ages = AgeDistribution.concatenate([])
    elif isinstance(teacher, Ensemble):
        votes = teacher.votes(read.crops)
        ages, agreement = teacher.mixed(votes), teacher.agreement(votes)
    else:
        ages = teacher(read.crops)
    if len(ages) != len(rows):
        raise ManifestError(f"the teacher gave {len(ages)} answers to {len(rows)} faces")
    spread = pa.nulls(len(rows), pa.float64()) if agreement is None else pa.array(agreement)
    for name, values in (("age_probs", probs_column(ages)), ("agreement", spread)):
        at = rows.schema.get_field_index(name)
        rows = rows.append_column(name, values) if at < 0 else rows.set_column(at, name, values)
    return rows
