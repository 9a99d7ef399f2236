"""Which candidates are the same picture: their crops are read again, laid over each other, embedded and compared."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from agewise.data.audit.duplicates import VIEWS, Candidates
from agewise.data.audit.scan import Rows, images_of, picture
from agewise.faces.align import warp

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Crops (K, CROP, CROP, 3) uint8 RGB to vectors (K, D), which are compared by their cosine."""

CROP = 112
"""Pixels of the side of the crops that are embedded."""

SIMILARITY = 0.80
"""Cosine of `local_contrast` from which two pictures are one.

Chosen on rows 0..7,999 of fairface-train (benchmarks/audit.py choose): 99 % of the crops of 0 to 5 % a side are at
0.878 and above, other copies at 0.939 and above, the nearest other face at 0.642. Elsewhere the nearest other face is
at 0.757 (UTKFace) and 0.723 (photos of one studio, uncropped).
"""

_HELD = 128
_PAIRS = 3000
"""Pairs whose crops are held at once: at most 6,000 crops of 128 pixels, 300 MB."""

_SAMPLE, _FEWEST = 300, 50
"""Pictures of a manifest whose mean is taken, and the fewest of which a mean says what they share."""


def local_contrast(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An embedding that needs no network: 32 x 32 grey, without its local mean, at equal local contrast (K, 1024).

    Light and large shapes, which all faces share, are taken away; edges remain, where they are (Pinto et al. 2008).
    """
    vectors = np.empty((len(crops), 32 * 32), dtype=np.float32)
    for row, crop in enumerate(crops):
        grey = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
        fine = grey.astype(np.float32) - cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 3.0)
        spread = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 4.5))
        even = fine / (spread + 2.0)  # 2 grey levels: noise of a flat part is not blown up
        vectors[row] = (even - even.mean()).ravel()
    return vectors


def similarities(rows: Rows, pairs: Candidates, embed: Embed = local_contrast) -> NDArray[np.float64]:
    """The cosine (K,) of each pair, the matched view of the one laid over the other; pairs hold numbers of rows.

    What the pictures of a manifest share (a studio's wall, the shape of a head) is no evidence: their mean vector is
    taken from both. Of the means of both manifests, the one that leaves the lower cosine counts.
    """
    cosine = np.zeros(len(pairs))
    if not len(pairs):
        return cosine
    shared = np.stack(np.broadcast_arrays(*(_shared(rows, index, embed) for index in range(len(rows.manifests)))))
    manifest = np.searchsorted(rows.first, np.arange(len(rows)), side="right") - 1
    for start in range(0, len(pairs), _PAIRS):
        part = pairs[start : start + _PAIRS]
        wanted = np.union1d(part.cut, part.whole)
        crops = _held(rows, wanted)
        if len(crops) < len(wanted):
            raise ValueError("a manifest, or a picture that it names, was changed while it was audited")
        for first in range(0, len(part), 256):
            some = part[first : first + 256]
            cut = np.stack([_view(crops[a], v, m) for a, v, m in zip(some.cut, some.view, some.mirrored, strict=True)])
            one, other = _unit(embed(cut)), _unit(embed(np.stack([_view(crops[b], 0, False) for b in some.whole])))
            means = shared[manifest[some.cut], some.mirrored.astype(int)], shared[manifest[some.whole], 0]
            each = [(_unit(one - mean) * _unit(other - mean)).sum(axis=1) for mean in means]
            cosine[start + first :][: len(some)] = np.clip(np.minimum(*each), -1.0, 1.0)
    return cosine


def _shared(rows: Rows, manifest: int, embed: Embed) -> NDArray[np.float32]:
    """Mean unit vectors (2, D) of a manifest's pictures and of their mirror images, by a sample; 0 if it has few."""
    first, end = rows.first[manifest : manifest + 2]
    crops = _held(rows, np.unique(np.linspace(first, end - 1, _SAMPLE).astype(np.int64))) if end > first else {}
    if len(crops) < _FEWEST:
        return np.zeros((2, 1), dtype=np.float32)
    both = [np.stack([_view(crop, 0, mirrored) for crop in crops.values()]) for mirrored in (False, True)]
    return np.stack([_unit(embed(views)).mean(axis=0) for views in both])


def _held(rows: Rows, wanted: NDArray[np.int64]) -> dict[int, NDArray[np.uint8]]:
    """Some rows' pictures, stretched to 128 pixels a side, where they can be read."""
    crops = {}
    for row, image, folder in images_of(rows, wanted):
        opened = picture(image, folder)
        if not isinstance(opened, str):
            way = cv2.INTER_AREA if min(opened[1].shape[:2]) > _HELD else cv2.INTER_LINEAR
            crops[row] = np.asarray(cv2.resize(opened[1], (_HELD, _HELD), interpolation=way), dtype=np.uint8)
    return crops


def _view(crop: NDArray[np.uint8], view: int, mirrored: bool) -> NDArray[np.uint8]:
    """A view of a crop (128, 128, 3), stretched to CROP pixels."""
    x0, y0, x1, y1 = (edge * _HELD for edge in VIEWS[view])
    across, down = CROP / (x1 - x0), CROP / (y1 - y0)
    out = warp(crop, np.array([[across, 0.0, -x0 * across], [0.0, down, -y0 * down]]), CROP)
    return np.ascontiguousarray(out[:, ::-1]) if mirrored else out


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    if vectors.ndim != 2:
        raise ValueError(f"the embedding gives {vectors.shape}; one vector a crop is needed")
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype=np.float32)
