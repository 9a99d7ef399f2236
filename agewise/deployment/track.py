"""Faces followed from frame to frame (ByteTrack, Zhang et al. 2022), with the age of each by all its frames so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agewise.ages import Age, AgeDistribution
from agewise.deployment.estimate import Estimator
from agewise.deployment.fuse import Fusion, weight
from agewise.faces.detect import Detector
from agewise.faces.face import Face
from agewise.faces.quality import quality

if TYPE_CHECKING:  # of the extra `video`; imported where a video is followed
    from edgefirst.tracker import ByteTrack

PAUSE = 1.0
"""A face that returns within so many seconds is the same; if it was looked for in vain later, it begins a new track."""
BEGINS = 0.7
"""The least score of a face that begins a track; later it may have less, as the detector's threshold allows.

91 % of the faces of fairface-val and 99 % of utkface-dev have it in their one photo; most false ones do not.
"""
GROWN, OVERLAP = 1.0, 0.1
"""By which share of its size a box is grown on each side, and its least overlap (IoU) with where the track is expected.

Grown boxes still meet where a face moves by more than its size between two looks (Yang et al. 2023).
"""
FRESH = 0.75
"""How much a new box moves its track; with the library's 0.25, faces were lost where every fifth frame is looked at."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A face in one frame.

    track: the number of its track, from 1. alone: its age by this frame. weight: of this frame, 0 where it was not
    counted. age: by all the track's frames so far, None where none was counted. reason: why this one was not.
    """

    track: int
    face: Face
    alone: Age
    weight: float
    age: Age | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """A face from its first to its last frame.

    first, last: numbers of those frames, from 0. frames: in which it was seen. age: by all of them, None where none was
    counted. flicker_alone, flicker: the standard deviation of the age by each frame alone, and of the one shown.
    """

    number: int
    first: int
    last: int
    frames: int
    age: Age | None
    flicker_alone: float
    flicker: float


class FrameDetector(Detector):
    """Finds faces in frames: as in photos, but without the borders that are tried around a photo which one face fills.

    Hardly any frame is such a crop, and one without a face takes a quarter of the time.
    """

    def _every(self, image: NDArray[np.uint8]) -> list[Face]:
        return self._pyramid(image)


class Follower:
    """Faces and ages of the frames of one video, which are given in order."""

    def __init__(self, estimator: Estimator, pause: float = PAUSE) -> None:
        """estimator: finds and judges the faces; what its rules abstain from is followed, but not counted.

        Raises ModuleNotFoundError without the extra `video`.
        """
        self._estimator, self._pause = estimator, pause
        self._tracker = _byte_track(pause)
        self._open: dict[str, _Record] = {}
        self._count = 0

    def __call__(self, pixels: NDArray[np.uint8], frame: int, seconds: float) -> list[Seen]:
        """The faces followed in the next frame (H, W, 3), the largest first. frame, seconds: its number and time."""
        faces = self._estimator.detector(pixels)
        ages = self._estimator.model.of_faces(pixels, faces)
        seen = []
        for row, (face, key) in enumerate(zip(faces, self._keys(faces, seconds), strict=True)):
            if key is None:
                continue
            if key not in self._open:
                self._count += 1
                self._open[key] = _Record(self._count, frame)
            seen.append(self._judged(self._open[key], pixels, face, ages[row : row + 1], frame, seconds))
        return seen

    def over(self, seconds: float = math.inf) -> list[Track]:
        """The tracks that ended before a time, each told once; all that are left of no time."""
        ended = [key for key, record in self._open.items() if seconds - record.seconds > self._pause]
        return [self._open.pop(key).summary() for key in ended]

    def _keys(self, faces: Sequence[Face], seconds: float) -> list[str | None]:
        """The tracker's name of each face's track; None where it follows none."""
        boxes = np.array([face.box for face in faces], dtype=np.float32).reshape(-1, 4)
        margin = GROWN * (boxes[:, 2:] - boxes[:, :2])
        grown = np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)
        scores = np.array([face.score for face in faces], dtype=np.float32)
        labels = np.zeros(len(faces), dtype=np.uintp)  # edgefirst-tracker 0.38 takes no signed ones
        tracks = self._tracker.update(grown, scores, labels, round(seconds * 1e9))
        return [track.uuid if track else None for track in tracks]

    def _judged(
        self, record: _Record, pixels: NDArray[np.uint8], face: Face, ages: AgeDistribution, frame: int, seconds: float
    ) -> Seen:
        found, (alone,) = quality(pixels, face), ages
        rules = self._estimator.abstain
        reason = rules.reason(found, alone) if rules else None
        counted = 0.0 if reason else weight(found)
        age = record.add(ages, alone, counted, frame, seconds)
        return Seen(record.number, face, alone, counted, age, reason)


class _Record:
    """What is kept of a track while it lasts: sums alone, whatever its length."""

    def __init__(self, number: int, first: int) -> None:
        self.number, self.first = number, first
        self.last, self.seconds, self.frames = first, 0.0, 0
        self.age: Age | None = None
        self._fusion = Fusion()
        self._alone, self._shown = _Spread(), _Spread()

    def add(self, ages: AgeDistribution, alone: Age, counted: float, frame: int, seconds: float) -> Age | None:
        self.last, self.seconds = frame, seconds
        self.frames += 1
        if counted > 0:
            self._fusion.add(ages, counted)
            (self.age,) = self._fusion.ages
            self._alone.add(alone.mean)
            self._shown.add(self.age.mean)
        return self.age

    def summary(self) -> Track:
        flicker = self._alone.std, self._shown.std
        return Track(self.number, self.first, self.last, self.frames, self.age, *flicker)


class _Spread:
    """The standard deviation of numbers that come one by one (Welford 1962)."""

    def __init__(self) -> None:
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        self._count += 1
        step = value - self._mean
        self._mean += step / self._count
        self._squares += step * (value - self._mean)

    @property
    def std(self) -> float:
        return math.sqrt(self._squares / self._count) if self._count else 0.0


def _byte_track(pause: float) -> ByteTrack:
    try:
        from edgefirst.tracker import ByteTrack
    except ModuleNotFoundError as error:  # under the name of its package, by which the command line knows the extra
        raise ModuleNotFoundError("no module edgefirst.tracker", name="edgefirst_tracker") from error
    return ByteTrack(high_conf=BEGINS, iou=OVERLAP, update=FRESH, lifespan_ns=round(pause * 1e9))
