"""`agewise predict --video`: a video or a camera in; the ages of the faces followed in it out."""

from __future__ import annotations

import csv
import io
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from agewise.apps.video_forms import (
    COLUMNS,
    Outcome,
    as_cells,
    as_last_line,
    as_last_text,
    as_line,
    as_track_line,
    as_track_text,
)
from agewise.data.replacing import replacing_text

if TYPE_CHECKING:  # `agewise --help` waits for none of these
    from agewise.deployment.estimate import Estimator
    from agewise.deployment.track import Follower, Seen, Track
    from agewise.deployment.video import Frame, Video

FEWEST_LOOKS = 3
"""A track outlives so many looks without its face where `--every` makes them rare, at the source's own rate."""
STOPPED = 130
"""The exit code of a file that was not followed to its end, as of any command that Ctrl-C ended."""

Say = Callable[[str], None]


def predict_video(
    source: str,
    estimator: Callable[[], Estimator],
    every: int = 1,
    as_json: bool = False,
    table: Path | None = None,
    drawn: Path | None = None,
) -> None:
    """Follows the faces of a video or camera and says their ages, by every `every`-th frame.

    estimator: opens the networks, once the video is known to be one. Raises ValueError, OSError or ModuleNotFoundError
    before anything was done; typer.Exit(1) where the video was cut off, and with STOPPED where it was stopped.
    """
    _check_places(source, table, drawn)
    from agewise.deployment.track import PAUSE, Follower
    from agewise.deployment.video import Video, new_video

    video = Video(source)
    outcome = Outcome(source)
    with ExitStack() as stack:
        stack.callback(video.close)
        follower = Follower(estimator(), max(PAUSE, FEWEST_LOOKS * every / video.fps))
        picture = stack.enter_context(new_video(drawn, video.fps)) if drawn else None
        stream = stack.enter_context(stack.enter_context(replacing_text(table))) if table else None
        say, step = stack.enter_context(_progress(video))
        sinks = _Sinks(say, as_json, csv.writer(stream) if stream else None, picture)
        _follow(video, follower, every, sinks, outcome, step)
    _print(as_last_line(outcome) if as_json else as_last_text(outcome))
    if outcome.error is not None:
        raise typer.Exit(1)
    if outcome.stopped and not video.live:
        raise typer.Exit(STOPPED)


class _Sinks:
    """Where a frame's faces and the ended tracks go: lines on stdout, the table, the video drawn."""

    def __init__(self, say: Say, as_json: bool, writer: Any, picture: Callable[[Any], None] | None) -> None:
        self._say, self._json, self._writer, self._picture = say, as_json, writer, picture
        self._last: Sequence[Seen] = ()
        self._drawn = 0
        if writer:
            writer.writerow(COLUMNS)

    def look(self, frame: Frame, found: Sequence[Seen]) -> None:
        """A frame that was looked at."""
        self._last = found
        if self._json:
            self._say(as_line(frame, found))
        if self._writer:
            self._writer.writerows(as_cells(frame, found))

    def draw(self, video: Video, frame: Frame) -> None:
        """Any frame, with the faces last found; a slow camera's is repeated, so that the video keeps its pace."""
        if self._picture is None:
            return
        from agewise.deployment.draw import draw

        due = round(frame.seconds * video.fps) + 1 - self._drawn if video.live else 1
        picture = draw(frame.pixels, [(one.face, one.age) for one in self._last if one.age is not None])
        for _ in range(due):
            self._picture(picture)
        self._drawn += max(0, due)

    def end(self, name: str, track: Track) -> None:
        """A track that ended."""
        self._say(as_track_line(track) if self._json else as_track_text(name, track))


def _follow(
    video: Video, follower: Follower, every: int, sinks: _Sinks, outcome: Outcome, step: Callable[[], object]
) -> None:
    """Frame by frame to the end of the video or until Ctrl-C; what it learns stands in `outcome`, whatever happens."""
    started = time.monotonic()
    with _ctrl_c() as stopped:
        for frame in video:
            if frame.number % every == 0:
                sinks.look(frame, follower(frame.pixels, frame.number, frame.seconds))
                outcome.looks += 1
            outcome.frames += 1
            sinks.draw(video, frame)
            for track in follower.over(frame.seconds):
                sinks.end(video.name, track)
                outcome.tracks += 1
            step()
            if stopped():
                outcome.stopped = True
                break
    for track in follower.over():
        sinks.end(video.name, track)
        outcome.tracks += 1
    outcome.seconds = time.monotonic() - started
    if not outcome.stopped and video.missing:
        outcome.error = f"ends after {video.read} of {video.count} frames: it is cut off or damaged"


def _check_places(source: str, table: Path | None, drawn: Path | None) -> None:
    """Raises ValueError where two of them are one file."""
    from agewise.deployment.video import FORMATS

    given = {"--video": Path(source), "--csv": table, "--draw": drawn}
    taken: dict[Path, str] = {}
    for what, path in given.items():
        if path is None:
            continue
        if (before := taken.setdefault(path.resolve(), what)) != what:
            raise ValueError(f"{path} is given to {before}; give {what} another name")
    if drawn and drawn.suffix.lower() not in FORMATS:
        raise ValueError(f"{drawn}: with --video, --draw takes a file that ends in {' or '.join(FORMATS)}")


def _print(text: str) -> None:
    print(text, flush=True)


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: once, the frame at hand is finished first; twice interrupts at once."""
    pressed = []

    def note(number: int, _: FrameType | None) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress(video: Video) -> Iterator[tuple[Say, Callable[[], object]]]:
    """How to print a line on stdout, and how to say that a frame is done: a bar where somebody looks at it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    if not sys.stderr.isatty():
        yield _print, lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # The bar and lines on one terminal must share a console, or they would overwrite each other.
    together = sys.stdout.isatty()
    console = Console(stderr=not together)
    columns = TextColumn("frames"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]} frames/s")
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("frames", total=video.count, rate="-")

        def say(text: str) -> None:
            if together:
                console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
            else:
                _print(text)

        def step() -> None:
            bar.advance(task)
            speed = bar.tasks[0].speed
            bar.update(task, rate="-" if speed is None else f"{speed:.1f}")

        yield say, step
