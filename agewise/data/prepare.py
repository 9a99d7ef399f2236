"""Photos, or a Parquet file of pictures, -> a manifest of face crops; each reject with its reason."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from agewise.data.manifest import COLUMNS, ManifestError, faults, fingerprint, open_manifest
from agewise.data.shards import PART_ROWS, Shards
from agewise.faces.align import align, square
from agewise.faces.detect import Detector, Face, nearest_centre
from agewise.faces.image import EXTENSIONS, PhotoError, encode_jpeg, read_photo

Frame = Literal["aligned", "square"]
Row = dict[str, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """How many pictures went in, how many faces came out, and the rejects: (picture, reason)."""

    pictures: int
    faces: int
    rejects: list[tuple[str, str]]


def photos_in(paths: Iterable[Path]) -> list[Path]:
    """The image files named, or below the folders named, in order.

    Raises ManifestError naming a path that is absent.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS and not p.name.startswith("."))
        elif path.exists():
            found.append(path)
        else:
            raise ManifestError(f"{path}: no such file or folder")
    return found


def prepare(
    source: Path,
    target: Path,
    *,
    frame: Frame = "aligned",
    size: int = 256,
    every_face: bool = False,
    detector: Detector | None = None,
    threads: int = 2,
    progress: Progress = lambda _done, _total: None,
) -> Prepared:
    """Writes the manifest of the faces in a folder of photos, one photo, or a Parquet file with an `image` column.

    Labels and other columns of a Parquet file are kept. One face a picture is taken, the nearest to its centre, or all
    with `every_face`. Crops are `size` pixels square, JPEG inside the manifest. Rejects are written beside the manifest
    as `.rejects.csv`. A call after a kill goes on where the first one stopped.
    """
    if not 32 <= size <= 1024:
        raise ManifestError(f"the crop size is {size} pixels; 32..1024 is allowed")
    detect = detector or Detector(threads=1)
    total, batches = _pictures(source)
    if total == 0:
        raise ManifestError(f"{source}: no picture there")
    plan = {
        "source": str(source.resolve()),
        "content": fingerprint(source) if source.is_file() else total,
        "frame": frame,
        "size": size,
        "every_face": every_face,
        "threshold": detect.threshold,
    }
    shards = Shards(target, plan)

    def crops_of(row: Row) -> list[Row] | str:
        if row["image"] is None:
            return "no image in the row"
        try:
            photo = read_photo(row["image"]["bytes"] or row["image"]["path"])
        except PhotoError as error:
            return str(error)
        faces = detect(photo.pixels)
        if not faces:
            return "no face found"
        height, width = photo.pixels.shape[:2]
        centre = nearest_centre(faces, width, height)
        chosen = faces if every_face or centre is None else [centre]
        return [_crop(row, photo.pixels, face, frame, size, photo.scale) for face in chosen]

    with ThreadPoolExecutor(threads) as pool:
        count = 0
        for index, rows in enumerate(batches):
            if not shards.done(index):
                bad = dict(faults(_table(rows, rows)))
                good = [row for n, row in enumerate(rows) if n not in bad]
                results = pool.map(crops_of, good)
                made = [bad[n] if n in bad else next(results) for n in range(len(rows))]
                rejects = [[_name(rows, n), reason] for n, reason in enumerate(made) if isinstance(reason, str)]
                crops = [crop for group in made if not isinstance(group, str) for crop in group]
                shards.write(index, _table(crops, rows), rejects)
            count += len(rows)
            progress(count, total)
    dropped = [(picture, reason) for picture, reason in shards.notes()]
    faces = shards.join({"step": "prepare", "frame": frame, "size": size, "content": plan["content"]})
    _write_rejects(target.with_suffix(".rejects.csv"), dropped)
    return Prepared(total, faces, dropped)


def _crop(row: Row, pixels: Any, face: Face, frame: Frame, size: int, scale: float) -> Row:
    crop = align(pixels, face, size) if frame == "aligned" else square(pixels, face, size)
    stored = face.moved(1 / scale)
    return {
        **row,
        "image": {"bytes": encode_jpeg(crop), "path": row["image"]["path"]},
        "box": list(stored.box),
        "landmarks": stored.landmarks.ravel().tolist(),
        "score": face.score,
    }


def _pictures(source: Path) -> tuple[int, Iterator[list[Row]]]:
    """How many pictures there are, and rows of them, PART_ROWS at a time."""
    if source.suffix == ".parquet":
        file = open_manifest(source, need=["image"])
        return file.metadata.num_rows, (batch.to_pylist() for batch in file.iter_batches(PART_ROWS))
    paths = photos_in([source])
    rows = iter([{"image": {"bytes": None, "path": str(path)}} for path in paths])
    return len(paths), iter(lambda: list(islice(rows, PART_ROWS)), [])


def _table(rows: list[Row], given: list[Row]) -> pa.Table:
    names = [*given[0], *(name for name in ("box", "landmarks", "score") if name not in given[0])]
    arrays = {}
    for name in names:
        values = [row.get(name) for row in rows]
        text = all(value is None or isinstance(value, str) for value in values)
        arrays[name] = pa.array(values, type=COLUMNS.get(name, pa.string() if text else None))
    return pa.table(arrays)


def _name(rows: list[Row], number: int) -> str:
    return str((rows[number]["image"] or {}).get("path") or f"row {number}")


def _write_rejects(path: Path, rejects: list[tuple[str, str]]) -> None:
    """One line a picture: which and why."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["picture", "reason"])
        writer.writerows(rejects)
