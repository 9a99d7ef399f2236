"""Pictures that may be the same one: exact digests, perceptual hashes, and a search of near linear time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]

SIDE = 64
"""Pixels of the grey thumbnail's side, from which the hash is made."""

BYTES = 16
"""Of a hash: 128 signs of cosine coefficients."""

RADIUS = 16
"""Bits, of 128, by which two hashes may differ.

Of 1,500 faces of fairface-train and their crops of 0 to 5 % a side, 99.8 % are candidates; of the 340 million pairs of
all FairFace faces, 70 are, at least 55 of them the same picture.
"""

NEAREST = 64
"""Rows of one bucket that are compared with a hash: those nearest in order. It bounds the time; copies stay chained."""

_EDGES = ((0.0125, 0.9875), (0.01, 0.96), (0.04, 0.99), (0.035, 0.965))
VIEWS: tuple[tuple[float, float, float, float], ...] = (
    (0.0, 0.0, 1.0, 1.0),
    *((x0, y0, x1, y1) for x0, x1 in _EDGES for y0, y1 in _EDGES),
)
"""Parts of a picture that are hashed: left, top, right, bottom as shares of its sides. The first is all of it."""

_DEGREE = 16
_BASE = ((0, 1, 3, 7), (0, 4, 9, 1))
TABLES: tuple[tuple[int, ...], ...] = tuple(
    tuple((first + step) % BYTES for step in steps) for steps in _BASE for first in range(BYTES)
)
"""Bytes of a hash of which the key of each table is made: the first three, and in a large search half of the fourth.

Two tables share at most one of the three (a cyclic difference family). No 7 bytes meet the three of every table, nor 6
the four, so hashes that differ by at most 7 bits, in a large search 6, are equal in one of them for certain.
"""

LARGE = 1 << 17
"""Pictures from which on keys have 28 bits instead of 24, so that buckets stay small (Norouzi et al. 2012: log2 N)."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs of pictures (K,) whose hashes are near: view `view` of `cut`, mirrored or not, looks like all of `whole`.

    distance: bits of 128 that differ. Each pair stands once, as its nearest view.
    """

    cut: Rows
    whole: Rows
    view: Rows
    mirrored: NDArray[np.bool_]
    distance: Rows

    def __len__(self) -> int:
        return len(self.cut)

    def __getitem__(self, rows: slice | Rows | NDArray[np.bool_]) -> Candidates:
        fields = self.cut, self.whole, self.view, self.mirrored, self.distance
        return Candidates(*(field[rows] for field in fields))  # type: ignore[arg-type]  # each keeps its own type


def digest(data: bytes) -> bytes:
    """The first 16 bytes of SHA-256: by chance, two of a billion files share them once in 10^20 times."""
    return hashlib.sha256(data).digest()[:16]


def pixel_digest(pixels: Bytes) -> bytes:
    """The digest of decoded pixels (H, W, 3) and their shape, whatever file they came from."""
    return digest(b"%d %d " % pixels.shape[:2] + pixels.tobytes())


def thumbnail(pixels: Bytes, side: int = SIDE) -> Bytes:
    """RGB pixels (H, W, 3) in grey, stretched to a square: (side, side)."""
    height, width = pixels.shape[:2]
    large = min(height, width) >= side
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA if large else cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def hash_views(thumbnails: Bytes) -> Bytes:
    """The hashes (N, VIEWS, 16) of thumbnails (N, 64, 64): signs of the 128 lowest cosine coefficients of each view.

    A sign changes neither with brightness nor with contrast, and a mirrored picture changes the sign of each
    coefficient that is odd along x, so `mirror` needs no pixels. Coefficients: Zauner 2010; here the basis is stretched
    over the view instead of the picture being cut.
    """
    hashes = np.empty((len(thumbnails), len(VIEWS), BYTES), dtype=np.uint8)
    grey = thumbnails.astype(np.float32)
    for index, (x0, y0, x1, y1) in enumerate(VIEWS):
        across, down = _basis(x0, x1), _basis(y0, y1)
        low = down @ grey @ across.T
        hashes[:, index] = np.packbits(low[:, _ORDER[:, 0], _ORDER[:, 1]] > 0, axis=1)
    return hashes


