"""`agewise card`: an exported model, the reports of it and what people know of it in; its model card out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agewise.apps.options import Out

if TYPE_CHECKING:  # `agewise --help` waits for none of these
    from agewise.evaluation.card.card import Evidence
    from agewise.evaluation.card.onnx_file import ModelFile


def card(
    model: Annotated[str, typer.Argument(help="An ONNX file of `agewise export`, or a bundled model's name.")],
    out: Out,
    about: Annotated[Path, typer.Option(metavar="TOML", help="What only people know; recipes/cards/base.toml is one.")],
    report: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder of `agewise evaluate`, again and again.")
    ] = None,
    gate: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="A folder of `agewise gate`, again and again.")
    ] = None,
    quantize: Annotated[
        list[Path] | None, typer.Option(metavar="JSON", help="What `agewise quantize --json` printed of the model.")
    ] = None,
    speed: Annotated[
        list[Path] | None, typer.Option(metavar="JSON", help="What `agewise benchmark --json` printed of the model.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the card is made of, as JSON.")] = False,
) -> None:
    """A model card in Markdown: the run in the file, every report's tables with N, and the prose of the about file.

    A report of another file is refused. The same inputs give the same bytes.
    """
    from agewise.data.replacing import check_place, replacing
    from agewise.evaluation.card.about import read_about
    from agewise.evaluation.card.card import Evidence
    from agewise.evaluation.card.card import card as write
    from agewise.evaluation.card.evidence import read_gate, read_quantized, read_report, read_speed

    check_place(out)
    place, file = _file(model)
    read = [place, about, *(quantize or []), *(speed or [])]
    read += [folder / "report.json" for folder in report or []] + [folder / "gate.json" for folder in gate or []]
    if out.exists() and out.resolve() in {path.resolve() for path in read}:
        raise ValueError(f"{out} is read; give the card another name")
    prose = read_about(about, file.said.name)
    evidence = Evidence(
        tuple(read_report(folder, file) for folder in report or []),
        tuple(read_gate(folder, file) for folder in gate or []),
        tuple(read_quantized(path, file) for path in quantize or []),
        tuple(read_speed(path, file) for path in speed or []),
    )
    text = write(file, prose, evidence)
    with replacing(out) as partial:
        partial.write_text(text, encoding="utf-8")
    if as_json:
        print(json.dumps(_said(out, file, evidence), indent=1))
        return
    sets = ", ".join(f"{one.manifest.name} (N = {one.overall.n})" for one in evidence.reports)
    print(f"{out}: {file.identity}, {sets}; {len(text.splitlines())} lines")


def _file(model: str) -> tuple[Path, ModelFile]:
    """A model's file, and what it says, named as on the command line if it is a bundled one."""
    from agewise.deployment.runtime import MODELS, OnnxModel
    from agewise.evaluation.card.onnx_file import read_model_file

    opened = OnnxModel(model, threads=1)
    bundled = opened.path.resolve().parent == MODELS.resolve()
    place = f"agewise/deployment/models/{opened.path.name}" if bundled else opened.path.name
    called = opened.path.stem if bundled else opened.path.name
    return opened.path, read_model_file(opened.path, called, place, opened.info)


def _said(out: Path, file: ModelFile, evidence: Evidence) -> dict[str, object]:
    measured = [("evaluate", one.manifest, one.overall.n) for one in evidence.reports]
    measured += [("gate", one.manifest, one.overall.n) for one in evidence.gates]
    return {
        "card": str(out),
        "model": file.identity,
        "sha256": file.sha256,
        "bytes": file.size,
        "parameters": file.parameters,
        "reports": [{"of": of, "manifest": one.name, "sha256": one.sha256, "n": n} for of, one, n in measured],
        "quantized": [one.kind for one in evidence.quantized],
        "speeds": [one.machine for one in evidence.speeds],
    }
