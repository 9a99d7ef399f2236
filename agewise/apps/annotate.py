"""The verbs annotate and recalibrate: a teacher's ages for a manifest's faces. What is heavy is imported inside."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from agewise.apps.options import OnRay, Out, progress


def annotate(
    manifest: Annotated[str, typer.Argument(help="A manifest: Parquet, a folder of parts, or the URI of one.")],
    teacher: Annotated[Path, typer.Option(help="A teacher's contract (TOML).", show_default=False)],
    out: Annotated[str, typer.Option("--out", "-o", help="A folder, also as a URI, or one file x.parquet.")],
    ray: OnRay = None,
    workers: Annotated[int, typer.Option(min=0, help="With --ray: how many; 0 is as many as there are cores for.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Faces a batch.")] = 50,
    votes: Annotated[
        str | None, typer.Option(help="Keep each member's ages: float16, quantised or sparse.", show_default=False)
    ] = None,
    threads: Annotated[int, typer.Option(min=0, max=256, help="Of a network; 0 is one a core, with --ray one.")] = 0,
) -> None:
    """A teacher's age distributions for the faces of a manifest; called again, it goes on where it was cut off."""
    from agewise.apps.models import open_teacher_named
    from agewise.teachers.annotation.annotate import annotate as annotate_file
    from agewise.teachers.annotation.annotate import annotate_folder
    from agewise.teachers.annotation.annotated import Annotated as Result
    from agewise.teachers.annotation.cluster import annotate_on_ray

    one = out.endswith(".parquet")
    if workers and not ray:
        raise ValueError(f"--workers {workers} is for --ray; on one machine, --threads says how many cores are used")
    if one and (ray or "://" in out):
        raise ValueError(f"{out}: one file is written by one machine, to its own disk; name a folder instead")
    open_it = partial(open_teacher_named, teacher.absolute(), threads or (1 if ray else 0))
    named, rate = open_it(), _Rate()
    with progress("faces") as show:
        asked: dict[str, Any] = {"batch": batch, "votes": votes, "progress": rate.and_then(show)}
        asked |= {"identity": named.name}
        if one:
            faces, rows = annotate_file(manifest, named.predictor, Path(out), **asked)
            done = Result(faces, len(rows), dict(Counter(reason for _, reason in rows)))
        elif ray is None:
            done = annotate_folder(manifest, named.predictor, out, **asked)
        else:
            asked |= {"address": ray, "workers": workers, "cores": threads or 1}
            with redirect_stdout(sys.stderr):  # where Ray prints what it has to say
                done = annotate_on_ray(manifest, open_it, out, **asked)
    kept = f"; votes take {done.votes_bytes:g} bytes a face" if done.votes_bytes else ""
    print(f"{out}: {done.faces} faces annotated by {named.name}{rate}, {done.left_out} left out{kept}")
    for reason, count in list(done.reasons.items())[:5]:
        print(f"  {count} x {reason}")
    if not done.faces:
        raise typer.Exit(1)


def recalibrate(
    manifest: Annotated[Path, typer.Argument(help="A manifest with age_probs (agewise annotate).")],
    out: Out,
    response: Annotated[Path, typer.Option(help="Where the fitted response goes (JSON), for a contract to name.")],
    fit_on: Annotated[Path | None, typer.Option(help="Annotated manifest to fit on; MANIFEST itself if none.")] = None,
    constrain: Annotated[bool, typer.Option(help="Keep only the ages of each row's known group.")] = False,
    edge: Annotated[float, typer.Option(help="Blur of the groups' bounds: std in years.")] = 0.0,
    by: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Fit apart for each of its values (sex).", show_default=False),
    ] = None,
) -> None:
    """Puts a teacher's ages right per age, by faces whose age or age group is known."""
    from agewise.teachers.recalibrated import recalibrate as run

    fitted = run(manifest, out, response, fit_on=fit_on, constrain=constrain, edge=edge, by=by)
    print(f"{out}: recalibrated; the teacher answers, at each age:")
    for age in (1, 5, 15, 25, 35, 45, 55, 65, 75):
        print(f"  {age:3d} years: {fitted.mean[age]:5.1f} +- {fitted.std[age]:.1f}")


class _Rate:
    """How many faces a second this call did, those of an earlier call left aside."""

    def __init__(self) -> None:
        self.first: tuple[int, float] | None = None
        self.last = (0, 0.0)

    def and_then(self, show: Callable[[int, int], None]) -> Callable[[int, int], None]:
        """Notes each step of progress, and hands it on."""

        def step(done: int, total: int) -> None:
            self.last = done, time.monotonic()
            self.first = self.first or self.last
            show(done, total)

        return step

    def __str__(self) -> str:
        if self.first is None or self.last[0] == self.first[0]:
            return " before"
        rows, seconds = self.last[0] - self.first[0], self.last[1] - self.first[1]
        return f", {rows} of them now" * bool(self.first[0]) + f", {rows / max(seconds, 1e-3):.1f} faces/s"
