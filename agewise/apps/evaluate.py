"""The verb evaluate: a model on a manifest, under corruptions too, or models by a protocol of the literature."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from agewise.ages import Decision
from agewise.apps.options import Groups, OnRay, group_columns, progress
from agewise.apps.robustness import opener

if TYPE_CHECKING:
    from agewise.apps.models import Named
    from agewise.evaluation.report.values import Report
    from agewise.evaluation.robustness.scores import Robustness

Model = Annotated[
    str | None,
    typer.Argument(help="An ONNX file, a bundled name, a run folder or a teacher's contract.", show_default=False),
]
Manifest = Annotated[Path | None, typer.Argument(help="A manifest (Parquet, one row a face).", show_default=False)]


def evaluate(
    model: Model = None,
    manifest: Manifest = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the report; reports/MODEL-MANIFEST if none.")
    ] = None,
    groups: Groups = None,
    decision: Annotated[str, typer.Option(help="The age that is scored: mean, median or mode.")] = "mean",
    batch: Annotated[int, typer.Option(min=1, help="Faces a batch.")] = 64,
    threads: Annotated[int, typer.Option(min=0, max=256, help="Of a network; 0 is one a core, with --ray one.")] = 0,
    protocol: Annotated[
        str | None, typer.Option(help="lap-2016, adience, lfw-plus, ..., paper-tables, or a TOML file.")
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="With a protocol, again and again: NAME=MODEL, {fold} in it one a fold; or a folder of predictions. "
            "Of paper-tables NAME is a row such as senet-vmage, or any other, and NAME@SET=MODEL is trained again for "
            "that set.",
        ),
    ] = None,
    manifests: Annotated[
        list[str] | None,
        typer.Option("--manifest", help="With a protocol, again and again: NAME=PATH; of paper-tables lfw-plus, ..."),
    ] = None,
    corruptions: Annotated[bool, typer.Option(help="On 13 x 5 corruptions too; no picture is written.")] = False,
    limit: Annotated[int | None, typer.Option(help="Of corruptions: so many faces, evenly spread.")] = None,
    ray: OnRay = None,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of corruptions: processes of one thread; with --ray: how many, 0 is as many as there are cores for.",
        ),
    ] = 0,
    robustness: Annotated[Path | None, typer.Option(help="A folder of agewise robustness, for the report.")] = None,
    faces: Annotated[bool, typer.Option(help="With pictures of people, such as the worst faces, in the page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predictions of a manifest as Parquet, then a report: N, intervals, error by age band and group.

    With --protocol, a test of the literature: the table with the published values beside those here.
    """
    if protocol is not None:
        from agewise.apps.protocol import Options, evaluate_by

        beside = {"--corruptions": corruptions, "--robustness": robustness, "--limit": limit, "--ray": ray}
        beside |= {"--groups": groups is not None, "--decision": decision != "mean"}
        if wrong := [name for name, given in beside.items() if given]:
            raise ValueError(f"{wrong[0]} is not for a protocol, which says itself what is done")
        options = Options(out, batch, threads, workers or 1, faces, as_json)
        evaluate_by(protocol, model, models or [], manifest, manifests or [], options)
        return
    if models or manifests:
        raise ValueError("--model and --manifest go with --protocol; without one, evaluate MODEL MANIFEST")
    if model is None or manifest is None:
        raise ValueError("evaluate needs a MODEL and a MANIFEST; with --protocol they may be options")
    under, how = _Under(corruptions, limit, robustness), _How(batch, threads, ray, workers)
    under.check(how)
    named, columns, rule = _named(model, manifest, how), group_columns(groups, manifest), _decision(decision)
    report, found, folder = _scored(model, named, manifest, out, columns, rule, under, how)
    _say(report, found, folder, manifest if faces else None, as_json)


@dataclass(frozen=True, slots=True)
class _How:
    """How a model is asked: faces at a time, threads (0: one a core), the cluster, and workers there or processes."""

    batch: int
    threads: int
    ray: str | None
    workers: int


@dataclass(frozen=True, slots=True)
class _Under:
    """What is asked of corruptions; given: the folder of a model's cells, made here if `made`."""

    made: bool
    limit: int | None
    given: Path | None

    def check(self, how: _How) -> None:
        """Raises ValueError for options that do not go together."""
        if self.made and self.given is not None:
            raise ValueError("--corruptions makes what --robustness names; give one of them")
        if not self.made and (self.limit is not None or (how.workers > 1 and not how.ray)):
            raise ValueError("--limit and --workers are for --corruptions, and --workers for --ray")


