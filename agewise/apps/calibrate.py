"""`agewise calibrate`: an exported model and labelled faces in; the model with intervals that hold out."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from agewise.apps.options import Manifest, Out, Threads, progress

if TYPE_CHECKING:  # `agewise --help` waits for none of these
    from agewise.evaluation.calibration_fit import Style
    from agewise.model.calibration.calibration import Calibration


def calibrate(
    model: Annotated[str, typer.Argument(help="An ONNX file of `agewise export`, or a bundled model's name.")],
    manifest: Manifest,
    out: Out,
    levels: Annotated[str, typer.Option(help="Intervals to calibrate, separated by commas.")] = "0.9",
    recalibrate: Annotated[
        str | None,
        typer.Option(
            metavar="STYLE",
            help="Also move the ages: expected (least error), response (no bias at any age), mixed (that of the old).",
        ),
    ] = None,
    threads: Threads = 0,
) -> None:
    """A model whose intervals hold for faces as in MANIFEST: temperature, and split-conformal widths by predicted age.

    The file carries the calibration; the network in it stays the same, and another calibration replaces this one.
    """
    from agewise.deployment.export import calibrate as run
    from agewise.deployment.runtime import model_file

    with progress("faces") as step:
        made = run(
            model_file(model),
            manifest,
            out,
            levels=_shares(levels),
            style=cast("Style | None", recalibrate),
            threads=threads,
            progress=step,
        )
    print(f"{out}: {Path(model).stem} calibrated on {_origin(made)}")
    for line in table(made):
        print(f"  {line}")


def table(calibration: Calibration) -> list[str]:
    """What a calibration does, for people: its temperature, where it moves ages, and its factors by predicted age."""
    lines = [f"temperature {calibration.temperature:.3f}"]
    if calibration.warp is not None:
        pairs = zip(calibration.warp.given, calibration.warp.meant, strict=True)
        lines.append("ages moved: " + ", ".join(f"{given:g} -> {min(meant, 100):.0f}" for given, meant in pairs))
    origin, spread = calibration.origin, calibration.spread
    if origin is not None:
        bounds = ["0", *(f"{edge:g}" for edge in origin.edges), "100"]
        bands = [f"{low}-{high}" for low, high in pairwise(bounds)]
        lines.append("predicted   faces  width x " + "".join(f"{level:>8.0%}" for level in spread.levels))
        for band, faces, row in zip(bands, origin.faces_by_band, spread.factors, strict=True):
            lines.append(f"{band:9} {faces:>7}          " + "".join(f"{factor:8.2f}" for factor in row))
    return lines


def _origin(calibration: Calibration) -> str:
    origin = calibration.origin
    return "" if origin is None else f"{origin.faces} faces of {origin.manifest} (known {origin.labels})"


def _shares(levels: str) -> tuple[float, ...]:
    try:
        return tuple(float(level) for level in levels.split(",") if level.strip())
    except ValueError as error:
        raise ValueError(f"the levels are {levels!r}; shares between 0 and 1 are needed, such as 0.5,0.9") from error
