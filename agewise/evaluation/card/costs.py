"""The parts of a card that show size and speed: what quantisation did to the answers, and milliseconds on a machine."""

from __future__ import annotations

from collections.abc import Sequence

from agewise.evaluation.card.onnx_file import ModelFile
from agewise.evaluation.card.prose import paragraphs, table
from agewise.evaluation.card.records import QuantizedSaid, SpeedSaid, SpreadSaid
from agewise.evaluation.card.scores import count
from agewise.evaluation.report.values import METRICS


def quantized_lines(found: QuantizedSaid, model: ModelFile) -> list[str]:
    """Size and errors before and after, of all faces and of each band and group."""
    shift = found.shift
    done = model.said.quantized
    ranges = done.calibrated_on.manifest if done and done.calibrated_on else "MANIFEST"
    on = f" --calibrate-on {ranges}" if found.kind == "int8" else ""
    given = "ORIGINAL" if done else model.called
    command = f"agewise quantize {given} --kind {found.kind}{on} --check-on {shift.manifest}"
    mine = "This file" if done else f"The {found.kind} file of this one"
    ages = f"ages move by {shift.moved:.2f} years on average, bounds of their intervals by {shift.bounds:.2f}"
    held = "" if shift.coverage is None else f"; the 90 % interval holds {_change(shift.coverage)} of the ages"
    later = " before it was calibrated anew" if done and found.sha256 != model.sha256 else ""
    says = f"{mine}{later} has {found.size / 1e6:.2f} MB in place of {found.size_before / 1e6:.2f}; {ages}{held}."
    head = ["", "N", f"{METRICS[shift.metric].title} before, years", "after", "rise"]
    rows = []
    for part in shift.parts:
        bounds = "" if part.interval is None else f" [{part.interval[0]:+.2f}, {part.interval[1]:+.2f}]"
        name = part.name if part.column in ("all", "age") else f"{part.column}: {part.name}"
        errors = [f"{part.before:.2f}", f"{part.after:.2f}", f"{part.rise:+.2f}{bounds}"]
        rows.append(["all" if part.column == "all" else name, count(part.faces), *errors])
    title = f"### {found.kind}: {shift.manifest}, N = {count(shift.overall.faces)}"
    return [title, "", *paragraphs(f"`{command}`. {says}"), *table(head, rows)]


def speed_lines(found: SpeedSaid, model: ModelFile) -> list[str]:
    """Milliseconds a face, a photo and a cold start on the machine that was timed."""
    machine = f"{found.machine}, {found.engine}, {found.cores} core{'s' * (found.cores != 1)}"
    says = f"`agewise benchmark {model.called} --threads {found.threads}` on {machine};"
    says += f" medians and quartiles of {found.cold.rounds} to {found.network[0].face.rounds} rounds, in turn."
    network = [
        [f"network, a face, batch of {one.batch}, {_threads(one.threads)}", _spread(one.face)] for one in found.network
    ]
    photos = [[f"photo, {one.name}, {_threads(found.threads)}", _spread(one.whole)] for one in found.photos]
    rows = [*network, *photos, ["`agewise predict`, cold start", _spread(found.cold)]]
    if found.memory is not None:
        rows.append(["resident memory of that, MB", f"{found.memory:.0f}"])
    return ["### Speed", "", *paragraphs(says), *table(["", "ms (quartiles)"], rows)]


def _change(ends: Sequence[float]) -> str:
    return f"{100 * ends[1]:.1f} % (before: {100 * ends[0]:.1f} %)"


def _threads(number: int) -> str:
    return f"{number} thread{'s' * (number != 1)}"


def _spread(one: SpreadSaid) -> str:
    return f"{one.median:.2f} ({one.low:.2f}-{one.high:.2f})"
