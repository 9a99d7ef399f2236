"""The verbs pack and unpack: manifests as WebDataset tar shards, and back. What is heavy is imported inside."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from agewise.apps.options import Manifest, Out, progress


def pack(
    manifest: Manifest,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.", show_default=False)],
    name: Annotated[str, typer.Option(help="The shards' name; that of the manifest if none.")] = "",
    rows: Annotated[int, typer.Option(min=1, help="Faces a shard, at the most.")] = 1000,
    megabytes: Annotated[int, typer.Option(min=1, help="Size of a shard, at the most.")] = 1024,
) -> None:
    """A manifest to WebDataset tar shards: a picture and its JSON a face, and an index beside them."""
    from agewise.data.tars.packing import pack as run

    with progress("faces") as step:
        done = run(manifest, out, name, rows=rows, most=megabytes << 20, progress=step)
    print(f"{out}: {done.rows} faces in {done.shards} shards, {len(done.rejects)} rejected")
    _reasons(done.rejects)


def unpack(
    tars: Annotated[list[Path], typer.Argument(help="Tar shards, or folders of them.", show_default=False)],
    out: Out,
    age: Annotated[str, typer.Option(help="JSON field or suffix with the age; guessed if none.")] = "",
    kind: Annotated[str, typer.Option(help="What that age is: real, apparent, group or estimated.")] = "real",
) -> None:
    """WebDataset tar shards to a manifest: those of pack as they were, others where they have an age."""
    from agewise.data.tars.unpacking import unpack as run

    with progress("tars") as step:
        done = run(tars, out, age=age, kind=kind, progress=step)
    print(f"{out}: {done.rows} faces of {done.shards} tars, {len(done.rejects)} rejected")
    _reasons(done.rejects)
    for remark in done.remarks:
        print(f"  note: {remark}")


def _reasons(rejects: list[tuple[str, str]]) -> None:
    for reason, count in Counter(reason for _, reason in rejects).most_common(5):
        print(f"  {count} x {reason}")
