"""`agewise predict`: photos in; ages out as lines, JSON, CSV and pictures."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agewise.data.replacing import replacing

if TYPE_CHECKING:  # `agewise --help` waits for none of these
    from agewise.ages import Age
    from agewise.deployment.estimate import Estimator
    from agewise.faces.detect import Face
    from agewise.faces.image import Photo

COLUMNS = ("file", "face", "x0", "y0", "x1", "y1", "score", "age", "std", "low", "high", "error")
FEW = 5
"""More photos than these get a progress bar."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is said of one photo: its faces with their ages, or why it could not be read."""

    file: str
    found: Sequence[tuple[Face, Age]]
    error: str | None = None


def predict(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO", help="Image files, and folders of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a photo, one a line.")] = False,
    table: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Also write a table: one row a face.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option("--draw", metavar="DIR", help="Also write the photos with boxes and ages drawn.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="An ONNX file of `agewise export`, or a bundled model's name.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, max=256, help="Threads a network; 0 is one a core.")] = 0,
) -> None:
    """Ages of all faces in photos, with their 90 % intervals.

    The exit code is 0, 1 if a photo could not be read, or 2 if nothing could be done.
    """
    paths = _files(photos)
    if table and table.resolve() in {path.resolve() for path in paths}:
        raise ValueError(f"{table} is a photo that is read; give the table another name")
    from agewise.deployment.estimate import Estimator

    estimator = Estimator(model, threads=threads)
    form = as_line if as_json else as_text
    failed = False
    with ExitStack() as stack:
        writer = csv.writer(stack.enter_context(_new_text(table))) if table else None
        if writer:
            writer.writerow(COLUMNS)
        draw = _Drawings(pictures, paths) if pictures else None
        say, step = stack.enter_context(_progress(len(paths)))
        for path in paths:
            row, photo = _row(estimator, path)
            say(form(row))
            failed |= row.error is not None
            if writer:
                writer.writerows(as_cells(row))
            if draw and photo:
                draw(path, photo, row.found)
            step()
    if failed:
        raise typer.Exit(1)


def as_text(row: Row) -> str:
    """A line a face for people."""
    if row.error is not None:
        return f"{row.file}  error: {row.error}"
    lines = [
        f"{row.file}  face {number}  {age.mean:.0f} years ({age.low:.0f}-{age.high:.0f}, 90 %)"
        f"  box {' '.join(f'{value:.0f}' for value in face.box)}"
        for number, (face, age) in enumerate(row.found, 1)
    ]
    return "\n".join(lines) or f"{row.file}  no face"


def as_line(row: Row) -> str:
    """A photo as one line of JSON.

    >>> as_line(Row("a.jpg", []))
    '{"file": "a.jpg", "faces": [], "error": null}'
    """
    faces = [
        {
            "box": [round(value, 1) for value in face.box],
            "score": round(face.score, 3),
            "age": round(age.mean, 1),
            "std": round(age.std, 1),
            "low": round(age.low, 1),
            "high": round(age.high, 1),
        }
        for face, age in row.found
    ]
    return json.dumps({"file": row.file, "faces": faces, "error": row.error}, ensure_ascii=False, allow_nan=False)


def as_cells(row: Row) -> list[list[str | int | float]]:
    """The table's rows of a photo: one a face, and one of a photo without a face or that could not be read."""
    if not row.found:
        return [[row.file, *[""] * (len(COLUMNS) - 2), row.error or ""]]
    cells: list[list[str | int | float]] = []
    for number, (face, age) in enumerate(row.found, 1):
        box, years = [round(value, 1) for value in face.box], [age.mean, age.std, age.low, age.high]
        cells.append([row.file, number, *box, round(face.score, 3), *(round(value, 1) for value in years), ""])
    return cells


def _files(given: Sequence[Path]) -> list[Path]:
    """The files given and those in the folders given; what is absent stays, to become a row with its reason.

    Raises PhotoError where there is no file at all.
    """
    from agewise.faces.image import PhotoError, images_below

    found: list[Path] = []
    for path in given:
        found += (images_below(path) or [path]) if os.path.isdir(path) else [path]
    if not any(os.path.exists(path) and not os.path.isdir(path) for path in found):
        first = found[0]
        reason = "no image in this folder" if os.path.isdir(first) else "no such file or folder"
        raise PhotoError(f"{first}: {reason}" + (f" (nor in {len(found) - 1} more)" if len(found) > 1 else ""))
    return list(dict.fromkeys(found))


def _row(estimator: Estimator, path: Path) -> tuple[Row, Photo | None]:
    from agewise.faces.image import PhotoError, read_photo

    name = os.fsencode(path).decode("utf-8", "replace")
    if os.path.isdir(path):
        return Row(name, [], "no image in this folder"), None
    try:
        photo = read_photo(path)
    except PhotoError as error:
        return Row(name, [], str(error)), None
    return Row(name, estimator(photo)), photo


class _Drawings:
    """Writes photos with their ages drawn; never two to one name, and never over a photo that was read."""

    def __init__(self, folder: Path, photos: Sequence[Path]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.taken = {str(path.resolve()).casefold() for path in photos}

    def __call__(self, source: Path, photo: Photo, found: Sequence[tuple[Face, Age]]) -> None:
        from PIL import Image

        from agewise.deployment.draw import draw

        drawn = Image.fromarray(draw(photo.pixels, [(face.moved(photo.scale), age) for face, age in found]))
        target = self._name(source)
        with replacing(target) as partial:
            drawn.save(partial, "PNG" if target.suffix == ".png" else "JPEG", quality=92)

    def _name(self, source: Path) -> Path:
        suffix, number = ".png" if source.suffix.lower() == ".png" else ".jpg", 1
        target = self.folder / f"{source.stem}{suffix}"
        while (key := str(target.resolve()).casefold()) in self.taken:
            number += 1
            target = self.folder / f"{source.stem}-{number}{suffix}"
        self.taken.add(key)
        return target


@contextmanager
def _new_text(target: Path) -> Iterator[io.TextIOWrapper]:
    """A text file that appears under its name only when it is complete."""
    with replacing(target) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        yield stream


@contextmanager
def _progress(total: int) -> Iterator[tuple[Callable[[str], None], Callable[[], object]]]:
    """How to print a line on stdout, and how to say that a photo is done: a bar where somebody looks at it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    if total <= FEW or not sys.stderr.isatty():
        yield lambda text: print(text, flush=True), lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # The bar and lines on one terminal must share a console, or they would overwrite each other.
    together = sys.stdout.isatty()
    console = Console(stderr=not together)
    columns = TextColumn("photos"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("photos", total=total)

        def say(text: str) -> None:
            if together:
                console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
            else:
                print(text, flush=True)

        yield say, lambda: bar.advance(task)
