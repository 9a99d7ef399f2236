"""What a change of a model's file does to its answers: errors by band and group before and after, on the same faces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agewise.data.manifest import ManifestError, numbers, read_manifest
from agewise.evaluation.comparison.compare import AGE, Part, compare
from agewise.evaluation.groups import FEWEST_FACES, MAIN
from agewise.metrics import Floats

FEW_RESAMPLES = 200
"""For the intervals that are printed; what is allowed is held against the differences themselves."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Years by which a changed file may be worse, and by which its answers may move.

    overall: the mean error of all faces, `part`: of any band or group of FEWEST_FACES or more, may rise by so much.
    moved: the mean absolute change of an age. bounds: of the two bounds of the 90 % interval.
    """

    overall: float = 0.1
    part: float = 0.5
    moved: float = 1.0
    bounds: float = 1.5

    def __post_init__(self) -> None:
        """Raises ValueError on a limit below 0 or that is no number."""
        for name, years in asdict(self).items():
            if not 0.0 <= years < float("inf"):
                raise ValueError(f"the limit {name} is {years} years; 0 or more is allowed")


@dataclass(frozen=True, slots=True)
class PartShift:
    """A set of faces (column `all`, `age` for bands, or a group's): mean error in years before and after."""

    column: str
    name: str
    faces: int
    before: float
    after: float
    interval: tuple[float, float] | None

    @property
    def rise(self) -> float:
        """Years by which the error is greater after."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class Shift:
    """A changed file against the original, on the faces of one manifest.

    metric: `mae` or `excess`. parts: all faces first, then bands, then groups. moved, bounds: as in Limits.
    coverage: share of ages inside the 90 % interval, before and after; None where only groups are known.
    """

    manifest: str
    metric: str
    parts: tuple[PartShift, ...]
    moved: float
    bounds: float
    coverage: tuple[float, float] | None

    @property
    def overall(self) -> PartShift:
        """All faces."""
        return self.parts[0]

    @property
    def worst(self) -> PartShift | None:
        """The band or group of FEWEST_FACES or more whose error rises most; None where there is none."""
        large = [part for part in self.parts[1:] if part.faces >= FEWEST_FACES]
        return max(large, key=lambda part: part.rise, default=None)

    def beyond(self, limits: Limits) -> Iterator[str]:
        """What is not allowed, each in a few words."""
        everybody, worst = self.overall, self.worst
        if everybody.rise > limits.overall:
            yield f"{_said(everybody, self.metric)}; {limits.overall:g} is allowed"
        if worst is not None and worst.rise > limits.part:
            yield f"{_said(worst, self.metric)}; {limits.part:g} is allowed"
        if self.moved > limits.moved:
            yield f"ages move by {self.moved:.2f} years on average; {limits.moved:g} is allowed"
        if self.bounds > limits.bounds:
            yield f"the bounds of intervals move by {self.bounds:.2f} years on average; {limits.bounds:g} is allowed"

    def as_json(self) -> dict[str, Any]:
        """All of it as a table of JSON."""
        parts = [{**asdict(part), "rise": part.rise} for part in self.parts]
        return {**asdict(self), "parts": parts}


def shift(original: Path, changed: Path, groups: Sequence[str] | None = None) -> Shift:
    """The shift between two files of predictions (`predict_manifest`) of the same manifest.

    groups: columns; None is sex and ethnicity where they are. Raises ManifestError where faces cannot be scored.
    """
    found = compare([original, changed], groups, resamples=FEW_RESAMPLES)
    (trial,), (before, after) = found.trials, found.models
    metric = MAIN[trial.labels]
    parts = [_part("all", trial.overall, before, after, metric)]
    for column in (AGE, *(name for name in trial.parts if name != AGE)):
        parts += [_part(column, part, before, after, metric) for part in trial.parts[column]]
    scores = trial.overall.scores
    inside = tuple(scores[model].metrics.get("coverage") for model in (before, after))
    coverage = None if inside[0] is None or inside[1] is None else (inside[0].value, inside[1].value)
    moved, bounds = _moved(original, changed)
    return Shift(trial.manifest, metric, tuple(parts), moved, bounds, coverage)


def _part(column: str, part: Part, before: str, after: str, metric: str) -> PartShift:
    first, second = (part.scores[model].metrics[metric].value for model in (before, after))
    return PartShift(column, part.name, part.n, first, second, part.differences[after].years.interval)


def _moved(original: Path, changed: Path) -> tuple[float, float]:
    """Mean absolute change of the ages, and of the bounds, over all faces that both have an answer for."""
    columns = ["mean", "low", "high"]
    first, second = (_columns(path, columns) for path in (original, changed))
    change = np.abs(second - first)
    change = change[~np.isnan(change).any(axis=1)]
    if not len(change):
        raise ManifestError(f"{changed}: no face has an age both before and after")
    return float(change[:, 0].mean()), float(change[:, 1:].mean())


def _columns(path: Path, names: Sequence[str]) -> Floats:
    table = read_manifest(path, names)
    return np.stack([numbers(table, name) for name in names], axis=1)


def _said(part: PartShift, metric: str) -> str:
    where = "of all faces" if part.column == "all" else f"of {part.column} {part.name}"
    change = f"{part.before:.2f} -> {part.after:.2f}, {part.faces} faces"
    return f"the {metric} {where} rises by {part.rise:.2f} years ({change})"