def _named(model: str, manifest: Path, how: _How) -> Named:
    """The model, whose frame is the manifest's."""
    from agewise.apps.models import open_model
    from agewise.data.manifest import check_frame

    named = open_model(model, how.threads or (1 if how.ray else 0))
    check_frame(manifest, named.frame, named.margin)
    return named


def _scored(
    model: str,
    named: Named,
    manifest: Path,
    out: Path | None,
    groups: list[str],
    rule: Decision,
    under: _Under,
    how: _How,
) -> tuple[Report, Robustness | None, Path]:
    """The clean score, the one under corruptions if asked for, and the folder that holds the predictions."""
    from agewise.data.audit.audit import find_audit
    from agewise.evaluation.evaluate import evaluate as score
    from agewise.evaluation.robustness.scores import robustness_of

    folder = out or Path("reports") / f"{named.name.replace(' ', '-')}-{manifest.stem}"
    predictions = folder / "predictions.parquet"
    _predict(model, named, manifest, predictions, how)
    report = score(predictions, groups, decision=rule, audit=find_audit(manifest))
    corrupted = folder / "robustness"
    cells = _corrupted(model, named.name, manifest, corrupted, under.limit, how) if under.made else under.given
    return report, None if cells is None else robustness_of(cells, named.name, report.sha256), folder


def _predict(model: str, named: Named, manifest: Path, target: Path, how: _How) -> None:
    """Writes the file of predictions, here or by the workers of a cluster."""
    from agewise.evaluation.predictions import predict_manifest, predict_manifest_on_ray

    with progress("faces") as step, redirect_stdout(sys.stderr):  # where Ray prints what it has to say
        if how.ray is None:
            predict_manifest(named.predictor, manifest, target, name=named.name, batch=how.batch, progress=step)
            return
        cores = how.threads or 1
        predict_manifest_on_ray(
            opener(model, named.name, cores),
            manifest,
            target,
            name=named.name,
            address=how.ray,
            workers=how.workers,
            cores=cores,
            batch=how.batch,
            progress=step,
        )


def _corrupted(model: str, name: str, manifest: Path, folder: Path, limit: int | None, how: _How) -> Path:
    """The folder of a model's 65 cells and their report, as `agewise robustness` makes them."""
    from agewise.evaluation.robustness.cells import predict_cells
    from agewise.evaluation.robustness.report import write_robustness
    from agewise.evaluation.robustness.scores import robustness as scores

    with progress("cells") as step, redirect_stdout(sys.stderr):
        cells = predict_cells(
            opener(model, name),
            manifest,
            folder,
            name=name,
            limit=limit,
            batch=how.batch,
            workers=how.workers or (0 if how.ray else 1),
            address=how.ray,
            progress=step,
        )
    write_robustness(scores(cells), folder)
    return folder


def _say(report: Report, found: Robustness | None, folder: Path, manifest: Path | None, as_json: bool) -> None:
    """Writes the report, with pictures of a manifest if one is given, and prints it."""
    from agewise.evaluation.report.write import to_json, write_report

    written = write_report(report, folder, manifest=manifest, robustness=found)
    if as_json:
        print(to_json(report, found), end="")
        return
    _print(report, found)
    print(", ".join(str(path) for path in written))


def _print(report: Report, corrupted: Robustness | None) -> None:
    from agewise.evaluation.report.write import facts, tables

    for line in facts(report):
        print(line)
    _, _, metrics = next(tables(report))
    for metric, value, count, says in metrics:
        print(f"  {metric:12} {value:24} {count:>7} faces  {says}")
    if corrupted is not None:
        _print_corrupted(corrupted)


def _print_corrupted(found: Robustness) -> None:
    """The clean score and the means under corruptions, on the same faces, and the worst kind."""
    from agewise.evaluation.groups import MAIN
    from agewise.evaluation.robustness.walk import CLEAN

    metric = MAIN[found.labels]
    means = {CLEAN: found.clean, **found.means}
    shown = ", ".join(f"{title} {one.metrics[metric].value:.2f}" for title, one in means.items())
    worst = max(found.kinds, key=lambda kind: found.kinds[kind].metrics[metric].value)
    print(f"  corrupted: {metric} of {found.clean.n} faces, years: {shown}; the worst is {worst}, ", end="")
    print(f"{found.kinds[worst].metrics[metric].value:.2f}")


def _decision(rule: str) -> Decision:
    if rule not in get_args(Decision):
        raise ValueError(f"no decision rule {rule!r}; there are {', '.join(get_args(Decision))}")
    return cast(Decision, rule)