def mirror(hashes: Bytes) -> Bytes:
    """The hashes (..., 16) of the same views of the mirrored pictures (VIEWS holds each view's mirror image)."""
    return hashes ^ _ODD


def candidates(hashes: Bytes, radius: int = RADIUS) -> Candidates:
    """The pairs of pictures, by the hashes (N, VIEWS, 16) of their views, that differ by few bits.

    Multi-index hashing (Norouzi et al. 2012), with many small tables as in locality-sensitive hashing (Indyk and
    Motwani 1998): a pair is found where some bytes of a view are those of the other whole picture. Tables are searched
    one after the other, views in chunks, so memory grows by about 300 bytes a picture, all of it the hashes.
    """
    if not 0 <= radius <= 8 * BYTES:
        raise ValueError(f"the radius is {radius} bits; 0..{8 * BYTES} is allowed")
    whole = np.ascontiguousarray(hashes[:, 0])
    found = np.empty(0, dtype=_PAIR)
    for table in TABLES:
        index = _Index.of(whole, table, 24 if len(hashes) < LARGE else 28)
        parts = [found]
        for start in range(0, len(hashes), _CHUNK):
            views = hashes[start : start + _CHUNK].reshape(-1, BYTES)
            for mirrored, queries in enumerate((views, mirror(views))):
                parts.append(_nearest(_matches(queries, whole, index, start, radius, bool(mirrored))))
        found = _nearest(np.concatenate(parts))
    return _candidates(found)


def equal_rows(digests: NDArray[np.void]) -> Rows:
    """The number (N,) of the first row with the same digest."""
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def components(count: int, first: Rows, second: Rows) -> Rows:
    """The smallest row (count,) that each row is linked with, through any number of links (first, second)."""
    root = np.arange(count)
    while True:
        low = np.minimum(root[first], root[second])
        before = root.copy()
        np.minimum.at(root, first, low)
        np.minimum.at(root, second, low)
        root = root[root]
        if np.array_equal(root, before):
            return root


_CHUNK = 20_000
"""Pictures whose views are looked up at once."""

_PAIR = np.dtype([("a", np.int64), ("b", np.int64), ("distance", np.int16), ("view", np.int8), ("how", np.int8)])
"""A pair found: a < b; how: 1 where b is the one that is cut, plus 2 where the view is mirrored."""

