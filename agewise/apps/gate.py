"""The verb gate: what a model would let through at a legal age."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agewise.apps.options import Groups, Manifest, Threads, group_columns, progress


def gate(
    model: Annotated[str, typer.Argument(help="An ONNX file, a bundled name, a run folder or a teacher's contract.")],
    manifest: Manifest,
    threshold: Annotated[int, typer.Option(help="The legal age, 1..99 years.")] = 18,
    buffer: Annotated[int, typer.Option(help="The challenge age: an estimate of at least this passes.")] = 25,
    alpha: Annotated[float, typer.Option(help="Pass if P(below the threshold) is at most this.")] = 0.05,
    budget: Annotated[float, typer.Option(help="Share of the adults that may be referred.")] = 0.2,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the report; reports/MODEL-MANIFEST if none.")
    ] = None,
    groups: Groups = None,
    decision: Annotated[str, typer.Option(help="The estimate: mean, median or mode.")] = "mean",
    batch: Annotated[int, typer.Option(min=1, help="Faces a batch.")] = 64,
    threads: Threads = 0,
) -> None:
    """An age gate's false and true positives, by challenge age, by a bound (pass, refer, fail), by group."""
    from agewise.apps.models import open_model
    from agewise.data.manifest import check_frame
    from agewise.evaluation.gate.gate import gate as score
    from agewise.evaluation.gate.report import write_gate
    from agewise.evaluation.gate.rule import Rule
    from agewise.evaluation.gate.tables import facts, tables
    from agewise.evaluation.predictions import predict_manifest

    rule = Rule(threshold, buffer, alpha, budget, decision)  # type: ignore[arg-type]  # it checks the word itself
    named = open_model(model, threads)
    check_frame(manifest, named.frame)
    columns = group_columns(groups, manifest)
    folder = out or Path("reports") / f"{named.name.replace(' ', '-')}-{manifest.stem}"
    predictions = folder / "predictions.parquet"
    with progress("faces") as step:
        predict_manifest(named.predictor, manifest, predictions, name=named.name, batch=batch, progress=step)
    report = score(predictions, rule, columns)
    written = write_gate(report, folder)
    for line in facts(report):
        print(line)
    _, _, rates = next(tables(report))
    for rate, value, faces, says in rates:
        print(f"  {rate:32} {value:34} {faces:>7} faces  {says}")
    print(", ".join(str(path) for path in written))
