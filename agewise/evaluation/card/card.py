"""A model card (Mitchell et al. 2019): what a file says of its run, what was measured of it, what people know of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from agewise.ages import AGES, LEVEL
from agewise.evaluation.card.about import About, Role
from agewise.evaluation.card.costs import quantized_lines, speed_lines
from agewise.evaluation.card.gates import gate_lines
from agewise.evaluation.card.onnx_file import CardError, ModelFile, Ranges
from agewise.evaluation.card.prose import bullets, paragraphs, table
from agewise.evaluation.card.records import GateSaid, QuantizedSaid, ReportSaid, SpeedSaid
from agewise.evaluation.card.scores import count, report_lines, weak
from agewise.model.calibration.calibration import Calibration, from_metadata


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured of a model, in the order in which the card shows it."""

    reports: tuple[ReportSaid, ...]
    gates: tuple[GateSaid, ...] = ()
    quantized: tuple[QuantizedSaid, ...] = ()
    speeds: tuple[SpeedSaid, ...] = ()

    def __post_init__(self) -> None:
        """Raises CardError where there is no report, or two of the same thing."""
        if not self.reports:
            raise CardError("a card needs a report; give --report a folder that `agewise evaluate` wrote")
        for found in (self.reports, self.gates):
            names = [one.manifest.name for one in found]
            keys = [one.model_dump_json() for one in found]
            if twice := [name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1]:
                raise CardError(f"the same report of {twice[0]} is given twice")


def card(model: ModelFile, about: About, evidence: Evidence) -> str:
    """The card as Markdown: the same for the same files, whenever and wherever it is written."""
    sections = (
        _head(model, about),
        _use(about),
        _origins(model, about),
        _measured(model, about, evidence),
        _weaknesses(about, evidence),
        _making(model),
    )
    return "\n".join(line for section in sections for line in section).rstrip("\n") + "\n"


def _head(model: ModelFile, about: About) -> Iterator[str]:
    yield from (f"# {about.title}", "")
    dated = f"`{model.place}`, version {about.version}, {about.date.isoformat()}. {about.summary}"
    written = f"Written by `agewise card {model.called}` from the file, the reports named below and an about file."
    yield from paragraphs(f"{dated} {written}")
    window = ", ".join(f"{value:g}" for value in model.info["window"])
    margin = f", with a margin of {model.info['margin']:g}" if model.info.get("margin") else ""
    frame = f"the {model.info['frame']} frame{margin} (docs/geometry.md)"
    size, spread = model.info["size"], f"mean, standard deviation and {100 * LEVEL:.0f} % interval"
    ranges = model.said.quantized and model.said.quantized.calibrated_on
    rows = [
        ["task", f"one face -> probabilities over the ages 0..{AGES[-1]:g} years; {spread} are read from them"],
        ["network", f"{_network(model)}, {model.parameters / 1e6:.2f} M parameters, {size} x {size} pixels"],
        *([["views", "two: the answer is the mean over the crop and its mirror image"]] if model.said.mirror else []),
        ["input", f"uint8 RGB crops: window {window} (centre, side) of {frame}; preprocessing is in the graph"],
        ["file", f"{model.size / 1e6:.2f} MB, {model.stored}; SHA-256 `{model.sha256}`"],
        *([["8 bits", _ranges(ranges)]] if ranges else []),
        ["licence of the weights", f"{model.said.licence or 'unknown'}; what they rest on: below, and NOTICE"],
        ["made by", about.made_by],
        ["contact", about.contact],
    ]
    yield from table(["", ""], rows)


def _use(about: About) -> Iterator[str]:
    yield from ("## For what, and for what not", "")
    yield from bullets([f"**For** {about.use.fit}", f"**Not for** {about.use.unfit}", about.use.says])


def _origins(model: ModelFile, about: About) -> Iterator[str]:
    yield from ("## What it was trained on, plainly", "")
    roles = get_args(Role)
    data = sorted(about.data, key=lambda one: roles.index(one.role))
    yield from bullets([f"**{one.role.capitalize()}: {one.name}**, {one.licence}. {one.text}" for one in data])
    yield from paragraphs(f"**Targets.** {about.targets}")
    yield from bullets([f"Teacher **{one.name}**, {one.licence}. {one.training_data}" for one in about.teachers])
    start = about.start
    yield from paragraphs(
        f"**Start of the weights: {start.name}**, {start.licence}. {start.training_data}"
        if start
        else "**Start of the weights:** random numbers."
    )
    yield from paragraphs(f"**Width of the distributions.** {_calibration(model)} {about.calibration or ''}")