_ONES = np.array([bin(value).count("1") for value in range(1 << 16)], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class _Index:
    """A table with keys of some bits: (key << 32 | row) in order, and which of 2^24 slots a key of it falls into."""

    table: tuple[int, ...]
    bits: int
    known: NDArray[np.bool_]
    entries: NDArray[np.uint64]

    @classmethod
    def of(cls, hashes: Bytes, table: tuple[int, ...], bits: int) -> _Index:
        keys, known = _keys(hashes, table, bits), np.zeros(1 << 24, dtype=bool)
        known[_slots(keys)] = True
        entries = np.sort(keys.astype(np.uint64) << np.uint64(32) | np.arange(len(keys), dtype=np.uint64))
        return cls(table, bits, known, entries)


def _keys(hashes: Bytes, table: tuple[int, ...], bits: int) -> NDArray[np.uint32]:
    a, b, c, d = (hashes[:, byte].astype(np.uint32) for byte in table)
    return (a << np.uint32(24) | b << np.uint32(16) | c << np.uint32(8) | d) >> np.uint32(32 - bits)


def _slots(keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return keys * np.uint32(2654435761) >> np.uint32(8)  # Knuth's multiplier spreads them


def _matches(
    queries: Bytes, whole: Bytes, index: _Index, start: int, radius: int, mirrored: bool
) -> Iterator[NDArray[np.void]]:
    """Pairs of a query and a picture of its bucket that are near; query 0 is view 0 of picture `start`."""
    keys = _keys(queries, index.table, index.bits)
    hits = np.flatnonzero(index.known[_slots(keys)])
    hits = hits[np.argsort(keys[hits])]  # looked up in order, they stay in the cache: 1.6 times as fast
    key, row = keys[hits].astype(np.uint64) << np.uint64(32), start + hits // len(VIEWS)
    low, high = np.searchsorted(index.entries, key), np.searchsorted(index.entries, key + np.uint64(1 << 32))
    place = np.searchsorted(index.entries, key | row.astype(np.uint64))
    low, high = np.maximum(low, place - NEAREST // 2), np.minimum(high, place + NEAREST // 2 + 1)
    size = high - low
    ends = np.cumsum(size)
    step = 1_000_000
    for first in range(0, int(ends[-1]) if len(ends) else 0, step):
        item = np.arange(first, min(first + step, int(ends[-1])))
        query = np.searchsorted(ends, item, side="right")
        other = (index.entries[low[query] + item - (ends[query] - size[query])] & np.uint64(0xFFFFFFFF)).astype(
            np.int64
        )
        query, other = query[other != row[query]], other[other != row[query]]
        bits = _ONES[(queries[hits[query]] ^ whole[other]).view(np.uint16)].sum(axis=1, dtype=np.int16)
        near = bits <= radius
        query, other, pair = query[near], other[near], np.empty(int(near.sum()), dtype=_PAIR)
        pair["a"], pair["b"] = np.minimum(row[query], other), np.maximum(row[query], other)
        pair["distance"], pair["view"] = bits[near], hits[query] % len(VIEWS)
        pair["how"] = (row[query] > other) + 2 * mirrored
        yield pair


def _nearest(pairs: NDArray[np.void] | Iterator[NDArray[np.void]]) -> NDArray[np.void]:
    """Each pair once, with its smallest distance."""
    if not isinstance(pairs, np.ndarray):
        pairs = np.concatenate([np.empty(0, dtype=_PAIR), *pairs])
    order = np.lexsort((pairs["how"], pairs["view"], pairs["distance"], pairs["b"], pairs["a"]))
    pairs = pairs[order]
    new = np.ones(len(pairs), dtype=bool)
    new[1:] = (pairs["a"][1:] != pairs["a"][:-1]) | (pairs["b"][1:] != pairs["b"][:-1])
    return pairs[new]


def _candidates(found: NDArray[np.void]) -> Candidates:
    swapped = (found["how"] & 1).astype(bool)
    cut, whole = np.where(swapped, found["b"], found["a"]), np.where(swapped, found["a"], found["b"])
    wide = {name: found[name].astype(np.int64) for name in ("view", "distance")}
    return Candidates(cut, whole, wide["view"], (found["how"] & 2).astype(bool), wide["distance"])


def _basis(low: float, high: float) -> NDArray[np.float32]:
    """Cosines (DEGREE, 64) over the part low..high of a line of 64 pixels, each without its mean over that part."""
    edges = np.arange(SIDE + 1) / SIDE
    cover = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0.0, None)
    place = np.clip(((edges[1:] + edges[:-1]) / 2 - low) / (high - low), 0.0, 1.0)
    waves = np.cos(np.pi * np.arange(_DEGREE)[:, None] * place)
    waves[1:] -= (waves[1:] * cover).sum(axis=1, keepdims=True) / cover.sum()
    return (waves * cover).astype(np.float32)


def _order() -> Rows:
    """The degrees (128, 2), down and across, of the lowest coefficients, mixed so that no byte holds only low ones."""
    degrees = [(y, x) for y in range(_DEGREE) for x in range(_DEGREE) if x + y > 0]
    lowest = sorted(degrees, key=lambda degree: (sum(degree), abs(degree[0] - degree[1])))[: 8 * BYTES]
    return np.array(lowest)[np.random.default_rng(0).permutation(8 * BYTES)]


_ORDER = _order()
_ODD = np.packbits(_ORDER[:, 1] % 2 == 1)
