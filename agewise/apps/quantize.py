"""`agewise quantize`: an exported model in, the same in 8 bits or half precision out, unless its answers are worse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from agewise.apps.options import Groups, Out, Threads, progress, words

if TYPE_CHECKING:  # `agewise --help` waits for none of these
    from agewise.deployment.quantize import Kind, Quantized
    from agewise.evaluation.shift import Shift


def quantize(
    model: Annotated[
        str, typer.Argument(help="An ONNX file of `agewise export` (the bundled models are int8 already).")
    ],
    out: Out,
    calibrate_on: Annotated[
        Path | None, typer.Option(metavar="MANIFEST", help="Faces on which int8's ranges are read; no labels needed.")
    ] = None,
    kind: Annotated[str, typer.Option(help="int8 or float16.")] = "int8",
    check_on: Annotated[
        Path | None,
        typer.Option(metavar="MANIFEST", help="Labelled faces on which both are compared; else --calibrate-on."),
    ] = None,
    faces: Annotated[int, typer.Option(min=1, help="Faces to calibrate on.")] = 256,
    groups: Groups = None,
    overall: Annotated[float, typer.Option(help="Years by which the mean error of all faces may rise.")] = 0.1,
    part: Annotated[float, typer.Option(help="The same for any age band or group of 30 faces or more.")] = 0.5,
    moved: Annotated[float, typer.Option(help="Years by which an age may move, on average.")] = 1.0,
    bounds: Annotated[float, typer.Option(help="Years by which the 90 % interval's bounds may, on average.")] = 1.5,
    threads: Threads = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """A smaller, faster file whose answers were checked by age band and group; a worse one is refused.

    Nothing is left of a refused file, and the exit code is 2.
    """
    from agewise.deployment.quantize import QuantizeError
    from agewise.deployment.quantize import quantize as run
    from agewise.deployment.runtime import model_file
    from agewise.evaluation.shift import Limits

    limits = Limits(overall, part, moved, bounds)
    columns = None if groups is None else words(groups)
    try:
        with progress("faces") as step:
            made = run(
                model_file(model),
                out,
                calibrate_on=calibrate_on,
                check_on=check_on,
                kind=cast("Kind", kind),
                faces=faces,
                limits=limits,
                groups=columns,
                threads=threads,
                progress=step,
            )
    except QuantizeError as error:
        if not as_json:
            print("\n".join(table(error.shift)))
        raise
    if as_json:
        print(json.dumps({**_said(made), **made.shift.as_json()}, indent=1))
        return
    print("\n".join(table(made.shift)))
    ranges = f", ranges by {made.ranges}" if made.ranges else ""
    before = f"{made.size_before / 1e6:.2f} MB before"
    print(f"{out}: {Path(model).stem} in {kind}{ranges}, {made.size / 1e6:.2f} MB ({before})")


def table(shift: Shift) -> list[str]:
    """What a file's change does to its answers, for people: a line a set of faces."""
    title = f"{shift.manifest}, {shift.metric}"
    name = max(len(title), *(len(f"{part.column} {part.name}") for part in shift.parts))
    lines = [f"{title:{name}}   faces  before   after    rise (95 % interval)"]
    for part in shift.parts:
        what = "all" if part.column == "all" else f"{part.column} {part.name}"
        between = "" if part.interval is None else f" ({part.interval[0]:+.2f} to {part.interval[1]:+.2f})"
        errors = f"{part.before:>7.2f} {part.after:>7.2f} {part.rise:>+7.2f}"
        lines.append(f"{what:{name}} {part.faces:>7} {errors}{between}")
    lines.append(f"ages move by {shift.moved:.2f} years on average, the bounds of intervals by {shift.bounds:.2f}")
    if shift.coverage is not None:
        lines.append(f"coverage of the 90 % interval {shift.coverage[0]:.1%} -> {shift.coverage[1]:.1%}")
    return lines


def _said(made: Quantized) -> dict[str, object]:
    return {
        "file": str(made.path),
        "kind": made.kind,
        "ranges": made.ranges,
        "bytes": made.size,
        "bytes_before": made.size_before,
        "sha256": made.sha256,
        "sha256_before": made.sha256_before,
    }
