"""Hashes against an independent cosine transform, the search against all pairs, groups against scipy."""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
import pytest
import scipy.fft
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from agewise.data.audit import duplicates
from agewise.data.audit.duplicates import (
    BYTES,
    NEAREST,
    RADIUS,
    TABLES,
    VIEWS,
    Candidates,
    candidates,
    components,
    digest,
    equal_rows,
    hash_views,
    mirror,
    pixel_digest,
    thumbnail,
)


def pictures(count: int, side: int = 96) -> NDArray[np.uint8]:
    """Cloudy pictures (N, side, side, 3), each its own."""
    rng = np.random.default_rng(3)
    clouds = [
        cv2.resize(rng.normal(128, 60, (9, 9, 3)), (side, side), interpolation=cv2.INTER_CUBIC) for _ in range(count)
    ]
    return np.stack(clouds).clip(0, 255).astype(np.uint8)


def greys(count: int) -> NDArray[np.uint8]:
    return np.stack([thumbnail(picture) for picture in pictures(count)])


def distance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.unpackbits(a ^ b, axis=-1).sum(axis=-1).astype(np.int64)


def found(pairs: Candidates) -> set[tuple[int, int]]:
    return {(min(a, b), max(a, b)) for a, b in zip(pairs.cut.tolist(), pairs.whole.tolist(), strict=True)}


def of_bits(bits: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Hashes whose views are all the same."""
    return np.repeat(np.packbits(bits, axis=1)[:, None], len(VIEWS), axis=1)


def test_the_whole_pictures_hash_has_the_signs_of_the_cosine_transform() -> None:
    grey = greys(12)
    hashes = hash_views(grey)[:, 0]
    degrees = sorted(
        ((y, x) for y in range(16) for x in range(16) if x + y), key=lambda at: (sum(at), abs(at[0] - at[1]))
    )[:128]
    low = scipy.fft.dctn(grey.astype(float), axes=(1, 2))
    signs = np.stack([low[:, y, x] > 0 for y, x in degrees], axis=1)
    for a in range(12):
        for b in range(12):
            assert distance(hashes[a], hashes[b]) == (signs[a] != signs[b]).sum()


def test_light_and_contrast_change_no_hash() -> None:
    grey = (64 + greys(5) // 2 // 2 * 2).astype(np.uint8)
    assert np.array_equal(hash_views(grey), hash_views(grey // 2 + 40))


def test_the_hash_of_the_mirrored_picture_needs_no_pixels() -> None:
    grey = greys(6)
    mirrored = hash_views(np.ascontiguousarray(grey[:, :, ::-1]))
    at = {view: index for index, view in enumerate(VIEWS)}
    for index, (x0, y0, x1, y1) in enumerate(VIEWS):
        other = at[round(1 - x1, 9), y0, round(1 - x0, 9), y1]
        assert distance(mirror(hash_views(grey))[:, index], mirrored[:, other]).max() <= 1  # rounding, at most


@pytest.mark.parametrize("edges", [(0.04, 0.0, 0.04, 0.01), (0.02, 0.05, 0.03, 0.0), (0.0, 0.03, 0.02, 0.02)])
def test_a_crop_is_near_to_a_view(edges: tuple[float, float, float, float]) -> None:
    whole = pictures(8, 200)
    x0, y0, x1, y1 = (round(200 * edge) for edge in edges)
    cropped = np.stack([thumbnail(picture[y0 : 200 - y1, x0 : 200 - x1]) for picture in whole])
    views = hash_views(np.stack([thumbnail(picture) for picture in whole]))
    gaps = distance(views, hash_views(cropped)[:, :1])
    assert gaps.min(axis=1).max() <= RADIUS
    assert gaps.min(axis=1).mean() < gaps[:, 0].mean()


@pytest.mark.parametrize(("used", "gone"), [(3, 7), (4, 6)])
def test_few_bytes_leave_a_table(used: int, gone: int) -> None:
    for some in combinations(range(BYTES), gone):
        assert any(not set(some) & set(table[:used]) for table in TABLES)


@pytest.mark.parametrize(("large", "radius"), [(False, 7), (True, 6)])
def test_few_bits_are_found_for_certain_and_no_pair_is_made_up(
    large: bool, radius: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(duplicates, "LARGE", 0)
    rng = np.random.default_rng(1)
    bits = rng.random((300, 128)) > 0.5
    for row in range(0, 300, 3):
        bits[row + 1] = bits[row] ^ np.isin(np.arange(128), rng.permutation(128)[: row % 8])
    hashes = of_bits(bits)
    pairs = candidates(hashes, radius)
    gaps = distance(hashes[:, None, 0], hashes[None, :, 0])
    mirrored = distance(mirror(hashes[:, None, 0]), hashes[None, :, 0])
    near = np.argwhere(np.triu(np.minimum(gaps, np.minimum(mirrored, mirrored.T)) <= radius, 1))
    assert found(pairs) == {(int(a), int(b)) for a, b in near}
    assert len(pairs) == len(found(pairs))
    assert pairs.distance.tolist() == [gaps[a, b] for a, b in zip(pairs.cut, pairs.whole, strict=True)]


def test_a_view_or_a_mirrored_view_is_enough() -> None:
    rng = np.random.default_rng(2)
    hashes = of_bits(rng.random((40, 128)) > 0.5)
    hashes[7, 5] = hashes[31, 0]
    hashes[30, 9] = mirror(hashes[4, 0])
    pairs = candidates(hashes)
    said = zip(pairs.cut.tolist(), pairs.whole.tolist(), pairs.view.tolist(), pairs.mirrored.tolist(), strict=True)
    assert sorted(said) == [(7, 31, 5, False), (30, 4, 9, True)]


def test_many_copies_stay_linked_although_few_are_compared() -> None:
    count = 2 * NEAREST
    hashes = of_bits(np.repeat(np.random.default_rng(0).random((2, 128)) > 0.5, count, axis=0))
    pairs = candidates(hashes)
    assert len(pairs) <= 2 * count * NEAREST
    assert components(2 * count, pairs.cut, pairs.whole).tolist() == [0] * count + [count] * count


def test_no_picture_gives_no_pair() -> None:
    assert len(candidates(np.zeros((0, len(VIEWS), BYTES), np.uint8))) == 0
    assert len(candidates(np.zeros((1, len(VIEWS), BYTES), np.uint8))) == 0


@pytest.mark.parametrize("radius", [-1, 129])
def test_a_radius_is_some_of_the_bits(radius: int) -> None:
    with pytest.raises(ValueError, match=r"the radius is -?\d+ bits; 0..128 is allowed"):
        candidates(np.zeros((2, len(VIEWS), BYTES), np.uint8), radius)


def test_linked_rows_as_scipy_sees_them() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.integers(0, 500, (2, 300))
    root = components(500, first, second)
    _, label = connected_components(coo_array((np.ones(300), (first, second)), shape=(500, 500)), directed=False)
    assert len(np.unique(root)) == len(np.unique(label))
    assert all(len(np.unique(label[root == one])) == 1 for one in np.unique(root))
    chain = np.arange(999)
    assert components(1000, chain, chain + 1).max() == 0


def test_equal_digests_give_the_first_row() -> None:
    digests = np.array([np.void(digest(word)) for word in (b"a", b"b", b"a", b"\0", b"b", b"a")])
    assert equal_rows(digests).tolist() == [0, 1, 0, 3, 1, 0]


def test_pixels_of_another_shape_are_others() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    assert pixel_digest(pixels) == pixel_digest(pixels.copy())
    assert pixel_digest(pixels) != pixel_digest(pixels.reshape(6, 4, 3))
