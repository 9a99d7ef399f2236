"""The verbs of the chain: prepare, annotate, recalibrate, train, evaluate, export. What is heavy is imported inside."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from agewise.ages import Decision

Out = Annotated[Path, typer.Option("--out", "-o", help="The file to write.", show_default=False)]
Manifest = Annotated[Path, typer.Argument(help="A manifest (Parquet, one row a face).", show_default=False)]
Threads = Annotated[int, typer.Option(min=0, max=256, help="Threads of a network; 0 is one a core.")]


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


def annotate(
    manifest: Manifest,
    teacher: Annotated[Path, typer.Option(help="A teacher's contract (TOML).", show_default=False)],
    out: Out,
    batch: Annotated[int, typer.Option(min=1, help="Faces a batch.")] = 50,
    threads: Threads = 0,
) -> None:
    """A teacher's age distributions for the faces of a manifest."""
    from agewise.apps.models import open_teacher_named
    from agewise.teachers.annotate import annotate as run

    named = open_teacher_named(teacher, threads)
    with progress("faces") as step:
        faces, left_out = run(manifest, named.predictor, out, identity=named.name, batch=batch, progress=step)
    print(f"{out}: {faces} faces annotated by {named.name}, {len(left_out)} left out")
    _reasons(left_out)


def recalibrate(
    manifest: Annotated[Path, typer.Argument(help="A manifest with age_probs (agewise annotate).")],
    out: Out,
    response: Annotated[Path, typer.Option(help="Where the fitted response goes (JSON), for a contract to name.")],
    fit_on: Annotated[Path | None, typer.Option(help="Annotated manifest to fit on; MANIFEST itself if none.")] = None,
    constrain: Annotated[bool, typer.Option(help="Keep only the ages of each row's known group.")] = False,
    edge: Annotated[float, typer.Option(help="Blur of the groups' bounds: std in years.")] = 0.0,
) -> None:
    """Puts a teacher's ages right per age, by faces whose age or age group is known."""
    from agewise.teachers.annotate import recalibrate as run

    fitted = run(manifest, out, response, fit_on=fit_on, constrain=constrain, edge=edge)
    print(f"{out}: recalibrated; the teacher answers, at each age:")
    for age in (1, 5, 15, 25, 35, 45, 55, 65, 75):
        print(f"  {age:3d} years: {fitted.mean[age]:5.1f} +- {fitted.std[age]:.1f}")


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


def evaluate(
    model: Annotated[str, typer.Argument(help="An ONNX file, a bundled name, a run folder or a teacher's contract.")],
    manifest: Manifest,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the report.")] = None,
    groups: Annotated[str, typer.Option(help="Group columns, separated by commas.")] = "sex,ethnicity",
    decision: Annotated[str, typer.Option(help="The age that is scored: mean, median or mode.")] = "mean",
    batch: Annotated[int, typer.Option(min=1, help="Faces a batch.")] = 64,
    threads: Threads = 0,
) -> None:
    """Predictions of a manifest as Parquet, then a report: N, intervals, error by age band and group."""
    from agewise.apps.models import open_model
    from agewise.data.audit import find_audit
    from agewise.data.manifest import check_frame
    from agewise.evaluation.evaluate import evaluate as score
    from agewise.evaluation.evaluate import predict_manifest
    from agewise.evaluation.report import facts, tables, write_report

    rule = _decision(decision)
    named = open_model(model, threads)
    check_frame(manifest, named.frame, named.margin)
    folder = out or Path("reports") / f"{named.name.replace(' ', '-')}-{manifest.stem}"
    predictions = folder / "predictions.parquet"
    with progress("faces") as step:
        predict_manifest(named.predictor, manifest, predictions, name=named.name, batch=batch, progress=step)
    report = score(predictions, [name for name in groups.split(",") if name], decision=rule, audit=find_audit(manifest))
    written = write_report(report, folder)
    for line in facts(report):
        print(line)
    _, _, metrics = next(tables(report))
    for metric, value, faces, says in metrics:
        print(f"  {metric:12} {value:24} {faces:>7} faces  {says}")
    print(", ".join(str(path) for path in written))


def export(
    run: Annotated[Path, typer.Argument(help="A run folder (agewise train).", show_default=False)],
    out: Out,
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the metadata.")] = "unknown",
    half: Annotated[bool, typer.Option(help="Store the weights in half precision.")] = True,
    calibrate_on: Annotated[Path | None, typer.Option(help="Manifest to fit the distributions' width on.")] = None,
) -> None:
    """A run as one ONNX file, preprocessing inside, checked against the run."""
    from agewise.deployment.export import export as write

    made = write(run, out, licence=licence, half=half, calibrate_on=calibrate_on)
    print(f"{made.path}: {made.size / 1e6:.2f} MB; differs from the run by {made.years:.4f} years at the most")


def _decision(rule: str) -> Decision:
    if rule not in ("mean", "median", "mode"):
        raise ValueError(f"no decision rule {rule!r}; there are mean, median, mode")
    return cast(Decision, rule)


@contextmanager
def progress(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr where somebody looks at it."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn(unit), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(unit)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _reasons(rejects: list[tuple[str, str]]) -> None:
    for reason, count in Counter(reason for _, reason in rejects).most_common(5):
        print(f"  {count} x {reason}")
