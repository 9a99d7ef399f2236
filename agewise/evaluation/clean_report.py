"""What cleaning found, as JSON for programs, and as a self-contained HTML gallery of what was dropped and why."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from agewise.ages import AgeDistribution
from agewise.data.audit.scan import picture
from agewise.data.manifest import open_manifest
from agewise.data.replacing import replacing
from agewise.evaluation.page import Table, html, png
from agewise.faces.image import encode_jpeg
from agewise.teachers.cleaning.clean import Rules
from agewise.teachers.cleaning.cleaned import STEP, Cleaned, Found

SCHEMA_VERSION = 1

THUMBNAIL = 144
"""Pixels of the longer side of a picture in the page."""

_COLUMNS = ("image", "age", "age_low", "age_high", "age_probs", "birth", "photo_year", "dropped")


@dataclass(frozen=True, slots=True)
class Card:
    """One example: its row, its picture (base64 of a JPEG, or empty), the label, a teacher's age, and why.

    also: the other rules that it breaks.
    """

    row: int
    jpeg: str
    label: str
    teacher: str
    why: str
    also: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """The cards of one rule."""

    title: str
    says: str
    cards: tuple[Card, ...]


def write_clean(cleaned: Cleaned, rules: Rules, folder: Path | str, *, pictures: bool = True) -> list[Path]:
    """Writes clean.html and clean.json to a folder, each complete or absent; `pictures=False` leaves faces out."""
    target = Path(folder)
    written = {
        target / "clean.html": to_html(cleaned, galleries(cleaned, rules, pictures)),
        target / "clean.json": to_json(cleaned),
    }
    for path, text in written.items():
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return list(written)


def to_json(cleaned: Cleaned) -> str:
    """The counts as strict JSON; examples are [row, value], rows from 0."""
    said = {
        "step": STEP,
        "schema": SCHEMA_VERSION,
        "manifest": str(cleaned.path),
        "rows": cleaned.rows,
        "kept": cleaned.kept,
        "dropped": cleaned.dropped,
        "rules": [
            {**asdict(rule), "alone": cleaned.alone.get(rule.name, 0), "applied": rule.missing is None}
            for rule in cleaned.rules
        ],
        "shared": [{"rules": list(pair), "rows": count} for pair, count in cleaned.shared.items()],
        "confident_joint": None if cleaned.joint is None else [list(row) for row in cleaned.joint],
    }
    return json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_html(cleaned: Cleaned, shown: Sequence[Gallery]) -> str:
    """One page with these galleries; it loads nothing from anywhere."""
    title = f"Cleaning of {cleaned.path.name}"
    more = {"rules": rule_table(cleaned), "galleries": shown}
    return html(title, facts(cleaned), list(tables(cleaned)), figures(cleaned), "clean.html", **more)


def facts(cleaned: Cleaned) -> list[str]:
    """What a reader must know first: how many rows were kept, and that none was deleted."""
    several = cleaned.dropped - sum(cleaned.alone.values())
    return [
        f"{cleaned.rows} rows: {cleaned.kept} kept, {_share(cleaned.dropped, cleaned.rows)} dropped, "
        f"{several} of them by several rules",
        "Nothing was deleted: column dropped names the rules that a row breaks, and is null where it breaks none "
        "(agewise select CLEANED dropped=)",
    ]


def rule_table(cleaned: Cleaned) -> Table:
    """Each rule, what it hit, and its threshold; or why it could not be applied."""
    head = ["rule", "dropped", "by it alone", "could judge", "threshold"]
    rows = [
        [rule.name, _share(rule.hits, cleaned.rows), str(cleaned.alone.get(rule.name, 0)), str(rule.judged), rule.limit]
        if rule.missing is None
        else [rule.name, "-", "-", "-", f"not applicable: {rule.missing}"]
        for rule in cleaned.rules
    ]
    return "Rules", head, rows


def tables(cleaned: Cleaned) -> Iterator[Table]:
    """How many rows each two rules share, where two hit anything."""
    hit = [rule.name for rule in cleaned.rules if rule.hits]
    if len(hit) > 1:
        both = {frozenset(pair): count for pair, count in cleaned.shared.items()}
        of = {rule.name: rule.hits for rule in cleaned.rules}
        rows = [
            [one, *(str(of[one] if one == other else both[frozenset((one, other))]) for other in hit)] for one in hit
        ]
        yield "Rows that two rules share", ["", *hit], rows


def figures(cleaned: Cleaned) -> dict[str, bytes]:
    """The confident joint as a PNG file, where a teacher was asked."""
    if cleaned.joint is None or not np.sum(cleaned.joint):
        return {}
    counts = np.array(cleaned.joint)
    names = [f"{10 * band}-{10 * band + 9}" for band in range(len(counts) - 1)] + [f"{10 * (len(counts) - 1)}+"]
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*counts.shape):
        colour = "white" if share[row, column] > 0.5 else "#1c1c1c"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="teacher's age, put right by age", ylabel="label")
    axes.tick_params(length=0)
    return {"Labels and the teacher's ages (faces)": png(figure)}


def galleries(cleaned: Cleaned, rules: Rules, pictures: bool = True) -> list[Gallery]:
    """The examples of each rule that hit, the worst first, and of rows that were kept, at random."""
    hit = [rule for rule in cleaned.rules if rule.hits]
    wanted = sorted({row for rule in hit for row, _ in rule.examples} | set(cleaned.kept_examples))
    rows = {
        row: (values, _thumbnail(values, cleaned.path.parent) if pictures else "")
        for row, values in _rows(cleaned.path, wanted)
    }

    def card(row: int, why: str, name: str) -> Card:
        values, jpeg = rows[row]
        others = [other for other in (values.get("dropped") or "").split(";") if other and other != name]
        return Card(row, jpeg, _label(values), _teacher(values), why, ", ".join(others))

    def of_rule(rule: Found) -> Gallery:
        settings = getattr(rules, rule.name)
        cards = tuple(card(row, settings.why(rows[row][0], value), rule.name) for row, value in rule.examples)
        shown = f"The worst {len(cards)}." if len(cards) < rule.hits else "All of them."
        says = f"{rule.meaning} Dropped: {_share(rule.hits, cleaned.rows)}, {rule.limit}. {shown}"
        return Gallery(rule.name, says, cards)

    found = [of_rule(rule) for rule in hit]
    if cleaned.kept_examples:
        says = f"{len(cleaned.kept_examples)} of the {cleaned.kept} rows that no rule hit, at random, for comparison."
        found.append(Gallery("kept", says, tuple(card(row, "", "") for row in cleaned.kept_examples)))
    return found


def _rows(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row, its values) of some rows of a manifest; row groups without one are not read."""
    file = open_manifest(path)
    columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
    start = 0
    for group, count in enumerate(file.group_rows):
        here = [row for row in wanted if start <= row < start + count]
        if here:
            table = file.read_row_group(group, columns=columns).take(pa.array([row - start for row in here]))
            yield from zip(here, table.to_pylist(), strict=True)
        start += count


def _thumbnail(values: Mapping[str, Any], folder: Path) -> str:
    opened = picture(values["image"], folder)
    if isinstance(opened, str):
        return ""
    height, width = opened[1].shape[:2]
    scale = min(1.0, THUMBNAIL / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shrunk = cv2.resize(opened[1], size, interpolation=cv2.INTER_AREA)
    return base64.b64encode(encode_jpeg(np.asarray(shrunk, dtype=np.uint8), quality=85)).decode()


def _label(values: Mapping[str, Any]) -> str:
    age, low, high = (values.get(name) for name in ("age", "age_low", "age_high"))
    if age is not None:
        return f"{age:g}"
    if low is None or high is None:
        return "no age"
    return f"{low:g}+" if high >= 100 else f"{low:g}-{high:g}"


def _teacher(values: Mapping[str, Any]) -> str:
    if values.get("age_probs") is None:
        return ""
    age = next(iter(AgeDistribution([values["age_probs"]])))
    return f"{age.mean:.0f} ({age.low:.0f}-{age.high:.0f})"


def _share(count: int, of: int) -> str:
    return f"{count} ({100 * count / max(1, of):.1f} %)"
