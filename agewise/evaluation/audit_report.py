"""An audit as JSON for programs, and as one self-contained HTML page with the pictures of the pairs for people."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agewise.data.audit.audit import STEP, Audit
from agewise.data.audit.balance import AGE_EFFECT, FEWEST, IMBALANCE, SPLIT_EFFECT
from agewise.data.audit.duplicates import RADIUS
from agewise.data.audit.findings import MOST_LISTED
from agewise.data.audit.label_checks import CHANCE, HEAP, SMALLEST, WHIPPLE, heaps_of
from agewise.data.audit.leak_checks import HOW, Twins
from agewise.data.audit.scan import Rows, images_of, picture
from agewise.data.replacing import replacing
from agewise.evaluation.page import ACCENT, COLOUR, html, png
from agewise.faces.image import encode_jpeg

SCHEMA_VERSION = 1

MOST_PAIRS = 60
"""Pairs that are shown in the page; all are counted, and the JSON lists MOST_LISTED."""

THUMBNAIL = 112
"""Pixels of the longer side of a picture in the page."""

RULES: dict[str, str] = {
    "Sides": "a row is on the side that its column split names, else on that of its manifest.",
    "The same file, the same pixels": "by SHA-256 of the file's bytes and of the decoded pixels.",
    "Near duplicates": f"a 128-bit hash of the whole picture differs by at most {RADIUS} bits from one of the other's "
    "hashes (of the whole, of 16 parts that leave out 1 to 4 % on each side, and of their mirror images), and the two, "
    "laid over each other and embedded, have a cosine of at least the similarity above. Crops of more than about 5 % a "
    "side, turned pictures, and other photos of the same person are not found.",
    "Heaps": f"an age with {HEAP:g} times the mean of the ages within two years, and so many faces by chance below "
    f"{CHANCE:g}, all ages of a side together (exact binomial).",
    "Digits": f"Whipple's index over the ages 23 to 62 is {WHIPPLE:g} or more (100: no preference for 0 and 5).",
    "Holes": f"no face where the other sides, or the ages around, let so many be expected that none has a chance below "
    f"{CHANCE:g}, all runs of a side together (Poisson).",
    "Balance": f"a group of fewer than {FEWEST} faces; one with {IMBALANCE:g} times another's; Cramér's V of a group "
    f"with the sides from {SPLIT_EFFECT:g}, with the decades of age from {AGE_EFFECT:g}.",
    "Tiny": f"the shorter side of the face's box in its photo, else of the picture, is below {SMALLEST} pixels.",
}
"""What was looked for, in words."""


def write_audit(audit: Audit, page: Path | str, *, pictures: bool = True, most: int = MOST_PAIRS) -> list[Path]:
    """Writes an HTML page and, beside it, the JSON, each complete or absent; `pictures=False` leaves all faces out.

    Raises ValueError where the page is not named .html, or `most` is negative.
    """
    target = Path(page)
    if target.suffix != ".html":
        raise ValueError(f"{target}: the page of an audit is an .html file; its JSON is written beside it")
    if most < 0:
        raise ValueError(f"{most} pairs to show; at least 0 is allowed")
    shown = chosen(audit, most)
    faces = thumbnails(audit.rows, [row for pair in shown for row in (pair.a, pair.b)]) if pictures else {}
    written = {target: to_html(audit, shown, faces), target.with_suffix(".json"): to_json(audit)}
    for path, text in written.items():
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return list(written)


def to_json(audit: Audit) -> str:
    """The audit as strict JSON; a row of a manifest is [manifest, row], rows from 0."""
    pairs = [_plain(audit.rows, pair) for pair in audit.twins[:MOST_LISTED]]
    said = {
        "step": STEP,
        "schema": SCHEMA_VERSION,
        "leaks": audit.leaks,
        "manifests": [asdict(manifest) for manifest in audit.manifests],
        "sides": dict(audit.sides),
        "similarity": audit.similarity,
        "findings": [asdict(finding) for finding in audit.findings],
        "pairs": {"count": len(audit.twins), "listed": pairs},
        "shared": [dict(zip(("side", "with", "rows", "of"), row, strict=True)) for row in audit.shared],
        "ages": {side: counts.tolist() for side, counts in audit.ages.items()},
        "age_groups": {side: _spelt(counts) for side, counts in audit.age_groups.items()},
        "groups": {
            column: {name: dict(zip(audit.sides, row, strict=True)) for name, row in _rows(names, counts)}
            for column, (names, counts) in audit.groups.items()
        },
        "skipped": list(audit.skipped),
    }
    return json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_html(audit: Audit, shown: Sequence[Twins] = (), faces: Mapping[int, bytes] | None = None) -> str:
    """One page with these pairs, and the JPEG files of rows, inside it; it loads nothing from anywhere."""
    cards = [_card(audit.rows, pair, faces or {}) for pair in shown]
    title = "Audit of " + ", ".join(Path(one.name).name for one in audit.manifests)
    more = {"audit": audit, "cards": cards, "rules": RULES}
    return html(title, facts(audit), list(tables(audit)), figures(audit), "audit.html", **more)


def facts(audit: Audit) -> list[str]:
    """What a reader must know first: how many findings, the sides, the files, the rule for the same picture."""
    total = sum(audit.sides.values())
    kinds = [f"{audit.count('leak')} leaks", f"{audit.count('warning')} warnings", f"{audit.count('note')} notes"]
    return [
        ", ".join(kinds),
        f"{total} rows; sides: " + ", ".join(f"{side} ({count})" for side, count in audit.sides.items()),
        *(f"Manifest {one.name}, {one.rows} rows, SHA-256 {one.sha256}" for one in audit.manifests),
        f"{len(audit.twins)} pairs of the same picture, the near ones by a similarity of {audit.similarity:g} or more",
        *(f"Column {column} has too many values for a group and was left out" for column in audit.skipped),
    ]


def tables(audit: Audit) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Each table as its title, its head and its rows of text."""
    if audit.shared:
        rows = [[one, other, str(n), f"{100 * n / of:.2f} %"] for one, other, n, of in audit.shared]
        yield "Pictures on two sides", ["side", "also in", "faces", "share of the side"], rows
    sides = list(audit.sides)
    if audit.age_groups:
        found = sorted({group for counts in audit.age_groups.values() for group in counts})
        counts = np.array([[audit.age_groups.get(side, {}).get(group, 0) for side in sides] for group in found])
        yield "By age group", ["years", *sides], _shares([_years(*group) for group in found], counts)
    for column, (names, counts) in audit.groups.items():
        yield f"By {column}", [column, *sides], _shares(names, counts)


