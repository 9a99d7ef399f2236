"""Several models on the same faces: their scores side by side, paired differences, and ranks over blocks of faces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import Decision
from agewise.data.manifest import ManifestError, metadata, numbers, open_manifest, read_manifest
from agewise.evaluation import groups as by
from agewise.evaluation.comparison.significance import Ranking, rank
from agewise.evaluation.evaluate import decided, names_of, scored_faces
from agewise.evaluation.groups import CONFIDENCE, FEWEST_FACES, MAIN, UNKNOWN, Estimate, Faces, Gap, Labels, Score
from agewise.evaluation.predictions import LABELS, PREDICTED, labels_of
from agewise.metrics import bootstrap

SHOWN = ("mae", "excess", "cs5", "exact_group", "bias", "crps", "coverage")
"""The metrics of all faces, as far as the labels have them."""

AGE, MANIFEST = "age", "manifest"  # blocks of faces that are no values of a column: bands of age, whole manifests


@dataclass(frozen=True, slots=True)
class Difference:
    """The main metric of a model less that of another on the same faces, in years: below 0 it is the better one."""

    years: Estimate
    verdict: Literal["better", "worse", "undecided", "too few"]  # too few: under FEWEST_FACES subjects


@dataclass(frozen=True, slots=True)
class Part:
    """A set of faces: by model the score, and the difference from the model that the others are held against."""

    name: str
    n: int
    scores: Mapping[str, Score]
    differences: Mapping[str, Difference]


@dataclass(frozen=True, slots=True)
class Trial:
    """The models on one manifest.

    files: the predictions of each model. dropped: faces by the reason why no model is scored on them.
    parts: by column, `age` for bands of age. gaps: by column and model. absent: columns that the manifest has not.
    """

    manifest: str
    sha256: str
    files: Mapping[str, str]
    labels: Labels
    resampled: str
    dropped: Mapping[str, int]
    overall: Part
    parts: Mapping[str, tuple[Part, ...]]
    gaps: Mapping[str, Mapping[str, Gap]]
    absent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison of models says; rankings: by what the blocks are, where there are enough models and blocks."""

    models: tuple[str, ...]
    against: str
    decision: Decision
    trials: tuple[Trial, ...]
    rankings: Mapping[str, Ranking]


@dataclass(frozen=True, slots=True)
class _Source:
    path: Path
    name: str
    manifest: str
    content: str


def compare(
    predictions: Sequence[Path | str],
    groups: Sequence[str] | None = None,
    *,
    against: str | None = None,
    decision: Decision = "mean",
    resamples: int = 1000,
) -> Comparison:
    """Compares models by their files of predictions, or the folders of their reports, manifest by manifest.

    groups: columns, of which each must be in a manifest; none: sex and ethnicity where they are.
    against: the model, by its name or the start of it, that the others are held against; none: the first one.
    A face that one of the models has no prediction for is left out for all of them.

    Raises ValueError (ManifestError for a file): fewer than two models, one without predictions of a manifest, a file
    that holds none, no known ages, an unknown model, column or decision.
    """
    if decision not in get_args(Decision):
        raise ValueError(f"no decision rule {decision!r}; there are {', '.join(get_args(Decision))}")
    sources = _sources([Path(path) for path in predictions])
    models = [one.name for one in sources[0]]
    base = models[0] if against is None else _called(against, models)
    columns = _columns([found[0].path for found in sources], groups)
    trials = tuple(_trial(found, columns, base, decision, resamples) for found in sources)
    if len({one.manifest for one in trials}) < len(trials):  # of folders that call theirs alike
        trials = tuple(replace(one, manifest=f"{one.manifest} {one.sha256[:8]}") for one in trials)
    return Comparison(tuple(models), base, decision, trials, _rankings(models, trials))


