"""What several verbs share: options, words by commas, group columns, the bar on long work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option("--out", "-o", help="The file to write.", show_default=False)]
Manifest = Annotated[Path, typer.Argument(help="A manifest (Parquet, one row a face).", show_default=False)]
OnRay = Annotated[
    str | None,
    typer.Option("--ray", help="Work on Ray: auto, local, host:port or ray://host:port.", show_default=False),
]
Threads = Annotated[int, typer.Option(min=0, max=256, help="Threads of a network; 0 is one a core.")]
Groups = Annotated[
    str | None,
    typer.Option(help="Group columns, separated by commas; sex and ethnicity where known if none.", show_default=False),
]


def words(given: str) -> list[str]:
    """What stands between the commas of an option."""
    return [word.strip() for word in given.split(",") if word.strip()]


def group_columns(given: str | None, manifest: Path) -> list[str]:
    """The columns to score by: those named, which the manifest must have, or sex and ethnicity, known or not."""
    if given is None:
        return ["sex", "ethnicity"]
    from agewise.data.manifest import open_manifest

    columns = words(given)
    open_manifest(manifest, need=columns)
    return columns


@contextmanager
def progress(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr where somebody looks at it, with the rate and the time left; what was there before is no rate."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]}")
    columns = TextColumn(unit), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(unit, total=None, rate="")

        def step(done: int, total: int) -> None:
            shown = bar.tasks[task]
            if shown.total is None:
                bar.reset(task, completed=done, total=total)
            speed = f"{shown.speed:.3g} {unit}/s" if shown.speed else ""
            bar.update(task, completed=done, total=total, rate=speed)

        yield step
