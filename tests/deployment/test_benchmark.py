"""Timings: every number there and positive, drawn faces found, and what cannot be timed refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from agewise.deployment import benchmark as module
from agewise.deployment.benchmark import BATCHES, STEPS, Benchmark, Spread, benchmark
from agewise.deployment.scene import photo, portrait
from agewise.faces.detect import Detector
from agewise.faces.image import PhotoError


@pytest.fixture(scope="module")
def found(tiny_model: Callable[..., Path]) -> Benchmark:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MEGAPIXELS", (0.1, 0.3))
        patch.setattr(module, "FACES", (1, 5))
        return benchmark(tiny_model(), threads=1, rounds=2)


def test_every_number_is_positive_and_in_order(found: Benchmark) -> None:
    spreads = [one.face for one in found.network] + [found.cold]
    spreads += [spread for one in found.photos for spread in (one.whole, *one.steps.values())]
    assert all(0 < spread.low <= spread.median <= spread.high for spread in spreads)
    assert found.size > 0
    assert found.memory is None or 20 < found.memory < 2000


def test_all_is_timed(found: Benchmark) -> None:
    assert {one.threads for one in found.network} == {1, found.cores}
    assert [one.batch for one in found.network if one.threads == 1] == list(BATCHES)
    assert [one.name for one in found.photos] == [
        "0.1 MP, 1 face",
        "0.1 MP, 5 faces",
        "0.3 MP, 1 face",
        "0.3 MP, 5 faces",
    ]
    assert [one.megapixels for one in found.photos] == pytest.approx([0.1, 0.1, 0.3, 0.3], rel=0.02)
    assert all(list(one.steps) == list(STEPS) for one in found.photos)
    assert (found.model, found.threads) == ("tiny", 1)
    assert asdict(found)["photos"][0]["steps"]["detect"]["median"] == found.photos[0].steps["detect"].median


def test_a_cold_start_takes_longer_than_a_photo(found: Benchmark) -> None:
    assert found.cold.low > found.photos[0].whole.median


def test_a_photo_may_be_given(tiny_model: Callable[..., Path], astronaut: Path) -> None:
    found = benchmark(tiny_model(), photo=astronaut, threads=1, rounds=2)
    (one,) = found.photos
    assert (one.name, one.faces, one.found, one.megapixels) == ("astronaut.jpg", None, 1, 0.26)


def test_what_cannot_be_timed_is_refused(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 rounds have no spread"):
        benchmark(tiny_model(), rounds=1)
    (tmp_path / "a.jpg").write_bytes(b"no photo")
    with pytest.raises(PhotoError, match=r"a\.jpg: not an image file"):
        benchmark(tiny_model(), photo=tmp_path / "a.jpg", rounds=2)


def test_a_spread_is_the_quartiles() -> None:
    assert Spread.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(3.0, 2.0, 4.0, 5)


@pytest.mark.parametrize(("megapixels", "faces"), [(0.3, 1), (0.3, 5), (2.0, 5), (2.0, 20)])
def test_the_detector_finds_the_drawn_faces(megapixels: float, faces: int) -> None:
    pixels = photo(megapixels, faces)
    height, width = pixels.shape[:2]
    assert height * width == pytest.approx(megapixels * 1e6, rel=0.02)
    found = Detector(threads=1)(pixels)
    assert len(found) == faces
    assert all(face.score > 0.8 for face in found)


def test_a_portrait_is_the_same_every_time() -> None:
    assert portrait().dtype == np.uint8
    np.testing.assert_array_equal(portrait(), portrait())
