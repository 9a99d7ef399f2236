"""What is said of a video: of its frames, its tracks and its end, as JSON lines, table rows and lines for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agewise.deployment.track import Seen, Track
    from agewise.deployment.video import Frame

COLUMNS = (
    *("frame", "seconds", "track", "x0", "y0", "x1", "y1", "score", "weight"),
    *("alone", "age", "std", "low", "high", "reason"),
)


@dataclass(slots=True)
class Outcome:
    """What became of a video: frames read and looked at, tracks, seconds that it took, and what was wrong."""

    name: str
    frames: int = 0
    looks: int = 0
    tracks: int = 0
    seconds: float = 0.0
    error: str | None = None
    stopped: bool = False


def as_line(frame: Frame, found: Sequence[Seen]) -> str:
    """A frame as one line of JSON; `alone` is a face's age by this frame, the others by its track so far."""
    faces = [
        {
            "track": one.track,
            "box": [round(value, 1) for value in one.face.box],
            "score": round(one.face.score, 3),
            "weight": round(one.weight, 3),
            "alone": round(one.alone.mean, 1),
            **dict(zip(("age", "std", "low", "high"), _years(one), strict=True)),
            **({"reason": one.reason} if one.reason else {}),
        }
        for one in found
    ]
    return _json({"frame": frame.number, "seconds": round(frame.seconds, 3), "faces": faces})


def as_cells(frame: Frame, found: Sequence[Seen]) -> list[list[Any]]:
    """The table's rows of a frame: one a face; none of a frame without faces."""
    return [
        [
            *(frame.number, round(frame.seconds, 3), one.track, *(round(value, 1) for value in one.face.box)),
            *(round(one.face.score, 3), round(one.weight, 3), round(one.alone.mean, 1)),
            *("" if value is None else value for value in _years(one)),
            one.reason or "",
        ]
        for one in found
    ]


def as_track_line(track: Track) -> str:
    """A track that ended, as one line of JSON."""
    values = {"track": track.number, "first": track.first, "last": track.last, "frames": track.frames}
    flickers = {"flicker_alone": round(track.flicker_alone, 2), "flicker": round(track.flicker, 2)}
    return _json({**values, **dict(zip(("age", "std", "low", "high"), _years(track), strict=True)), **flickers})


def as_track_text(name: str, track: Track) -> str:
    """A track that ended, for people."""
    said = "not judged"
    if track.age is not None:
        said = f"{track.age.mean:.0f} years ({track.age.low:.0f}-{track.age.high:.0f}, 90 %)"
        said += f"  flicker {track.flicker_alone:.1f} -> {track.flicker:.1f}"
    return f"{name}  face {track.number}  {said}  frames {track.first}-{track.last} ({track.frames})"


def as_last_line(outcome: Outcome) -> str:
    """What became of the video, as the last line of JSON."""
    values = {"video": outcome.name, "frames": outcome.frames, "looks": outcome.looks, "tracks": outcome.tracks}
    ended = {"stopped": outcome.stopped, "error": outcome.error}
    return _json({**values, "took": round(outcome.seconds, 2), **ended})


def as_last_text(outcome: Outcome) -> str:
    """What became of the video, for people."""
    rate = outcome.frames / max(outcome.seconds, 1e-9)
    faces = "no face" if not outcome.tracks else f"{outcome.tracks} face" + "s" * (outcome.tracks > 1)
    looks = "" if outcome.looks == outcome.frames else f", {outcome.looks} looked at"
    said = f"{outcome.name}  {faces} in {outcome.frames} frames{looks}, {rate:.1f} frames/s"
    ended = "  stopped" if outcome.stopped else ""
    return said + (f"  error: {outcome.error}" if outcome.error is not None else ended)


def _years(one: Seen | Track) -> Sequence[float | None]:
    """Mean, std and bounds in tenths of years, or four times None."""
    if one.age is None:
        return [None] * 4
    return [round(value, 1) for value in (one.age.mean, one.age.std, one.age.low, one.age.high)]


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False)
