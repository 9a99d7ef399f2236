"""The verbs of the chain: prepare, train, average, export. What is heavy is imported inside."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

from agewise.apps.options import Out, progress


def prepare(
    source: Annotated[Path, typer.Argument(help="A folder of photos, a photo, or a Parquet file with images.")],
    out: Out,
    frame: Annotated[str, typer.Option(help="aligned (five points) or square (the paper's box).")] = "aligned",
    size: Annotated[int, typer.Option(help="Pixels of a crop's side.")] = 256,
    every_face: Annotated[bool, typer.Option(help="All faces of a photo, not the one nearest its centre.")] = False,
    margin: Annotated[float, typer.Option(help="Of the square frame: added on each side, a share of the box.")] = 0.0,
) -> None:
    """Photos to a manifest of face crops; rejects go to OUT.rejects.csv, each with its reason."""
    from agewise.data.prepare import prepare as run

    if frame not in ("aligned", "square"):
        raise ValueError(f"no frame {frame!r}; there are aligned, square")
    kind: Literal["aligned", "square"] = "aligned" if frame == "aligned" else "square"
    with progress("faces") as step:
        done = run(source, out, frame=kind, size=size, every_face=every_face, margin=margin, progress=step)
    print(f"{out}: {done.faces} faces of {done.pictures} pictures, {len(done.rejects)} rejected")
    _reasons(done.rejects)


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (TOML).", show_default=False)],
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings such as training.epochs=3.")] = None,
) -> None:
    """Trains a recipe; called again, it resumes what was cut off."""
    import logging

    from agewise.training.config import read_recipe
    from agewise.training.fit import train as run

    settings = read_recipe(recipe, overrides or [])
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it would advertise on stderr
    folder = run(settings, progress=sys.stderr.isatty())
    print(f"{folder}: trained (metrics.csv; tensorboard --logdir {folder})")


def average(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of one network, trained apart.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder to write.", show_default=False)],
) -> None:
    """Several trainings of one network to one run, whose weights are the mean of theirs."""
    from agewise.training.average import average as write

    write(runs, out)
    print(f"{out}: the mean of {len(runs)} runs")


def export(
    run: Annotated[Path, typer.Argument(help="A run folder (agewise train).", show_default=False)],
    out: Out,
    name: Annotated[str, typer.Option(help="Its name in reports.", show_default="the run's")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the metadata.")] = "unknown",
    half: Annotated[bool, typer.Option(help="Store the weights in half precision.")] = True,
    mirror: Annotated[bool, typer.Option("--mirror", help="Answer to a face and its mirror image: the mean.")] = False,
    calibrate_on: Annotated[Path | None, typer.Option(help="Manifest to fit the distributions' width on.")] = None,
) -> None:
    """A run as one ONNX file, preprocessing inside, checked against the run."""
    from agewise.deployment.export import export as write

    made = write(run, out, name=name, licence=licence, half=half, mirror=mirror, calibrate_on=calibrate_on)
    print(f"{made.path}: {made.size / 1e6:.2f} MB; differs from torch by {made.years:.4f} years at the most")


def _reasons(rejects: list[tuple[str, str]]) -> None:
    for reason, count in Counter(reason for _, reason in rejects).most_common(5):
        print(f"  {count} x {reason}")
