"""Photo -> every face in it with its age."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agewise.ages import Age
from agewise.deployment.runtime import OnnxModel
from agewise.faces.detect import Detector, Face
from agewise.faces.image import Photo, PhotoError, read_photo

Source = Path | str | bytes | NDArray[np.uint8] | Photo
"""A photo: its file, the bytes of its file, its upright RGB pixels (H, W, 3), or what `read_photo` gave."""


class Estimator:
    """A detector and a model, opened once for many photos."""

    def __init__(
        self, model: OnnxModel | Path | str | None = None, detector: Detector | None = None, threads: int = 0
    ) -> None:
        """model: an ONNX file, the name of a bundled one, or an open one. threads: a network; 0 is one a core."""
        self.model = model if isinstance(model, OnnxModel) else OnnxModel(model, threads)
        self.detector = detector or Detector(threads=threads)

    def __call__(self, photo: Source) -> list[tuple[Face, Age]]:
        """Every face of a photo with its age, the largest first; boxes in pixels of the upright photo as stored.

        Raises:
            PhotoError: a photo that cannot be read, or pixels of another type or shape.
        """
        opened = opened_photo(photo)
        faces = self.detector(opened.pixels)
        ages = self.model.of_faces(opened.pixels, faces)
        return [(face.moved(1 / opened.scale), age) for face, age in zip(faces, ages, strict=True)]


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
        return read_photo(photo)
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or photo.size == 0:
        raise PhotoError(f"the photo's array is {photo.dtype} {photo.shape}; RGB uint8 (H, W, 3) is needed")
    return Photo(np.ascontiguousarray(photo))


@lru_cache(maxsize=1)
def _default_model() -> OnnxModel:
    return OnnxModel()


@lru_cache(maxsize=1)
def _default_detector() -> Detector:
    return Detector()
