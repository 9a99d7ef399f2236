"""Pictures by row: the same from memory and from their file, which follows the manifest and is never half there."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from agewise.data.manifest import IMAGE, ManifestError, write_manifest
from agewise.data.stored import HELD, Pictures, open_pictures, place_of

ROWS = 2300
"""More than two row groups."""


def data(row: int, seed: int = 0) -> bytes:
    return np.random.default_rng((seed, row)).bytes(1 + row % 50)


def written(path: Path, seed: int = 0, **columns: Any) -> Path:
    images = [{"bytes": data(row, seed), "path": f"{row}.jpg"} for row in range(ROWS)]
    return write_manifest(pa.table({"image": pa.array(images, IMAGE), **columns}), path)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return written(tmp_path / "faces.parquet")


@pytest.mark.parametrize("held", [HELD, 0], ids=["memory", "file"])
def test_every_row_has_its_picture_in_any_order(manifest: Path, held: int) -> None:
    pictures = open_pictures(manifest, held=held)
    assert len(pictures) == ROWS
    order = np.random.default_rng(0).permutation(ROWS).tolist()
    assert all(pictures[row] == data(row) for row in order)
    assert place_of(manifest).exists() == (held == 0)
    for row in (-1, ROWS):
        with pytest.raises(IndexError, match=f"row {row} of {ROWS} pictures"):
            pictures[row]


@pytest.mark.parametrize("held", [HELD, 0], ids=["memory", "file"])
def test_a_path_is_followed_when_it_is_asked_for(tmp_path: Path, held: int) -> None:
    (tmp_path / "é").mkdir()
    outside = tmp_path / "outside.jpg"
    rows: list[Any] = [
        {"bytes": None, "path": "é/a.jpg"},
        {"bytes": None, "path": str(outside)},
        {"bytes": b"", "path": "é/a.jpg"},
        {"bytes": b"p", "path": "é/a.jpg"},
        {"bytes": None, "path": "absent.jpg"},
        {"bytes": None, "path": "é"},
        {"bytes": None, "path": None},
        None,
    ]
    path = write_manifest(pa.table({"image": pa.array(rows, IMAGE)}), tmp_path / "m.parquet")
    pictures = open_pictures(path, held=held)
    (tmp_path / "é" / "a.jpg").write_bytes(b"beside")
    outside.write_bytes(b"elsewhere")
    assert [pictures[row] for row in range(8)] == [b"beside", b"elsewhere", b"beside", b"p", b"", b"", b"", b""]


def test_another_column_has_a_file_of_its_own(tmp_path: Path) -> None:
    bodies = pa.array([{"bytes": b"body", "path": None} if row % 2 else None for row in range(ROWS)], IMAGE)
    path = written(tmp_path / "m.parquet", body=bodies)
    faces, found = open_pictures(path, held=0), open_pictures(path, "body", held=0)
    assert (faces[7], found[7], found[8]) == (data(7), b"body", b"")
    with pytest.raises(ManifestError, match="no column hand; it has image, body"):
        open_pictures(path, "hand")


def test_repeated_pictures_that_parquet_counts_once_are_not_held(tmp_path: Path) -> None:
    same = pa.array([{"bytes": bytes(1000), "path": None}] * 1000, IMAGE)
    path = write_manifest(pa.table({"image": same}), tmp_path / "m.parquet")
    assert path.stat().st_size < 100_000
    assert open_pictures(path, held=500_000)[999] == bytes(1000)
    assert place_of(path).stat().st_size > 10**6


def test_the_file_is_made_once_and_anew_after_a_change(manifest: Path) -> None:
    open_pictures(manifest, held=0)
    made = place_of(manifest).stat().st_mtime_ns
    earlier = open_pictures(manifest, held=0)
    assert place_of(manifest).stat().st_mtime_ns == made
    size = manifest.stat().st_size
    written(manifest, seed=1)
    assert abs(manifest.stat().st_size - size) < 100  # as good as the same size
    assert open_pictures(manifest, held=0)[11] == data(11, seed=1)
    assert earlier[11] == data(11)  # one that is open keeps the rows that it was opened with


@pytest.mark.parametrize("damage", ["truncated", "empty", "other"])
def test_a_damaged_file_is_made_anew(manifest: Path, damage: str) -> None:
    open_pictures(manifest, held=0)
    place = place_of(manifest)
    whole = place.read_bytes()
    place.write_bytes({"truncated": whole[:-1], "empty": b"", "other": b"x" * 10_000}[damage])
    assert open_pictures(manifest, held=0)[ROWS - 1] == data(ROWS - 1)
    assert place.read_bytes() == whole


def test_the_file_can_lie_in_another_folder(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGEWISE_CACHE", str(tmp_path / "cache"))
    other = tmp_path / "other"
    other.mkdir()
    same_name = written(other / manifest.name, seed=1)
    assert open_pictures(manifest, held=0)[3] == data(3)
    assert open_pictures(same_name, held=0)[3] == data(3, seed=1)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert [path.name for path in other.iterdir()] == [manifest.name]


def test_a_folder_that_cannot_be_written_says_what_to_do(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("AGEWISE_CACHE", str(tmp_path / "file"))
    with pytest.raises(ManifestError, match=r"cannot be written to .*file \(.*\); set AGEWISE_CACHE to a folder"):
        open_pictures(manifest, held=0)


def _digest(pictures: Pictures, rows: list[int]) -> list[bytes]:
    return [pictures[row] for row in rows]


@pytest.mark.parametrize("held", [HELD, 0], ids=["memory", "file"])
def test_other_processes_read_the_same(manifest: Path, held: int) -> None:
    pictures = open_pictures(manifest, held=held)
    rows = [5, 2200, 0]
    assert _digest(pickle.loads(pickle.dumps(pictures)), rows) == [data(row) for row in rows]
    with get_context("fork").Pool(2) as pool:
        halves = pool.starmap(_digest, [(pictures, rows), (pictures, rows[::-1])])
    assert halves == [[data(row) for row in rows], [data(row) for row in rows[::-1]]]


def test_memory_does_not_grow_with_the_pictures(tmp_path: Path, peak: Callable[[str], int]) -> None:
    def resident(count: int, held: int) -> int:
        images = [{"bytes": np.random.default_rng(row).bytes(20_000), "path": None} for row in range(count)]
        path = write_manifest(pa.table({"image": pa.array(images, IMAGE)}), tmp_path / f"{count}.parquet")
        read = f"p = open_pictures(Path({str(path)!r}), held={held})\nsum(len(p[row]) for row in range(len(p)))"
        return peak(f"from agewise.data.stored import open_pictures\n{read}")

    few, many = 2100, 7100  # row groups are of 1,000
    more = 20_000 * (many - few)
    from_file = resident(many, 0)
    assert from_file < resident(few, 0) + 0.3 * more
    assert resident(many, HELD) > from_file + 0.7 * more  # the same measure sees pictures that are held


@pytest.fixture
def peak() -> Callable[[str], int]:
    """Bytes that a fresh process has resident at most while it runs some code."""

    def measure(code: str) -> int:
        said = f"{code}\nprint(Path('/proc/self/status').read_text())"
        command = [sys.executable, "-c", f"from pathlib import Path\n{said}"]
        kept = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        plain = {**os.environ, **kept, "ARROW_DEFAULT_MEMORY_POOL": "system"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=plain)
        return 1024 * int(done.stdout.partition("VmHWM:")[2].split()[0])

    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not say there what a process holds")
    return measure
