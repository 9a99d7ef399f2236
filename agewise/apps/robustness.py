"""The verbs corrupt and robustness: corrupted copies of faces, and what a model makes of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agewise.apps.options import Manifest, OnRay, Out, group_columns, progress, words

if TYPE_CHECKING:
    from agewise.ages import Predictor
    from agewise.evaluation.corruptions.profiles import Profile

ProfileName = Annotated[str, typer.Option(help="paper or released (docs/corruptions.md).")]
Seed = Annotated[int, typer.Option(help="Another seed, other noise.")]


def corrupt(
    manifest: Manifest,
    kind: Annotated[str, typer.Option(help="The corruption; a wrong one lists them.", show_default=False)],
    severity: Annotated[int, typer.Option(help="1 (mild) to 5.", show_default=False)],
    out: Out,
    profile: ProfileName = "paper",
    seed: Seed = 0,
) -> None:
    """A copy of a manifest of crops with one corruption, as lossless PNG; all else is kept."""
    from agewise.evaluation.robustness.corrupted import corrupt_manifest

    with progress("faces") as step:
        left = corrupt_manifest(manifest, out, kind, severity, profile=_profile(profile), seed=seed, progress=step)
    print(f"{out}: {kind} {severity}, profile {profile}, seed {seed}; {len(left)} faces without a picture")
    for row, reason in left[:5]:
        print(f"  row {row}: {reason}")


def robustness(
    model: Annotated[str, typer.Argument(help="An ONNX file, a bundled name, a run folder or a teacher's contract.")],
    manifest: Manifest,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the cells and the report; reports/MODEL-MANIFEST-PROFILE if none."),
    ] = None,
    kinds: Annotated[str, typer.Option(help="Corruptions, separated by commas; the paper's 13 if none.")] = "",
    severities: Annotated[str, typer.Option(help="Severities, separated by commas.")] = "1,2,3,4,5",
    profile: ProfileName = "paper",
    seed: Seed = 0,
    limit: Annotated[int | None, typer.Option(help="So many faces of a known age, evenly spread.")] = None,
    groups: Annotated[str, typer.Option(help="Group columns, separated by commas, such as sex,ethnicity.")] = "",
    batch: Annotated[int, typer.Option(help="Faces a batch.")] = 64,
    ray: OnRay = None,
    workers: Annotated[
        int,
        typer.Option(min=0, help="Processes of one thread; with --ray: how many, 0 is as many as there are cores for."),
    ] = 0,
) -> None:
    """A model on clean and corrupted faces: error, bias, coverage by kind and severity, tables and a heat map."""
    from agewise.apps.models import open_model
    from agewise.data.manifest import check_frame
    from agewise.evaluation.corruptions import CORRUPTIONS
    from agewise.evaluation.robustness.cells import predict_cells
    from agewise.evaluation.robustness.report import facts, tables, write_robustness
    from agewise.evaluation.robustness.scores import robustness as scores

    named = open_model(model, 1)
    check_frame(manifest, named.frame, named.margin)
    columns = group_columns(groups, manifest)
    folder = out or Path("reports") / f"{named.name.replace(' ', '-')}-{manifest.stem}-{profile}"
    with progress("cells") as step, redirect_stdout(sys.stderr):  # where Ray prints what it has to say
        cells = predict_cells(
            opener(model, named.name),
            manifest,
            folder,
            name=named.name,
            kinds=words(kinds) or tuple(CORRUPTIONS),
            severities=[_number(word) for word in words(severities)],
            profile=_profile(profile),
            seed=seed,
            limit=limit,
            batch=batch,
            workers=workers or (0 if ray else 1),
            address=ray,
            progress=step,
        )
    found = scores(cells, columns)
    written = write_robustness(found, folder)
    for line in facts(found)[:4]:
        print(line)
    for title, head, rows in list(tables(found))[:2]:
        print(title)
        for row in [head, *rows]:
            print("  " + "  ".join(f"{cell:{16 if place == 0 else 22}}" for place, cell in enumerate(row)).rstrip())
    print(", ".join(str(path) for path in written))


def opener(model: str, name: str, threads: int = 1) -> Callable[[], Predictor]:
    """What opens a model in another process or machine, where it must have the same name too.

    One thread is a core's worth; their number changes nothing.
    """
    from agewise.apps.models import open_model
    from agewise.teachers.annotation.cluster import opened_as

    word = str(Path(model).absolute()) if Path(model).exists() else model  # a worker of Ray has its own folder
    return partial(opened_as, name, partial(open_model, word, threads))


def _profile(name: str) -> Profile:
    from agewise.evaluation.corruptions.profiles import PROFILES

    if name not in PROFILES:
        raise ValueError(f"no profile {name!r} of the corruptions; there are {', '.join(PROFILES)}")
    return name


def _number(word: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"{word!r} is no severity; 1 to 5 are allowed")
    return int(word)
