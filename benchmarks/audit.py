"""What the audit finds of planted duplicates, how its threshold was chosen, and how its search scales.

python benchmarks/audit.py plant|choose|scale [DATA], DATA being the folder of the FairFace manifests (../shared/data).

choose: rows 0..7,999 of fairface-train: cosines of copies, and of other pairs of near hashes.
plant: fairface-val against the rows of fairface-train from 8,000 on, with 200 copies of each kind between them.
scale: candidates among 10^4, 10^5 and 10^6 generated hashes, each in a process of its own.
"""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from agewise.data.audit.audit import audit
from agewise.data.audit.duplicates import BYTES, RADIUS, VIEWS, candidates, components
from agewise.data.audit.leak_checks import find_twins
from agewise.data.audit.scan import read_pictures, read_rows
from agewise.data.manifest import IMAGE, read_manifest, write_manifest
from agewise.evaluation.audit_report import write_audit
from agewise.faces.image import read_photo

Picture = NDArray[np.uint8]
Rng = np.random.Generator
CHOSEN_ON = 8000
COPIES = 200


def jpeg(pixels: Picture, quality: int = 90) -> bytes:
    """A JPEG file as most programs write it, with half the colours."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def resized(pixels: Picture, rng: Rng) -> Picture:
    """At 0.5 to 0.8 of its size."""
    scale = rng.uniform(0.5, 0.8)
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def cropped(pixels: Picture, edges: NDArray[np.float64]) -> Picture:
    """Without shares `edges` (4,) of its left, top, right and bottom."""
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = np.rint(edges * [width, height, width, height]).astype(int)
    return np.ascontiguousarray(pixels[y0 : height - y1, x0 : width - x1])


KINDS: dict[str, Callable[[bytes, Picture, Rng], bytes]] = {
    "exact": lambda data, _pixels, _rng: data,
    "re-encoded": lambda _data, pixels, rng: jpeg(pixels, int(rng.integers(50, 81))),
    "resized": lambda _data, pixels, rng: jpeg(resized(pixels, rng)),
    "mirrored": lambda _data, pixels, _rng: jpeg(np.ascontiguousarray(pixels[:, ::-1])),
    "cropped by 0 to 5 % a side": lambda _data, pixels, rng: jpeg(cropped(pixels, rng.uniform(0, 0.05, 4))),
    "cropped by 5 % on every side": lambda _data, pixels, _rng: jpeg(cropped(pixels, np.full(4, 0.05))),
}


def copies(table: pa.Table, rows: NDArray[np.int64], kind: str, rng: Rng) -> pa.Table:
    """The rows of a table with a copy instead of each picture."""
    chosen = table.take(pa.array(rows))
    data = [image["bytes"] for image in chosen["image"].to_pylist()]
    made = [KINDS[kind](one, read_photo(one).pixels, rng) for one in data]
    image = pa.array([{"bytes": one, "path": None} for one in made], IMAGE)
    return chosen.set_column(chosen.schema.get_field_index("image"), "image", image)


def plant(data: Path) -> None:
    """Prints recall of each kind of copy, and all pairs that are no copies; writes the page of the audit."""
    rng = np.random.default_rng(0)
    val, train = read_manifest(data / "fairface-val.parquet"), read_manifest(data / "fairface-train.parquet")
    train = train.slice(CHOSEN_ON)
    counts, half = (len(train), len(val)), COPIES // 2
    order = [rng.permutation(count) for count in counts]
    added: tuple[list[pa.Table], list[pa.Table]] = [train], [val]
    originals: list[tuple[str, int, int, int]] = []  # kind, side of the original, its row, number of its copy there
    for number, kind in enumerate(KINDS):
        for side, table in enumerate((train, val)):
            rows = order[side][number * half : (number + 1) * half]
            added[1 - side].append(copies(table, rows, kind, rng))
            originals += [(kind, side, int(row), number * half + place) for place, row in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("train.parquet", "val.parquet")]
        for path, tables in zip(paths, added, strict=True):
            write_manifest(pa.concat_tables(tables), path)
        started = time.perf_counter()
        found = audit(paths)
        seconds = time.perf_counter() - started
        page, _ = write_audit(found, Path(tempfile.gettempdir()) / "audit-planted.html", most=200)
    first = found.rows.first
    ends = np.array([(pair.a, pair.b) for pair in found.twins])
    root = components(len(found.rows), ends[:, 0], ends[:, 1])
    planted, copy_of = set[tuple[int, int]](), dict[int, int]()
    hits: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    for kind, side, row, number in originals:
        a, b = int(first[side]) + row, int(first[1 - side]) + counts[1 - side] + number
        hits[kind].append(bool(root[a] == root[b]))
        planted.add((min(a, b), max(a, b)))
        copy_of[b] = a
    for kind, hit in hits.items():
        print(f"{kind}: {np.mean(hit):.3f} of {len(hit)} found")
    same = [(copy_of.get(a, a), copy_of.get(b, b)) for a, b in ends.tolist()]
    other = sorted({(min(pair), max(pair)) for pair in same if pair[0] != pair[1]})
    right = sum(a == b for a, b in same)
    print(f"{len(ends)} pairs in {seconds:.0f} s: {right} planted, {len(ends) - right} of {len(other)} pairs of others")
    print(f"others, to be looked at in {page}:", [(found.rows.place(a)[1], found.rows.place(b)[1]) for a, b in other])


def choose(data: Path) -> None:
    """Prints quantiles of the cosine of copies, by kind, and of other pairs of near hashes."""
    rng = np.random.default_rng(1)
    table = read_manifest(data / "fairface-train.parquet").slice(0, CHOSEN_ON)
    with tempfile.TemporaryDirectory() as folder:
        real, kinds = Path(folder) / "real.parquet", [kind for kind in KINDS if kind != "exact"]
        picked = rng.permutation(CHOSEN_ON)[: 400 * len(kinds)].reshape(len(kinds), -1)
        made = [copies(table, rows, kind, rng) for rows, kind in zip(picked, kinds, strict=True)]
        write_manifest(pa.concat_tables([table, *made]), real)
        rows = read_rows([real])
        twins = find_twins(rows, read_pictures(rows), similarity=-1.0)
    cosine = {(pair.a, pair.b): pair.similarity for pair in twins}
    for number, kind in enumerate(kinds):
        ends = [(int(row), CHOSEN_ON + number * 400 + place) for place, row in enumerate(picked[number])]
        _quantiles(kind, [cosine[end] for end in ends if end in cosine], len(ends))
    others = [value for (_, b), value in cosine.items() if b < CHOSEN_ON]
    _quantiles(f"other pairs within {RADIUS} bits", others, len(others))
    print("  the nearest:", np.sort(others)[::-1].round(3).tolist())


def scale() -> None:
    """Prints time and memory of the search, for independent bits and for bits as dependent as those of faces."""
    for bits in ("independent", "face-like"):
        for count in (10_000, 100_000, 1_000_000):
            subprocess.run([sys.executable, __file__, "one", bits, str(count)], check=True)


def one(bits: str, count: int) -> None:
    """Searches generated hashes, one in a hundred a copy of the one before with 1 bit in 25 flipped.

    face-like: signs of 64 normal factors mixed at random; the distance of two hashes has the spread 7.6 bits, as
    measured on FairFace (7.7; independent bits: 5.7). Views differ from the whole by 1 bit in 10.
    """
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(64, 8 * BYTES)).astype(np.float32)
    hashes = np.empty((count, len(VIEWS), BYTES), dtype=np.uint8)
    for start in range(0, count, 10_000):
        if bits == "face-like":
            signs = rng.normal(size=(10_000, 64)).astype(np.float32) @ mix > 0
        else:
            signs = rng.random((10_000, 8 * BYTES), dtype=np.float32) > 0.5
        signs[1::100] = signs[::100] ^ (rng.random(signs[::100].shape) < 0.04)
        hashes[start : start + 10_000, 0] = np.packbits(signs, axis=1)
        for view in range(1, len(VIEWS)):
            flips = rng.random(signs.shape, dtype=np.float32) < 0.1
            hashes[start : start + 10_000, view] = np.packbits(signs ^ flips, axis=1)
    before, started = _megabytes(), time.process_time()
    pairs = candidates(hashes)
    seconds = time.process_time() - started
    low = np.minimum(pairs.cut, pairs.whole)
    right = (low % 100 == 0) & (np.maximum(pairs.cut, pairs.whole) == low + 1)
    print(
        f"{bits}: {count} pictures in {seconds:.1f} s of a core ({1e6 * seconds / count:.0f} us each), "
        f"{_megabytes()} MB at the most ({before} before); "
        f"{right.sum() / (count / 100):.4f} of the copies, {(~right).sum()} others",
        flush=True,
    )


def _megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _quantiles(name: str, values: list[float], of: int) -> None:
    shown = np.quantile(values, [0, 0.01, 0.05, 0.5, 0.95, 1]).round(3).tolist()
    print(f"{name}: {len(values)} of {of}; cosine at 0, 1, 5, 50, 95, 100 %: {shown}")


def main(words: list[str]) -> None:
    """Runs one of the three."""
    data = Path(words[1] if len(words) > 1 else "../shared/data")
    match words[:1]:
        case ["plant"]:
            plant(data)
        case ["choose"]:
            choose(data)
        case ["scale"]:
            scale()
        case ["one"]:
            one(words[1], int(words[2]))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
