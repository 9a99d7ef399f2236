"""The verb `import`: public age data sets as their owners lay them out, to a manifest of photos."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from agewise.apps.options import Out, progress


def import_(
    source: Annotated[str, typer.Argument(help="The data set's name; a wrong one lists them.", show_default=False)],
    root: Annotated[Path, typer.Argument(help="Its folder, or a zip or tar of it.", show_default=False)],
    out: Out,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Of the source, such as labels=real (docs/sources.md).")
    ] = None,
    embed: Annotated[bool, typer.Option(help="Put the pictures inside the manifest, not their paths.")] = False,
) -> None:
    """A public age data set, in its owners' layout, to a manifest of photos for agewise prepare."""
    from agewise.data.sources.importing import import_source

    options = dict(_pair(text) for text in option or [])
    with progress("photos") as step:
        done = import_source(source, root, out, options, embed=embed, progress=step)
    print(f"{out}: {done.rows} photos of {source}, {len(done.skipped)} left out")
    for reason, count in Counter(reason for _, reason in done.skipped).most_common(5):
        print(f"  {count} x {reason}")
    for remark in done.remarks:
        print(f"  note: {remark}")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{text!r} is no option; write name=value, such as labels=real")
    return name, value
