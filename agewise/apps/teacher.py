"""The verbs of an own teacher: `agewise teacher train`. What is heavy is imported inside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agewise.apps.options import Manifest, Threads, progress

teacher = typer.Typer(no_args_is_help=True, help="An ensemble of networks to learn from: train it, take it apart.")


@teacher.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A teacher's recipe (TOML).", show_default=False)],
    overrides: Annotated[list[str] | None, typer.Argument(help="Such as member.training.epochs=2, parallel=2.")] = None,
) -> None:
    """Trains all members of a teacher into one folder; called again, it resumes what was cut off."""
    import logging

    from agewise.teachers.recipe import members, read_teacher_recipe
    from agewise.teachers.train import train_teacher

    settings = read_teacher_recipe(recipe, overrides or [])
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    names = ", ".join(members(settings))
    print(f"{settings.folder}: {names}", file=sys.stderr)

    def said(name: str, done: int, total: int) -> None:
        print(f"{done} of {total} members: {name} is trained", file=sys.stderr)

    contract = train_teacher(settings, progress=sys.stderr.isatty(), said=said)
    print(f"{contract}: a teacher for agewise annotate --teacher, evaluate and robustness")


@teacher.command()
def ablate(
    teacher: Annotated[Path, typer.Argument(help="A teacher's contract, such as runs/teacher/teacher.toml.")],
    manifest: Manifest,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the predictions and the tables.")],
    batch: Annotated[int, typer.Option(min=1, help="Faces a batch.")] = 64,
    threads: Threads = 0,
) -> None:
    """What the vote, the views and the switch to the children's members each add, by band of age."""
    from agewise.apps.models import open_teacher_named
    from agewise.data.manifest import check_frame
    from agewise.data.replacing import replacing
    from agewise.evaluation.ablation import ablation, predict_steps, tables
    from agewise.evaluation.page import markdown
    from agewise.teachers.ensemble import Ensemble

    named = open_teacher_named(teacher, threads)
    if not isinstance(named.predictor, Ensemble) or len(named.predictor.members) < 2:
        raise ValueError(f"{teacher}: not an ensemble, so there is nothing to take apart")
    check_frame(manifest, named.frame, named.margin)
    page = out / "ablation.md"
    title = f"# What each part of {named.name} adds"
    if page.exists() and not page.read_text(encoding="utf-8").startswith(f"{title}\n"):
        raise ValueError(f"{page} is of another teacher; name another folder")
    with progress("faces") as step:
        files = predict_steps(named.predictor, manifest, out, name=named.name, batch=batch, progress=step)
    found = ablation(files)
    facts = [f"Teacher {named.name}: {', '.join(named.predictor.names)}; views {', '.join(named.predictor.views)}"]
    text = markdown(title.removeprefix("# "), facts, list(tables(found)))
    with replacing(page) as partial:
        partial.write_text(text, encoding="utf-8")
    print(text)
    print(", ".join(str(path) for path in [*files, page]))
