"""Photo -> every face in it with its age."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agewise.ages import Age
from agewise.deployment.runtime import BATCH, OnnxModel
from agewise.faces.detect import Detector
from agewise.faces.face import Face
from agewise.faces.image import Photo, PhotoError, read_photo
from agewise.faces.quality import Quality, Rules, quality

Source = Path | str | bytes | NDArray[np.uint8] | Photo
"""A photo: its file, the bytes of its file, its upright RGB pixels (H, W, 3), or what `read_photo` gave."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A face with its age, or with the reason why none is said of it (then `age` is None)."""

    face: Face
    age: Age | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A photo's faces until the network runs: in pixels as stored, how they look (if that counts), and their views."""

    faces: Sequence[Face]
    looks: Sequence[Quality] | None
    views: NDArray[np.uint8]


class Estimator:
    """A detector and a model, opened once for many photos."""

    def __init__(
        self,
        model: OnnxModel | Path | str | None = None,
        detector: Detector | None = None,
        threads: int = 0,
        abstain: Rules | None = None,
    ) -> None:
        """model: an ONNX file, the name of a bundled one, or an open one. threads: a network; 0 is one a core.

        abstain: the rules by which a face is not judged; None judges every face.
        """
        self.abstain = abstain
        self.model = model if isinstance(model, OnnxModel) else OnnxModel(model, threads)
        self.detector = detector or Detector(threads=threads)

    def __call__(self, photo: Source) -> list[tuple[Face, Age]]:
        """Every face of a photo with its age, the largest first; boxes in pixels of the upright photo as stored.

        Faces that the rules `abstain` from are left out; `judge` has them with their reasons.

        Raises:
            PhotoError: a photo that cannot be read, or pixels of another type or shape.
        """
        return [(one.face, one.age) for one in self.judge(photo) if one.age is not None]

    def judge(self, photo: Source) -> list[Judged]:
        """Every face of a photo, as for a call, with its age or why it has none. Raises PhotoError."""
        return next(self.many([photo]))

    def many(self, photos: Iterable[Source], batch: int = BATCH) -> Iterator[list[Judged]]:
        """What `judge` says of each photo, in order; the network runs on faces of several photos together.

        A photo is read when it is reached, and let go of when its faces are cut out: one photo and `batch` faces are
        held, and the last photo's. The ages are those that `judge` gives. Raises PhotoError at a photo that cannot be
        read, after all those before it; give what `read_photo` gave to leave such ones out.
        """
        if batch < 1:
            raise ValueError(f"the batch is {batch} faces; at least 1 is needed")
        waiting: list[_Waiting] = []
        held = 0
        for photo in photos:
            try:
                waiting.append(self._seen(opened_photo(photo)))
            except PhotoError:
                yield from self._aged(waiting)
                raise
            held += len(waiting[-1].faces)
            if held >= batch or not held:
                yield from self._aged(waiting)
                waiting, held = [], 0
        yield from self._aged(waiting)

    def _seen(self, photo: Photo) -> _Waiting:
        """The faces of a photo, without the photo."""
        shrunk = photo.scale < 1 and isinstance(self.detector, Detector)  # a user's own may be any callable
        faces = (self.detector.of_shrunk(photo.scale) if shrunk else self.detector)(photo.pixels)
        looks = [quality(photo.pixels, face, photo.scale) for face in faces] if self.abstain else None
        views = self.model.views(photo.pixels, faces)
        return _Waiting([face.moved(1 / photo.scale) for face in faces], looks, views)

    def _aged(self, photos: Sequence[_Waiting]) -> Iterator[list[Judged]]:
        ages = iter(self.model.of_views(np.concatenate([photo.views for photo in photos])) if photos else ())
        for photo in photos:
            yield [self._judged(photo, row, next(ages)) for row in range(len(photo.faces))]

    def _judged(self, photo: _Waiting, row: int, age: Age) -> Judged:
        reason = self.abstain.reason(photo.looks[row], age) if self.abstain and photo.looks else None
        return Judged(photo.faces[row], None if reason else age, reason)


def estimate(
    photo: Source, model: OnnxModel | Path | str | None = None, detector: Detector | None = None
) -> list[tuple[Face, Age]]:
    """Every face of a photo with its age: what `Estimator` says, with the default networks kept open between calls."""
    return Estimator(_default_model() if model is None else model, detector or _default_detector())(photo)


def opened_photo(photo: Source) -> Photo:
    """The pixels of a photo, however it was given. Raises PhotoError."""
    if isinstance(photo, Photo):
        return photo
    if not isinstance(photo, np.ndarray):
        try:
            return read_photo(photo)
        except PhotoError as error:
            raise error if isinstance(photo, bytes) else PhotoError(f"{photo}: {error}") from error.__cause__
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or photo.size == 0:
        raise PhotoError(f"the photo's array is {photo.dtype} {photo.shape}; RGB uint8 (H, W, 3) is needed")
    return Photo(np.ascontiguousarray(photo))


@lru_cache(maxsize=1)
def _default_model() -> OnnxModel:
    return OnnxModel()


@lru_cache(maxsize=1)
def _default_detector() -> Detector:
    return Detector()
