"""What a teacher says of the faces of a batch, checked, as columns of their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import AgeDistribution, Predictor
from agewise.data.crops import ahead
from agewise.data.manifest import ManifestError, probs_column
from agewise.teachers.annotation.plan import Piece, Plan, Run, pieces
from agewise.teachers.ensemble import Answer, Ensemble
from agewise.teachers.votes import votes_column

DECIMALS = 3
"""Of the ages that are written as numbers, as in VMAGE (Greco et al. 2021)."""


@dataclass(frozen=True, slots=True)
class Part:
    """The annotated rows of a part, and those left out: the row's number, its picture's path ("" if none), why."""

    index: int
    rows: pa.Table
    left_out: list[tuple[int, str, str]]


SAID = ("age_probs", "agreement", "age_teacher", "votes")
"""The columns that a teacher fills; what an earlier one said in them does not stay beside it."""


def answered_parts(
    plan: Plan, teacher: Predictor, runs: Sequence[Run], step: Callable[[int], None] = lambda _rows: None
) -> Iterator[Part]:
    """Each part of some runs with what the teacher says; the next batch is decoded while the teacher works.

    step: is told how many rows were done. Raises ManifestError naming the rows where the teacher fails.
    """
    if plan.votes and not isinstance(teacher, Ensemble):
        raise ManifestError(f"this teacher is a {type(teacher).__name__}: only an ensemble has votes to keep")
    tables: list[pa.Table] = []
    left_out: list[tuple[int, str, str]] = []
    for piece in ahead(pieces(plan, runs)):
        tables.append(_answered(plan, teacher, piece))
        left_out += _left_out(piece)
        step(len(piece.read.rows))
        if piece.last:
            yield Part(piece.part, pa.concat_tables(tables), left_out)
            tables, left_out = [], []


def _answered(plan: Plan, teacher: Predictor, piece: Piece) -> pa.Table:
    """The rows of a batch whose crops could be read, with what the teacher says of them."""
    rows = piece.read.rows.filter(pa.array(piece.read.readable))
    rows = rows.drop_columns([name for name in SAID if name in rows.column_names])
    answer = asked(teacher, piece.read.crops, np.flatnonzero(piece.read.readable) + piece.first)
    ages = answer if isinstance(answer, AgeDistribution) else answer.ages
    spread = pa.nulls(len(rows), pa.float64()) if isinstance(answer, AgeDistribution) else pa.array(answer.agreement)
    said: dict[str, Any] = {"age_probs": probs_column(ages), "agreement": spread}
    if plan.ages:
        said["age_teacher"] = pa.array(ages.mean.round(DECIMALS))
    if plan.votes and isinstance(answer, Answer):
        said["votes"] = votes_column(answer.votes, plan.votes)
    for name, values in said.items():
        rows = rows.append_column(name, values)
    return rows


def asked(teacher: Predictor, crops: NDArray[np.uint8], rows: NDArray[np.intp]) -> AgeDistribution | Answer:
    """What a teacher says of crops (N, H, H, 3), which are these `rows` (N,) of the manifest.

    Raises ManifestError where it fails, or gives anything but one distribution a face; the row is named where one face
    alone makes it fail.
    """
    if not len(crops) and not isinstance(teacher, Ensemble):
        return AgeDistribution.concatenate([])
    try:
        return _checked(teacher, crops)
    except ValueError as error:
        for crop, row in zip(crops, rows, strict=True):
            if len(crops) > 1 and (alone := _failure(teacher, crop)) is not None:
                raise ManifestError(f"row {row}: the teacher fails: {alone}") from error
        where = f"rows {rows[0]}..{rows[-1]}" if len(rows) > 1 else f"row {rows[0]}"
        raise ManifestError(f"{where}: the teacher fails: {error}") from error


def _failure(teacher: Predictor, crop: NDArray[np.uint8]) -> ValueError | None:
    """What goes wrong when a teacher sees this face alone."""
    try:
        _checked(teacher, crop[None])
    except ValueError as error:
        return error
    return None


def _checked(teacher: Predictor, crops: NDArray[np.uint8]) -> AgeDistribution | Answer:
    answer = teacher.answer(crops) if isinstance(teacher, Ensemble) else teacher(crops)
    ages = answer.ages if isinstance(answer, Answer) else answer
    if not isinstance(ages, AgeDistribution):
        raise ManifestError(f"it gave a {type(ages).__name__}; one distribution a face is needed")
    if len(ages) != len(crops):
        raise ManifestError(f"it gave {len(ages)} answers to {len(crops)} faces")
    if not np.isfinite(ages.probs).all():
        raise ManifestError("it gave a value that is no number")
    return answer


def _left_out(piece: Piece) -> list[tuple[int, str, str]]:
    """Number, path and reason of each row of a batch that has no crop."""
    images = piece.read.rows["image"]
    return [
        (piece.first + n, (images[n].as_py() or {}).get("path") or "", reason)
        for n, reason in enumerate(piece.read.reasons)
        if reason
    ]