def _measured(model: ModelFile, about: About, evidence: Evidence) -> Iterator[str]:
    yield from ("## How good it is", "")
    for text in about.measured:
        yield from paragraphs(text)
    for report in evidence.reports:
        yield from report_lines(report, model)
    if about.figures:
        yield from ("### Measured elsewhere", "")
        yield from bullets([f"{one.says.rstrip('.')} (`{one.command}`)." for one in about.figures])
    if evidence.gates:
        yield from ("## As an age gate", "")
        for gate in evidence.gates:
            yield from gate_lines(gate, model)
    if evidence.quantized or evidence.speeds:
        yield from ("## Size and speed", "")
        for quantized in evidence.quantized:
            yield from quantized_lines(quantized, model)
        for speed in evidence.speeds:
            yield from speed_lines(speed, model)


def _weaknesses(about: About, evidence: Evidence) -> Iterator[str]:
    yield from ("## Known weaknesses", "")
    yield from bullets([*(line for report in evidence.reports for line in weak(report)), *about.weaknesses])


def _making(model: ModelFile) -> Iterator[str]:
    yield from ("## The run", "")
    run, data = model.said.run, model.said.recipe.data
    roles = {data.train: "trained on", data.valid: "validated on"}
    manifests = [[roles.get(path, "read"), f"{path}, SHA-256 `{sha}`"] for path, sha in run.manifests.items()]
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    rows = [
        *manifests,
        *([["started from", f"weights of SHA-256 `{run.start}`"]] if run.start else []),
        *(["the mean of", f"{one.run}, seed {one.seed}, weights of SHA-256 `{one.weights}`"] for one in run.mean_of),
        *([["seed", str(run.seed)]] if run.seed is not None else []),
        ["threads", str(run.threads)],
        ["versions", f"agewise {run.agewise}, Python {run.python}, {versions}"],
    ]
    yield from table(["", ""], rows)
    whose = "The recipe of the first run" if run.mean_of else "The recipe"
    yield f"{whose} as it was resolved, every default written out; what was not set is left out:"
    yield from ("", "```toml", *(f"{name} = {value}" for name, value in _flat(model.info["recipe"])), "```", "")


def _network(model: ModelFile) -> str:
    said = model.said.recipe.model
    head = said.head if isinstance(said.head, str) else said.head.get("name", "unknown")
    width = f" at {said.backbone.width:g} of its width" if said.backbone.width != 1 else ""
    return f"{said.backbone.name}{width}, {head} head"


def _ranges(on: Ranges) -> str:
    return f"ranges ({on.ranges}) read on {count(on.faces)} faces of {on.manifest}, SHA-256 `{on.sha256}`"


def _calibration(model: ModelFile) -> str:
    said = model.info.get("calibration")
    fitted = "" if said is None else _fitted(from_metadata(said))
    if model.said.temperature is not None:
        return f"In the graph, a temperature of the softmax, {model.said.temperature:g}. {fitted}".rstrip()
    return fitted or "The file carries no calibration."


def _fitted(found: Calibration) -> str:
    steps = [f"a temperature of {found.temperature:.3g}"]
    steps += ["a map of the ages"] if found.warp else []
    factors = [factor for row in found.spread.factors for factor in row]
    if factors:
        steps.append(f"the widths of intervals times {min(factors):.2f} to {max(factors):.2f}, by predicted age")
    origin = found.origin
    on = (
        ""
        if origin is None
        else (
            f", fitted on {count(origin.faces)} faces ({origin.labels}) of {origin.manifest}, SHA-256 `{origin.sha256}`"
        )
    )
    return f"The file carries a calibration: {', '.join(steps)}{on}."


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Every setting by its dotted name, as TOML; what is null is left out."""
    for key, value in values.items():
        name = key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key)
        if value == {}:
            yield f"{before}{name}", "{}"
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        elif value is not None:
            yield f"{before}{name}", json.dumps(value, ensure_ascii=False)
