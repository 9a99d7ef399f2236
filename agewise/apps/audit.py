"""The verb audit: leaks, duplicates and labels in doubt, before anything is trained or scored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agewise.apps.options import progress, words


def audit(
    manifests: Annotated[
        list[Path],
        typer.Argument(help="Manifests that are used together (Parquet, one row a face).", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The HTML page; its JSON lies beside it. MANIFEST.audit.html if none."),
    ] = None,
    groups: Annotated[str | None, typer.Option(help="Group columns, separated by commas; all if none.")] = None,
    pictures: Annotated[bool, typer.Option(help="Show the faces of the pairs in the page.")] = True,
    pairs: Annotated[int, typer.Option(min=0, help="Pairs shown in the page.")] = 60,
    similarity: Annotated[
        float | None, typer.Option(help="Cosine from which near pictures are one; as measured if none.")
    ] = None,
) -> None:
    """Leaks between splits, duplicates, labels in doubt: a page and its JSON. Exit code 1 if there is a leak."""
    from agewise.data.audit.audit import audit as run
    from agewise.data.audit.twins import SIMILARITY
    from agewise.evaluation.audit_report import facts, write_audit

    page = out or manifests[0].with_suffix(".audit.html")
    if page.suffix != ".html":
        raise ValueError(f"{page}: the page of an audit is an .html file; its JSON is written beside it")
    chosen = None if groups is None else words(groups)
    with progress("pictures") as step:
        found = run(
            manifests, groups=chosen, similarity=SIMILARITY if similarity is None else similarity, progress=step
        )
    written = write_audit(found, page, pictures=pictures, most=pairs)
    for line in facts(found):
        print(line)
    for finding in found.findings:
        print(f"  {finding.severity:8} {finding.message}")
    print(", ".join(str(path) for path in written))
    if found.leaks:
        raise typer.Exit(1)
