"""The tables and figures as one self-contained page, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import agewise
from agewise.data.replacing import replacing
from agewise.evaluation.groups import CONFIDENCE
from agewise.evaluation.page import Picture, Section, Table, html, markdown
from agewise.evaluation.paper.examples import figure3
from agewise.evaluation.paper.figures import figure1, figure4
from agewise.evaluation.paper.grid import Grid, notes_of, to_plain, to_table
from agewise.evaluation.paper.measuring import CORRUPTED, Measured
from agewise.evaluation.paper.orders import order_rows, sum_rows, sums, verdicts
from agewise.evaluation.paper.tables import grids
from agewise.evaluation.published import Published, read_published

TITLE = "Greco et al. (2021): its tables and figures, published and here"


def write_paper(found: Measured, folder: Path, faces: int = 0) -> list[Path]:
    """Writes paper-tables.json, .md and .html into a folder, each complete or absent.

    faces: so many pictures of people are in Figure 3 of the page; 0 leaves them out. The other files have no pictures.
    """
    said = read_published()
    made = grids(said, found)
    texts = {
        "json": to_json(said, found, made),
        "md": markdown(TITLE, facts(said, found), tables(said, found, made)),
        "html": to_html(said, found, made, faces),
    }
    written = []
    for suffix, text in texts.items():
        written.append(folder / f"paper-tables.{suffix}")
        with replacing(written[-1]) as partial:
            partial.write_text(text, encoding="utf-8")
    return written


def facts(said: Published, found: Measured) -> list[str]:
    """What a reader must know: what is whose, which data sets and models there are, and their hashes."""
    missing = [one.title for one in said.sets if one.name not in found.manifests]
    files = [
        f"{_title(said, name)} is {one.file}, {one.rows:,} rows, SHA-256 {one.sha256}"
        for name, one in found.tested.items()
    ]
    return [
        f"Published: {said.source}",
        *([f"No data given: {', '.join(missing)}"] if missing else []),
        *files,
        f"Models: {'; '.join(_names(said, found)) or 'none given'}",
        *(f"Rules of {name}: SHA-256 {sha256}" for name, sha256 in found.rules.items()),
        f"Brackets: {CONFIDENCE:.0%} percentile bootstrap intervals, by subject where subjects are known; "
        f"agewise {agewise.__version__}",
        said.notes[0],
    ]


def tables(said: Published, found: Measured, made: list[Grid]) -> list[Table]:
    """All tables as text, then what holds and what the text says of unknown cells."""
    notes = notes_of(made)
    numbered = [[f"[{number}]", note] for number, note in enumerate(notes, 1)]
    shown = [to_table(grid, notes) for grid in made]
    numbered += [["", note] for note in said.notes[1:]]
    return [*shown, *_findings(said, found), ("Notes", ["", "what the text says, and what is known of it"], numbered)]


def to_html(said: Published, found: Measured, made: list[Grid], faces: int) -> str:
    """One page that loads nothing from anywhere, each figure under its table."""
    notes, drawn = notes_of(made), _figures(said, found, faces)
    shown = {grid.name: to_table(grid, notes) for grid in made}
    return html(
        TITLE,
        facts(said, found),
        list(_findings(said, found)),
        {},
        template="paper/paper.html",
        shown=shown,
        drawn=drawn,
        notes=notes,
        remarks=said.notes[1:],
    )


def to_json(said: Published, found: Measured, made: list[Grid]) -> str:
    """Everything as strict JSON; an unknown value is null."""
    text = {
        "published": said.source,
        "agewise": agewise.__version__,
        "manifests": {name: asdict(one) for name, one in found.tested.items()},
        "protocols": dict(found.rules),
        "models": {f"{model} on {name}": one.models for (model, name), one in found.outcomes.items()},
        "tables": [to_plain(grid) for grid in made],
        "orders": [asdict(one) for one in verdicts(said, found)],
        "sums": [asdict(one) for one in sums(said, found)],
        "notes": said.notes,
    }
    return json.dumps(text, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _findings(said: Published, found: Measured) -> tuple[Table, Table]:
    orders = [*order_rows(verdicts(said, found))]
    added = [*sum_rows(sums(said, found))]
    return (
        ("Does the paper's order hold here?", ["finding of the paper", "looked at on", "", "by the values"], orders),
        ("Unknown cells of Table 6 whose sum is known", ["network", "corruptions", "sum, years", "here"], added),
    )


def _figures(said: Published, found: Measured, faces: int) -> Mapping[str, Section]:
    """By the table that a figure stands under: the picture, or why there is none."""
    third = figure3(said, found, faces)
    why = "no data given" if faces else "pictures of people were not asked for (--faces)"
    title = "Figure 3: known age (black) and estimated age (red)"
    return {
        "Table 1": _figure("Figure 1: share of the faces by age group", figure1(said, found), "no data given"),
        "Table 4": _figure(f"{title}, {third[0]}" if third else title, third[1] if third else None, why),
        "Table 6": _figure("Figure 4: MAE on LFW+ (light) and LFW+C (dark)", figure4(said, found), "no data given"),
    }


def _figure(title: str, drawn: bytes | None, why: str) -> Section:
    return Section(title, "" if drawn else why, [Picture(title, "", drawn)] if drawn else [])


def _names(said: Published, found: Measured) -> list[str]:
    """What each model calls itself, with its hash; those that were trained again for a set apart."""
    names = {
        f"{model} on {_title(said, name)}" if (model, name) in found.adapted else model: ", ".join(one.models.values())
        for (model, name), one in found.outcomes.items()
    }
    names |= {one.model: one.called for one in found.corrupted if one.model not in names}
    return [f"{name} is {called}" for name, called in names.items()]


def _title(said: Published, name: str) -> str:
    one = said.data_set(name)
    return f"{one.title}{' (corrupted here)' if name == CORRUPTED else ''}" if one else f"also: {name}"
