"""The faces that a model is most wrong about: what is known and predicted of each and, if wanted, its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from agewise.data.audit.scan import images_of, picture, read_rows
from agewise.data.manifest import ManifestError, fingerprint
from agewise.faces.image import encode_jpeg
from agewise.metrics import Floats

MOST = 24
SIDE = 144
"""Pixels of the longer side of a picture."""


@dataclass(frozen=True, slots=True)
class Worst:
    """A face: its row in the manifest, known age or group, what is predicted, and by how much that is off, in years."""

    row: int
    known: str
    pred: float
    low: float
    high: float
    off: float


def worst_faces(
    row: NDArray[np.int64], known: Sequence[str], pred: Floats, interval: Floats, off: Floats
) -> tuple[Worst, ...]:
    """At most MOST of N faces, the one that is `off` the most first; those in no way off are not among them."""
    order = [one for one in np.argsort(-off, kind="stable")[:MOST] if off[one] > 0]
    return tuple(
        Worst(int(row[one]), known[one], float(pred[one]), float(low), float(high), float(off[one]))
        for one, (low, high) in zip(order, interval[order], strict=True)
    )


def pictures_of(manifest: Path, sha256: str, rows: Sequence[int]) -> dict[int, bytes]:
    """Small JPEG files of the pictures of those rows; one that can no longer be read is left out.

    Raises ManifestError unless the manifest is the file of that SHA-256.
    """
    if fingerprint(manifest) != sha256:
        raise ManifestError(f"{manifest}: not the file that was predicted (SHA-256 {sha256}): its faces are not shown")
    small = {}
    for row, image, folder in images_of(read_rows([manifest], []), np.array(rows, dtype=np.int64)):
        opened = picture(image, folder)
        if not isinstance(opened, str):
            small[row] = encode_jpeg(_shrunk(opened[1]), quality=85)
    return small


def _shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