def _sources(paths: Sequence[Path]) -> list[list[_Source]]:
    """The files by the content of their manifest, the models everywhere in the same order."""
    found: dict[str, dict[str, _Source]] = {}
    for source in map(_source, paths):
        other = found.setdefault(source.content, {}).setdefault(source.name, source)
        if other is not source:
            raise ManifestError(f"{source.path}: predictions of {source.name} on {source.manifest}, as {other.path} is")
    models = list(dict.fromkeys(name for one in found.values() for name in one))
    if len(models) < 2:
        raise ValueError(f"{', '.join(models) or 'no model'} cannot be compared alone; give files of at least 2 models")
    for content, one in found.items():
        if missing := [name for name in models if name not in one]:
            says = (
                f"{', '.join(missing)} has none of that manifest, SHA-256 {content[:8]}; every model needs those of all"
            )
            raise ManifestError(f"{next(iter(one.values())).path}: predictions by {', '.join(one)}, but {says}")
    return [[one[name] for name in models] for one in found.values()]


def _source(path: Path) -> _Source:
    file = path / "predictions.parquet" if path.is_dir() else path
    if not file.exists():
        raise ManifestError(f"{file}: no predictions there; agewise evaluate writes them")
    said = metadata(file)
    if said.get("step") != "predict" or not {"name", "manifest", "content"} <= said.keys():
        raise ManifestError(f"{file}: not a file of predictions; agewise evaluate writes one")
    return _Source(file, said["name"], said["manifest"], said["content"])


def _called(wanted: str, models: Sequence[str]) -> str:
    found = [wanted] if wanted in models else [name for name in models if name.startswith(wanted)]
    if len(found) != 1:
        raise ValueError(f"--against {wanted!r} is the name of {len(found)} models; there are {', '.join(models)}")
    return found[0]


def _columns(paths: Sequence[Path], groups: Sequence[str] | None) -> list[str]:
    """The group columns, each in some manifest if it was asked for; bands of age are always compared."""
    had = dict.fromkeys(name for path in paths for name in open_manifest(path).schema_arrow.names)
    possible = [name for name in had if name not in {*PREDICTED, *LABELS}]
    if unknown := [name for name in groups or () if name not in {AGE, *possible}]:
        raise ManifestError(f"no manifest has a group column {', '.join(unknown)}; there are {', '.join(possible)}")
    return [name for name in dict.fromkeys(("sex", "ethnicity") if groups is None else groups) if name != AGE]


def _trial(sources: Sequence[_Source], columns: Sequence[str], base: str, decision: Decision, resamples: int) -> Trial:
    path, wanted = sources[0].path, [*LABELS, "subject", *PREDICTED, *columns]
    tables = {one.name: read_manifest(one.path, wanted, list(PREDICTED)) for one in sources}
    first = tables[sources[0].name]
    if odd := [str(one.path) for one in sources if not tables[one.name]["row"].equals(first["row"])]:
        raise ManifestError(f"{odd[0]}: its rows are not those of {path}, though both are said to be of one manifest")
    labels = labels_of(path, first)
    dropped = _dropped(tables, labels)
    scored = pa.array(dropped == "")
    if not scored.true_count:
        raise ManifestError(f"{path}: none of the {len(dropped)} faces can be scored: {dropped[0]}")
    kept = {name: table.filter(scored) for name, table in tables.items()}
    faces = {name: scored_faces(table, labels, decided(table, decision)) for name, table in kept.items()}
    main = {name: Faces({MAIN[labels]: one.values[MAIN[labels]]}, one.dropped, one.unit) for name, one in faces.items()}
    first, unit = kept[sources[0].name], faces[base].unit
    age, low, high = (numbers(first, name) for name in ("age", "age_low", "age_high"))
    names = {AGE: by.bands_of(age) if labels == "age" else by.group_names(low, high)}
    names |= {column: names_of(path, first, column) for column in columns if column in first.column_names}
    parts = {column: _parts(column, first, among, main, base, resamples) for column, among in names.items()}
    return Trial(
        manifest=sources[0].manifest,
        sha256=sources[0].content,
        files={one.name: str(one.path) for one in sources},
        labels=labels,
        resampled="subjects" if len(np.unique(unit)) < len(unit) else "faces",
        dropped=dict(Counter(dropped[dropped != ""].tolist()).most_common()),
        overall=_part("all", faces, base, MAIN[labels], resamples),
        parts=parts,
        gaps={column: _gaps(parts[column], among, main, labels, resamples) for column, among in names.items()},
        absent=tuple(column for column in columns if column not in names),
    )


