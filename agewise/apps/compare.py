"""The verb compare: several models side by side, from their predictions of the same faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agewise.apps.options import Groups, words


def compare(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            help="Files of predictions, or folders that agewise evaluate wrote: each model's of every manifest.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")] = Path("reports/compare"),
    against: Annotated[
        str | None, typer.Option(help="The model the others are held against: its name or the start of it; the first.")
    ] = None,
    groups: Groups = None,
    decision: Annotated[str, typer.Option(help="The age that is scored: mean, median or mode.")] = "mean",
) -> None:
    """Models side by side: scores, paired differences with intervals, by age and group, and their ranks."""
    from agewise.evaluation.comparison.compare import compare as run
    from agewise.evaluation.comparison.report import facts, tables, write_compare

    columns = None if groups is None else words(groups)
    found = run(predictions, columns, against=against, decision=decision)  # type: ignore[arg-type]  # it checks the word
    written = write_compare(found, out)
    for line in facts(found):
        print(line)
    for title, head, rows in tables(found):
        if title.startswith("All faces"):
            print(f"\n{title}")
            for row in [head, *rows]:
                print(f"  {row[0]:24} {row[1]:>7}", *(f"{cell:24}" for cell in row[2:]))
    print(", ".join(str(path) for path in written))
