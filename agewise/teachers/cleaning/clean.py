"""A noisy corpus -> the same rows with a column `dropped`: which rules each breaks, and what was found in all.

Nothing is deleted: `dropped` is null, or the names of the rules separated by `;` (agewise select CLEANED dropped=).
A part is read at a time, and a call after a kill goes on where the first one stopped.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.data.audit.scan import picture
from agewise.data.clean_rules import (
    Birthday,
    Dates,
    Faces,
    Range,
    Rule,
    Score,
    Sharpness,
    Size,
    Unborn,
    Unreadable,
    Values,
    Width,
    bounds,
)
from agewise.data.crops import parts
from agewise.data.manifest import ManifestError, fingerprint, metadata, numbers, open_manifest
from agewise.data.replacing import check_place
from agewise.data.selecting import check_paths
from agewise.data.settings import Settings, SettingsError, check
from agewise.data.shards import PART_ROWS, Shards
from agewise.faces.align import cut
from agewise.faces.quality import SIDE, VIEW, sharpness
from agewise.teachers.cleaning.cleaned import KEPT, SHOWN, STEP, Cleaned, read_cleaned, summed
from agewise.teachers.cleaning.disagreement import COLUMNS, FEWEST, Disagreement, Thresholds, fit_thresholds, joint

Progress = Callable[[int, int], None]


class Rules(Settings):
    """All rules with their thresholds, in the order of the report."""

    unreadable: Unreadable = Unreadable()
    faces: Faces = Faces()
    score: Score = Score()
    size: Size = Size()
    sharpness: Sharpness = Sharpness()
    range: Range = Range()
    width: Width = Width()
    birthday: Birthday = Birthday()
    unborn: Unborn = Unborn()
    dates: Dates = Dates()
    disagreement: Disagreement = Disagreement()


def clean(
    manifest: Path,
    target: Path,
    rules: Rules | None = None,
    names: Sequence[str] | None = None,
    *,
    threads: int = 2,
    progress: Progress = lambda _done, _total: None,
) -> Cleaned:
    """Writes the manifest with column `dropped`, and returns what was found.

    names: of the rules to apply; all if None. A rule whose columns are not there, or that has too few faces to learn
    from, is not applied, and says so. A finished target of the same manifest and rules is not made again; another's is
    refused.

    Raises:
        ManifestError: no row, no such rule, none that can be applied, or a target that is something else.
    """
    settings = rules or Rules()
    total = open_manifest(manifest, need=["image"]).metadata.num_rows
    if total == 0:
        raise ManifestError(f"{manifest}: no row to clean")
    if target.exists() and target.resolve() == manifest.resolve():
        raise ManifestError(f"{target} is the manifest that is read; give the new one another name")
    check_place(target)
    chosen = _chosen(settings, names)
    if not chosen:
        raise ManifestError(f"no rule is named; there are {', '.join(Rules.model_fields)}")
    plan = {"manifest": fingerprint(manifest), "rules": {name: rule.model_dump() for name, rule in chosen.items()}}
    if target.exists():
        return _finished(target, plan)
    _check_undropped(manifest)
    missing, thresholds = _prepared(manifest, chosen)
    if len(missing) == len(chosen):
        raise ManifestError(f"{manifest}: no rule can be applied ({next(iter(missing.values()))})")
    applied = {name: rule for name, rule in chosen.items() if name not in missing}
    shards, done = Shards(target, plan), 0
    for index, table in enumerate(parts(manifest)):
        if not shards.done(index):
            check_paths(table, manifest, target)
            rows = _with_evidence(table, applied, thresholds, manifest.parent, threads)
            dropped, record = _judged(rows, applied, index)
            shards.write(index, _with_dropped(table, dropped), [[json.dumps(record)]])
        done += len(table)
        progress(done, total)
    said = summed([json.loads(note[0]) for note in shards.notes()], chosen, missing)
    shards.join({**metadata(manifest), "step": STEP, **plan, "cleaned": said})
    return read_cleaned(target)


def read_rules(overrides: Sequence[str]) -> Rules:
    """The rules with thresholds such as `size.least=48`. Raises SettingsError naming what is wrong."""
    try:
        values = tomllib.loads("\n".join(overrides))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{', '.join(overrides)}: not RULE.THRESHOLD=NUMBER ({error})") from error
    return check(values, Rules, "rules")


def _finished(target: Path, plan: Mapping[str, Any]) -> Cleaned:
    said = metadata(target)
    if said.get("step") != STEP or any(said.get(key) != value for key, value in plan.items()):
        raise ManifestError(f"{target} exists and is of another manifest or other rules; delete it, or write another")
    found = read_cleaned(target)
    if found.rows != open_manifest(target).metadata.num_rows:
        raise ManifestError(f"{target} is a part of what agewise clean wrote; delete it, or write another")
    return found


def _check_undropped(manifest: Path) -> None:
    """Raises ManifestError where rows were dropped before: which rules did it would be lost."""
    file = open_manifest(manifest)
    if "dropped" in file.schema_arrow.names:
        batches = file.iter_batches(PART_ROWS, columns=["dropped"])
        if any(batch["dropped"].null_count < len(batch) for batch in batches):
            raise ManifestError(f"{manifest}: cleaned already; take the one before, or agewise select dropped= first")


def _chosen(rules: Rules, names: Sequence[str] | None) -> dict[str, Rule]:
    known: dict[str, Rule] = {name: getattr(rules, name) for name in Rules.model_fields}
    for name in names or ():
        if name not in known:
            raise ManifestError(f"no rule {name!r}; there are {', '.join(known)}")
    return {name: rule for name, rule in known.items() if names is None or name in names}


def _prepared(manifest: Path, chosen: Mapping[str, Rule]) -> tuple[dict[str, str], Thresholds | None]:
    """Why rules cannot be applied, by name, and the thresholds of the disagreement where it can."""
    file, said = open_manifest(manifest), metadata(manifest)
    missing = {name: why for name, rule in chosen.items() if (why := rule.missing(file.schema_arrow.names))}
    if said.get("frame") is None:
        why = "its pictures are not known to be face crops; make them with agewise prepare"
        missing.update({name: why for name in ("unreadable", "sharpness") if name in chosen})
    rule = chosen.get("disagreement")
    if not isinstance(rule, Disagreement) or "disagreement" in missing:
        return missing, None
    if said.get("constrained"):
        missing["disagreement"] = "its age_probs were kept within the labels (agewise recalibrate --constrain)"
        return missing, None
    columns = [name for name in COLUMNS if name in file.schema_arrow.names]
    batches = (pa.Table.from_batches([batch]) for batch in file.iter_batches(PART_ROWS, columns=columns))
    fitted = fit_thresholds(batches, rule.near)
    if fitted is None:
        missing["disagreement"] = f"fewer than {FEWEST} rows have a label and age_probs"
    return missing, fitted


def _with_evidence(
    table: pa.Table, applied: Mapping[str, Rule], thresholds: Thresholds | None, folder: Path, threads: int
) -> pa.Table:
    """The rows with columns `sharpness`, `confidence` and `own` (the teacher's age), where a rule asks for them."""
    if {"sharpness", "unreadable"} & set(applied):
        table = _put(table, "sharpness", _sharpness(table["image"].to_pylist(), folder, threads))
    if "disagreement" in applied and thresholds is not None:
        confidence, own = thresholds.confidence(table)
        table = _put(_put(table, "confidence", confidence), "own", own)
    return table


def _sharpness(images: Sequence[dict[str, Any] | None], folder: Path, threads: int) -> Values:
    """The sharpness (N,) of crops; NaN where one cannot be read, or is not square."""

    def measured(image: dict[str, Any] | None) -> float:
        opened = picture(image, folder)
        if isinstance(opened, str) or opened[1].shape[0] != opened[1].shape[1]:
            return float("nan")
        return sharpness(cut(opened[1][None], VIEW, SIDE)[0])

    with ThreadPoolExecutor(threads) as pool:
        return np.array(list(pool.map(measured, images)), dtype=np.float64)


def _put(table: pa.Table, name: str, values: Values) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.append_column(name, pa.array(values)) if at < 0 else table.set_column(at, name, pa.array(values))


def _judged(rows: pa.Table, applied: Mapping[str, Rule], index: int) -> tuple[list[str | None], dict[str, Any]]:
    """Column `dropped` of a part, and the part's share of what is found in all, as plain JSON."""
    hits: dict[str, NDArray[np.bool_]] = {}
    judged, worst = dict[str, int](), dict[str, list[tuple[float, int, float]]]()
    for name, rule in applied.items():
        values = rule.measure(rows)
        gravity = np.where(np.isnan(values), -1.0, rule.gravity(values))
        hits[name], judged[name] = gravity > 0, int((~np.isnan(values)).sum())
        order = np.argsort(-gravity, kind="stable")[: min(SHOWN, int(hits[name].sum()))]
        worst[name] = [(float(gravity[n]), index * PART_ROWS + int(n), float(values[n])) for n in order]
    dropped = [";".join(name for name in hits if hits[name][n]) or None for n in range(len(rows))]
    kept = np.flatnonzero([names is None for names in dropped])
    lots = np.random.default_rng(index).random(len(kept))
    drawn = [(float(lots[n]), index * PART_ROWS + int(kept[n]), 0.0) for n in np.argsort(-lots)[:SHOWN]]
    bands = joint(np.mean(bounds(rows), axis=0), numbers(rows, "own")).tolist() if "own" in rows.column_names else None
    sets = Counter(names or "" for names in dropped)
    return dropped, {"judged": judged, "worst": {**worst, KEPT: drawn}, "sets": sets, "joint": bands}


def _with_dropped(table: pa.Table, dropped: Sequence[str | None]) -> pa.Table:
    column, at = pa.array(dropped, pa.string()), table.schema.get_field_index("dropped")
    return table.append_column("dropped", column) if at < 0 else table.set_column(at, "dropped", column)