def figures(audit: Audit) -> dict[str, bytes]:
    """PNG files by title: the ages of each side, heaps marked, or the shares of its age groups."""
    drawn = {}
    if audit.ages:
        figure = Figure(figsize=(10, 2.6 * len(audit.ages)), layout="constrained")
        places = figure.subplots(len(audit.ages), squeeze=False)[:, 0]
        for axes, (side, counts) in zip(places, audit.ages.items(), strict=True):
            _ages(axes, side, counts)
        drawn["Ages"] = png(figure)
    if audit.age_groups:
        figure = Figure(figsize=(10, 3.4), layout="constrained")
        _age_groups(figure.subplots(), audit.age_groups)
        drawn["Age groups"] = png(figure)
    return drawn


def chosen(audit: Audit, most: int) -> list[Twins]:
    """The pairs to show: those across sides first, then those with unequal labels."""

    def rank(pair: Twins) -> tuple[bool, bool]:
        return audit.rows.side_of(pair.a) == audit.rows.side_of(pair.b), not pair.differs

    return sorted(audit.twins, key=rank)[:most]


def thumbnails(rows: Rows, wanted: Sequence[int]) -> dict[int, bytes]:
    """Small JPEG files of the pictures of some rows."""
    small = {}
    for row, image, folder in images_of(rows, np.array(wanted, dtype=np.int64)):
        opened = picture(image, folder)
        if not isinstance(opened, str):
            height, width = opened[1].shape[:2]
            scale = min(1.0, THUMBNAIL / max(height, width))
            size = max(1, round(width * scale)), max(1, round(height * scale))
            shrunk = cv2.resize(opened[1], size, interpolation=cv2.INTER_AREA)
            small[row] = encode_jpeg(np.asarray(shrunk, dtype=np.uint8), quality=85)
    return small


