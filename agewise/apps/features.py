"""The verb features: the last layer's values of every face. What is heavy is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agewise.apps.options import Manifest, Out, Threads, progress


def features(
    model: Annotated[Path, typer.Argument(help="A run folder, or a folder of runs (a teacher).", show_default=False)],
    manifest: Manifest,
    out: Out,
    members: Annotated[str, typer.Option(help="Of a folder of runs: names, such as general-*,children-0.")] = "*",
    half: Annotated[bool, typer.Option("--half", help="Features and raw outputs in half precision.")] = False,
    batch: Annotated[int, typer.Option(min=1, help="Faces a batch.")] = 64,
    threads: Threads = 0,
) -> None:
    """Features before the head, its raw outputs and the ages' probabilities of every face, as Parquet."""
    import torch

    from agewise.teachers.features import open_members, write_features

    if threads:
        torch.set_num_threads(threads)
    opened = open_members(model, members)
    with progress("faces") as step:
        rows, left_out = write_features(opened, manifest, out, half=half, batch=batch, progress=step)
    wide = {name or model.name: member.model.backbone.features for name, member in opened.items()}
    print(f"{out}: {rows} faces, {len(left_out)} of them without values")
    for name, width in wide.items():
        print(f"  {name}: {width} features")
    for row, reason in left_out[:5]:
        print(f"  {row}: {reason}")
