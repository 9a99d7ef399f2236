"""`agewise predict`: photos in; ages out as lines, JSON, CSV and pictures."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from agewise.data.replacing import replacing, replacing_text

if TYPE_CHECKING:  # `agewise --help` waits for none of these
    from agewise.deployment.estimate import Estimator, Judged
    from agewise.deployment.runtime import Engine
    from agewise.faces.image import Photo
from agewise.apps.predict_forms import COLUMNS, Row, as_cells, as_line, as_text

FEW = 5
"""More photos than these get a progress bar."""


def predict(
    photos: Annotated[
        list[Path] | None, typer.Argument(metavar="PHOTO...", help="Image files, and folders of them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a photo, one a line.")] = False,
    table: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Also write a table: one row a face.")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            "--draw", metavar="DIR", help="Also write the photos with boxes and ages drawn (a video: its file)."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="An ONNX file of `agewise export`, or a bundled model's name.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, max=256, help="Threads a network; 0 is one a core.")] = 0,
    abstain: Annotated[
        bool, typer.Option("--abstain", help="Say why, and no age, where a face is small, blurred, turned or unsure.")
    ] = False,
    video: Annotated[
        str | None, typer.Option(metavar="FILE|CAMERA", help="Instead of photos: a video, or a camera by its number.")
    ] = None,
    engine: Annotated[str, typer.Option(help="What runs the network: onnxruntime or openvino.")] = "onnxruntime",
    smallest: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="PX",
            help="Of photos: leave out faces well below this side, to save time; ages of others may move a little.",
        ),
    ] = 0.0,
    every: Annotated[int, typer.Option(min=1, help="Of a video, look for faces in each so many-th frame.")] = 1,
) -> None:
    """Ages of all faces in photos, or in a video, with their 90 % intervals.

    The exit code is 0, 1 if a photo could not be read or a video is cut off, or 2 if nothing could be done.
    """
    if bool(photos) == (video is not None):
        raise typer.BadParameter("give either photos or --video")
    if every != 1 and video is None:
        raise typer.BadParameter("--every is of --video")
    if smallest and video is not None:
        raise typer.BadParameter("--smallest is of photos")
    if video is not None:
        from agewise.apps.video import predict_video

        made = partial(_estimator, model, threads, abstain, engine)
        predict_video(video, made, every, as_json, table, pictures)
        return
    paths = _files(photos or [])
    if table and table.resolve() in {path.resolve() for path in paths}:
        raise ValueError(f"{table} is a photo that is read; give the table another name")
    estimator = _estimator(model, threads, abstain, engine, smallest)
    form = as_line if as_json else as_text
    failed = False
    with ExitStack() as stack:
        writer = csv.writer(stack.enter_context(replacing_text(table))) if table else None
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


def _estimator(model: str | None, threads: int, abstain: bool, engine: str, smallest: float | None = None) -> Estimator:
    """smallest: of photos; None is for the frames of a video."""
    from agewise.deployment.estimate import Estimator
    from agewise.deployment.runtime import OnnxModel
    from agewise.faces.detect import Detector
    from agewise.faces.quality import Rules

    detector: Detector
    if smallest is None:
        from agewise.deployment.track import FrameDetector

        detector = FrameDetector(threads=threads)
    else:
        detector = Detector(threads=threads, smallest=smallest)
    network = OnnxModel(model, threads, cast("Engine", engine))
    return Estimator(network, detector, abstain=Rules() if abstain else None)


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
    return Row(name, estimator.judge(photo)), photo


class _Drawings:
    """Writes photos with their ages drawn; never two to one name, and never over a photo that was read."""

    def __init__(self, folder: Path, photos: Sequence[Path]) -> None:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder}: a file; --draw takes a folder")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.taken = {str(path.resolve()).casefold() for path in photos}

    def __call__(self, source: Path, photo: Photo, found: Sequence[Judged]) -> None:
        from PIL import Image

        from agewise.deployment.draw import draw

        judged = [(one.face.moved(photo.scale), one.age) for one in found if one.age is not None]
        drawn = Image.fromarray(draw(photo.pixels, judged))
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
