"""`agewise benchmark`: what a model costs on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from agewise.apps.options import Threads, progress

if TYPE_CHECKING:  # `agewise --help` waits for none of these
    from agewise.deployment.benchmark import Benchmark, Spread
    from agewise.deployment.runtime import Engine


def benchmark(
    model: Annotated[
        str | None, typer.Argument(help="An ONNX file of `agewise export`, or a bundled model's name.")
    ] = None,
    photo: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Time this photo, in place of photos with drawn faces.")
    ] = None,
    threads: Threads = 0,
    engine: Annotated[str, typer.Option(help="onnxruntime or openvino.")] = "onnxruntime",
    rounds: Annotated[int, typer.Option(min=2, help="How often everything is timed.")] = 9,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Milliseconds a face and a photo here, cold start, memory and size: medians and quartiles, all timed in turn."""
    from dataclasses import asdict

    from agewise.deployment.benchmark import benchmark as run

    with progress("steps") as step:
        found = run(model, photo=photo, threads=threads, engine=cast("Engine", engine), rounds=rounds, progress=step)
    if as_json:
        print(json.dumps(asdict(found), indent=1))
        return
    print("\n".join(table(found)))


def table(found: Benchmark) -> list[str]:
    """The table, for people: milliseconds with quartiles."""
    lines = [f"{found.model} ({found.size / 1e6:.2f} MB), {found.engine}, {found.machine}", ""]
    lines.append(f"{'network, ms a face':28} " + "".join(f"{_threads(n):>26}" for n in _counts(found)))
    for batch in sorted({one.batch for one in found.network}):
        cells = "".join(f"{_said(one.face):>26}" for one in found.network if one.batch == batch)
        lines.append(f"{'one at a time' if batch == 1 else f'of a batch of {batch}':28} {cells}")
    steps = list(found.photos[0].steps)
    lines += ["", f"{f'photo, ms ({_threads(found.threads)})':28} {'whole':>26}" + "".join(f"{s:>9}" for s in steps)]
    for one in found.photos:
        name = one.name if one.found == one.faces else f"{one.name}: found {one.found}"
        cells = "".join(f"{spread.median:9.1f}" for spread in one.steps.values())
        lines.append(f"{name:28} {_said(one.whole):>26}{cells}")
    lines += ["", f"{'agewise predict, cold, ms':28} {_said(found.cold):>26}"]
    if found.memory is not None:
        lines.append(f"{'memory, MB':28} {found.memory:>26.0f}")
    return lines


def _counts(found: Benchmark) -> list[int]:
    return sorted({one.threads for one in found.network})


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _said(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"
