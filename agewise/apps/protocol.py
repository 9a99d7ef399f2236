"""`agewise evaluate --protocol`: models by a protocol of the literature, and the tables of Greco et al. (2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agewise.apps.entrants import Word, entrants_of, manifests_of, models_of, words_of
from agewise.apps.options import progress

if TYPE_CHECKING:
    from agewise.evaluation.protocols.settings import Protocol

EXAMPLES = 12
"""Faces of Figure 3, where pictures of people are asked for."""


@dataclass(frozen=True, slots=True)
class Options:
    """How it is run and where it goes; faces: with pictures of people. as_json: printed as JSON."""

    out: Path | None
    batch: int
    threads: int
    workers: int
    faces: bool
    as_json: bool


def evaluate_by(
    protocol: str,
    model: str | None,
    models: Sequence[str],
    manifest: Path | None,
    manifests: Sequence[str],
    how: Options,
) -> None:
    """Runs a protocol, prints its table and writes its report; a call after a kill goes on."""
    from agewise.evaluation.protocols.settings import read_protocol

    rules = read_protocol(protocol)
    given = [*([model] if model else []), *models]
    files = [*([str(manifest)] if manifest else []), *manifests]
    if model and models and not files:  # a word alone beside --model is the manifest
        given, files = [*models], [model]
    if not files or not (given or rules.kind == "tables"):
        missing = "--manifest NAME=PATH" if given else "--model NAME=MODEL"
        raise ValueError(f"{rules.name}: no {missing.split()[0][2:]} is given; MODEL MANIFEST, or {missing}")
    run = _tables if rules.kind == "tables" else _test
    run(rules, words_of(given), words_of(files), how)


def _test(rules: Protocol, given: Sequence[Word], files: Sequence[Word], how: Options) -> None:
    from agewise.evaluation.protocols.page import facts, heading, tables, to_json, write_outcome
    from agewise.evaluation.protocols.run import How, run

    manifests = manifests_of(files)
    models = models_of(rules, given, manifests, how.threads)
    names = [rules.name, *(word.name for word in given if len(given) == 1), *(manifests if len(manifests) == 1 else [])]
    folder = how.out or Path("reports") / "-".join(names)
    with progress("faces") as step:
        outcome = run(rules, models, manifests, folder, how=How(how.batch, how.workers, step))
    written = write_outcome(outcome, folder)
    if how.as_json:
        print(to_json(outcome), end="")
        return
    print(heading(outcome))
    for fact in facts(outcome):
        print(f"- {fact}")
    for _, head, rows in tables(outcome):
        print_table([head, *rows])
    print(", ".join(str(path) for path in written))


def _tables(rules: Protocol, given: Sequence[Word], files: Sequence[Word], how: Options) -> None:
    from agewise.evaluation.paper.measuring import measure
    from agewise.evaluation.paper.orders import order_rows, verdicts
    from agewise.evaluation.paper.page import facts, to_json, write_paper
    from agewise.evaluation.paper.tables import grids
    from agewise.evaluation.protocols.run import How
    from agewise.evaluation.published import read_published

    manifests = manifests_of(files)
    entrants = entrants_of(given, manifests, how.threads)
    folder = how.out or Path("reports") / rules.name
    with progress("faces") as step:
        found = measure(entrants, manifests, folder, how=How(how.batch, how.workers, step))
    written, said = write_paper(found, folder, EXAMPLES if how.faces else 0), read_published()
    made = grids(said, found)
    if how.as_json:
        print(to_json(said, found, made), end="")
        return
    for fact in facts(said, found)[:-1]:
        print(fact)
    for grid in made:
        here = sum(one.here is not None for one in grid.cells.values())
        print(f"  {grid.name}: {here} cells measured; {grid.title}")
    for finding, where, answer, why in order_rows(verdicts(said, found)):
        if answer != "cannot be said":
            print(f"  {answer}: {finding} ({where}: {why})")
    print(", ".join(str(path) for path in written))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