def _dropped(tables: Mapping[str, pa.Table], labels: Labels) -> NDArray[np.str_]:
    """Why no model is scored on a face (N,), "" where all are."""
    first = next(iter(tables.values()))
    reasons = np.full(len(first), "", dtype=object)
    for name, table in tables.items():
        missing = table["age_probs"].is_null().to_numpy() | np.isnan(numbers(table, "mean"))
        reasons[missing] += np.where(reasons[missing] == "", "no prediction by ", ", ") + np.array(name, dtype=object)
    exact, group = numbers(first, "age"), numbers(first, "age_low") + numbers(first, "age_high")
    reasons[np.isnan(exact if labels == "age" else group)] = "no age known"
    if labels == "age":
        reasons[np.isnan(exact) & ~np.isnan(group)] = "only an age group known"
    return reasons.astype(np.str_)


def _parts(
    column: str, table: pa.Table, names: NDArray[np.str_], faces: Mapping[str, Faces], base: str, resamples: int
) -> tuple[Part, ...]:
    """The faces of each name (N,): bands from the youngest on, groups by name with the unknown last."""
    years = np.fmin(numbers(table, "age"), numbers(table, "age_low"))
    order = list(dict.fromkeys(names[np.argsort(years)].tolist()))
    if column != AGE:
        order = sorted(order, key=lambda name: (name == UNKNOWN, name))
    (metric,) = faces[base].values
    return tuple(
        _part(name, {model: one[names == name] for model, one in faces.items()}, base, metric, resamples)
        for name in order
    )


def _part(name: str, faces: Mapping[str, Faces], base: str, metric: str, resamples: int) -> Part:
    scores = {model: by.score(name, one, resamples) for model, one in faces.items()}
    less = {model: _difference(one, faces[base], metric, resamples) for model, one in faces.items() if model != base}
    return Part(name, scores[base].n, scores, less)


def _difference(one: Faces, base: Faces, metric: str, resamples: int) -> Difference:
    """Both models are drawn together, so that what is hard for both adds nothing to the interval."""
    values = one.values[metric] - base.values[metric]
    years = Estimate(float(values.mean()), bootstrap(values, np.mean, one.unit, resamples, CONFIDENCE), len(values))
    if years.interval is None or len(np.unique(one.unit)) < FEWEST_FACES:
        return Difference(years, "too few")
    low, high = years.interval
    return Difference(years, "better" if high < 0 else "worse" if low > 0 else "undecided")


def _gaps(
    parts: Sequence[Part], names: NDArray[np.str_], faces: Mapping[str, Faces], labels: Labels, resamples: int
) -> dict[str, Gap]:
    scored = ((model, one, [part.scores[model] for part in parts]) for model, one in faces.items())
    found = {model: by.gap(scores, names, one, labels, resamples) for model, one, scores in scored}
    return {model: gap for model, gap in found.items() if gap is not None}


def _rankings(models: Sequence[str], trials: Sequence[Trial]) -> dict[str, Ranking]:
    """Ranks over blocks, known groups or manifests of at least FEWEST_FACES faces; of 3 models and 2 blocks."""
    blocks: dict[str, list[list[float]]] = {}
    for trial in trials:
        for column, parts in {MANIFEST: (trial.overall,), **trial.parts}.items():
            large = [part for part in parts if part.n >= FEWEST_FACES and part.name != UNKNOWN]
            errors = [[part.scores[model].metrics[MAIN[trial.labels]].value for model in models] for part in large]
            blocks[column] = [*blocks.get(column, []), *errors]
    return {column: rank(models, errors) for column, errors in blocks.items() if len(models) > 2 and len(errors) > 1}
