"""An annotated manifest -> the same one with the teacher's ages put right, by faces whose age or group is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.data.manifest import (
    ManifestError,
    distributions,
    first_fault,
    metadata,
    numbers,
    probs_column,
    read_manifest,
    write_manifest,
)
from agewise.teachers.annotation.answers import DECIMALS
from agewise.teachers.recalibrate import Response, blurred, fit_response

GROWN = 20.0
"""The age from which people who label age groups err alike; they err less on children."""

EDGES = 20.0
"""The most, in years, by which the bounds of groups may be blurred."""

FEWEST = 1000
"""Faces of known age that a response of their own needs: with fewer it errs more than it puts right."""

BOUNDS = ("age", "age_low", "age_high")
"""The columns that say what is known of a face."""


def recalibrate(
    manifest: Path,
    target: Path,
    response: Path,
    *,
    fit_on: Path | None = None,
    constrain: bool = False,
    edge: float = 0.0,
    by: str | None = None,
) -> Response:
    """Writes an annotated manifest with recalibrated `age_probs`, and the fitted Response as JSON.

    fit_on: the annotated manifest with ages or groups to fit on; `manifest` itself where None.
    constrain: each distribution keeps only the ages of its row's known group.
    edge: std, in years, by which the known groups' bounds are blurred first (less below GROWN): labels err too.
    by: a column, such as sex, for each of whose values the teacher's answers are fitted apart; the file holds the
        Response of all, as it is for those of whom the value is not known, or too seldom.
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
    table = read_manifest(manifest, need=["age_probs"] if by is None else ["age_probs", by])
    within = known(table).probs if constrain else None
    if within is not None:
        grouped = np.isnan(numbers(table, "age"))
        within[grouped] = blurred(within[grouped], edge, GROWN)
    ages = fitted.posterior(distributions(table).mean, within)
    if by is not None:
        ages = _apart(chosen, table, by, fitted, ages, within)
    column = table.schema.get_field_index("age_probs")
    said = {**metadata(manifest), "step": "recalibrate", "constrained": constrain, "edge": edge}
    said |= {} if by is None else {"by": by}
    fitted.write(response)
    table = table.set_column(column, "age_probs", probs_column(ages))
    if "age_teacher" in table.column_names:
        at = table.schema.get_field_index("age_teacher")
        table = table.set_column(at, "age_teacher", pa.array(ages.mean.round(DECIMALS)))
    write_manifest(table, target, said)
    return fitted


def _apart(
    chosen: pa.Table,
    table: pa.Table,
    by: str,
    fitted: Response,
    ages: AgeDistribution,
    within: NDArray[np.float64] | None,
) -> AgeDistribution:
    """The ages of a table, those of each value of `by` by a response of its own to the prior of all."""
    if by not in chosen.column_names:
        raise ManifestError(f"--by {by}: the manifest to fit on has no such column")
    if any(pa.types.is_nested(one.schema.field(by).type) for one in (chosen, table)):
        raise ManifestError(f"--by {by}: a column of lists or records; one of plain values is needed")
    probs, estimate = ages.probs.copy(), distributions(table).mean
    there, values = pc.value_counts(chosen[by]), table[by].to_pylist()
    often = [one["values"] for one in there.to_pylist() if one["values"] is not None and one["counts"] >= FEWEST]
    if not often:
        raise ManifestError(f"--by {by}: no value has the {FEWEST} faces of known age that a fit of its own needs")
    for value in often:
        own = chosen.filter(pc.equal(chosen[by], value))
        response = fit_response(distributions(own).mean, known(own).probs)
        rows = np.array([one == value for one in values])
        apart = Response(response.mean, response.std, fitted.prior)
        probs[rows] = apart.posterior(estimate[rows], None if within is None else within[rows]).probs
    return AgeDistribution(probs)


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