def _card(rows: Rows, pair: Twins, faces: Mapping[int, bytes]) -> dict[str, Any]:
    """What the page says of a pair."""
    how = HOW[pair.how] + (f", {pair.similarity:.2f}" if pair.how == "near" else "")
    sides = []
    for row in (pair.a, pair.b):
        manifest, number = rows.place(row)
        jpeg = base64.b64encode(faces[row]).decode() if row in faces else ""
        where = f"{Path(manifest).name} {number}"
        sides.append({"jpeg": jpeg, "side": rows.side_of(row), "where": where, "labels": _labels(rows, row)})
    crosses = rows.side_of(pair.a) != rows.side_of(pair.b)
    return {"how": how + (", mirrored" if pair.mirrored else ""), "differs": pair.differs, "leak": crosses, "of": sides}


def _labels(rows: Rows, row: int) -> str:
    age, low, high = (rows.labels[name][row] for name in ("age", "age_low", "age_high"))
    years = f"{age:g}" if not np.isnan(age) else _years(low, high) if not np.isnan(low + high) else "no age"
    columns = [rows.subject, *rows.groups.values()]
    return ", ".join([years, *(column.names[column.codes[row]] for column in columns if column.codes[row] >= 0)])


def _years(low: float, high: float) -> str:
    return f"{low:g}+" if high >= 100 else f"{low:g}-{high:g}"


def _plain(rows: Rows, pair: Twins) -> dict[str, Any]:
    known = asdict(pair)
    return {
        **known,
        "a": rows.place(pair.a),
        "b": rows.place(pair.b),
        "sides": [rows.side_of(pair.a), rows.side_of(pair.b)],
    }


def _spelt(counts: Mapping[tuple[float, float], int]) -> dict[str, int]:
    return {_years(*group): count for group, count in counts.items()}


def _rows(names: Sequence[str], counts: NDArray[np.int64]) -> Iterator[tuple[str, list[int]]]:
    return zip(names, counts.tolist(), strict=True)


def _shares(names: Sequence[str], counts: NDArray[np.int64]) -> list[list[str]]:
    """A row a name: on each side, how many faces and which share of those whose group is known."""
    total = np.maximum(1, counts.sum(axis=0))
    return [
        [name, *(f"{n} ({100 * n / of:.1f} %)" for n, of in zip(row, total, strict=True))]
        for name, row in _rows(names, counts)
    ]


def _ages(axes: Axes, side: str, counts: NDArray[np.int64]) -> None:
    found = heaps_of(counts)
    last = int(np.flatnonzero(counts)[-1])
    axes.bar(range(last + 1), counts[: last + 1], color=[ACCENT if age in found else COLOUR for age in range(last + 1)])
    axes.set(title=f"{side}: {counts.sum()} faces" + (f", {len(found)} heaps" if found else ""), ylabel="faces")
    axes.set_xlabel("age in completed years")
    axes.margins(x=0.01)


def _age_groups(axes: Axes, groups: Mapping[str, Mapping[tuple[float, float], int]]) -> None:
    found = sorted({group for counts in groups.values() for group in counts})
    width = 0.8 / len(groups)
    shades = [COLOUR, ACCENT, "#7a9e5f", "#8a6fae", "#999999"]
    for place, (side, counts) in enumerate(groups.items()):
        share = 100 * np.array([counts.get(group, 0) for group in found]) / sum(counts.values())
        left = np.arange(len(found)) + (place - (len(groups) - 1) / 2) * width
        axes.bar(left, share, width=width, label=side, color=shades[place % len(shades)])
    axes.set_xticks(range(len(found)), [_years(*group) for group in found])
    axes.set(xlabel="age group, years", ylabel="% of the side")
    axes.legend(frameon=False)
