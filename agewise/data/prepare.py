"""Photos, or a Parquet file of pictures, -> a manifest of face crops; each reject with its reason."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from agewise.data.crops import parts
from agewise.data.manifest import COLUMNS, IMAGE, ManifestError, faults, fingerprint, metadata, open_manifest
from agewise.data.rejects import write_rejects
from agewise.data.replacing import check_place
from agewise.data.shards import PART_ROWS, Shards
from agewise.faces.align import align, square
from agewise.faces.detect import Detector
from agewise.faces.face import Face, nearest_centre
from agewise.faces.image import Photo, PhotoError, encode_jpeg, images_below, read_photo

Frame = Literal["aligned", "square"]
Row = dict[str, Any]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """How many pictures went in, how many faces came out, and the rejects: (picture, reason)."""

    pictures: int
    faces: int
    rejects: list[tuple[str, str]]


def prepare(
    source: Path,
    target: Path,
    *,
    frame: Frame = "aligned",
    size: int = 256,
    every_face: bool = False,
    margin: float = 0.0,
    detector: Detector | None = None,
    threads: int = 2,
    progress: Progress = lambda _done, _total: None,
) -> Prepared:
    """Writes the manifest of the faces in a folder of photos, one photo, or a Parquet file with an `image` column.

    Labels and other columns of a Parquet file are kept. One face a picture is taken, the nearest to its centre, or all
    with `every_face`. margin: of the square frame, added on each side as a share of the box's side. Crops are `size`
    pixels square, JPEG inside the manifest. Rejects are written beside the manifest as `.rejects.csv`. A call after a
    kill goes on where the first one stopped.
    """
    if not 32 <= size <= 1024:
        raise ManifestError(f"the crop size is {size} pixels; 32..1024 is allowed")
    if not 0.0 <= margin <= 2.0 or (margin and frame != "square"):
        raise ManifestError(f"the margin is {margin:g} of the {frame} frame; 0..2 of the square one is allowed")
    if target.exists() and target.resolve() == source.resolve():
        raise ManifestError(f"{target} is the source; give the manifest another name")
    check_place(target)
    detect = detector or Detector(threads=1)
    pictures = _pictures(source)
    if pictures.count == 0:
        raise ManifestError(f"{source}: no picture there")
    plan = {
        "source": str(source.resolve()),
        "content": pictures.content,
        "frame": frame,
        "size": size,
        "every_face": every_face,
        "threshold": detect.threshold,
        **({"margin": margin} if margin else {}),
    }
    if target.exists():
        return _finished(target, plan)
    shards = Shards(target, plan)

    def crops_of(row: Row) -> list[Row] | str:
        image = row["image"] or {}
        if not (image.get("bytes") or image.get("path")):
            return "no image in the row"
        try:
            photo = read_photo(image["bytes"] or pictures.folder / image["path"])
        except PhotoError as error:
            return str(error)
        faces = detect(photo.pixels)
        if not faces:
            return "no face found"
        height, width = photo.pixels.shape[:2]
        centre = nearest_centre(faces, width, height)
        chosen = faces if every_face or centre is None else [centre]
        return [{**_crop(row, photo, face, plan), "faces": len(faces)} for face in chosen]

    with ThreadPoolExecutor(threads) as pool:
        count = 0
        for index, table in enumerate(pictures.parts):
            if not shards.done(index):
                bad = dict(faults(table))
                rows = table.to_pylist()
                results = pool.map(crops_of, (row for n, row in enumerate(rows) if n not in bad))
                made = [bad[n] if n in bad else next(results) for n in range(len(rows))]
                rejects = [[_name(rows[n], count + n), why] for n, why in enumerate(made) if isinstance(why, str)]
                crops = [crop for group in made if not isinstance(group, str) for crop in group]
                shards.write(index, pa.Table.from_pylist(crops, schema=_schema(table.schema)), rejects)
            count += len(table)
            progress(count, pictures.count)
    dropped = [(picture, reason) for picture, reason in shards.notes()]
    write_rejects(target.with_suffix(".rejects.csv"), dropped)
    if not shards.rows():
        reason = Counter(reason for _, reason in dropped).most_common(1)[0][0]
        shards.drop()
        raise ManifestError(f"{source}: none of {pictures.count} pictures gave a face, most for: {reason}")
    faces = shards.join({"step": "prepare", **plan, "pictures": pictures.count, "rejects": dropped})
    return Prepared(pictures.count, faces, dropped)


def _finished(target: Path, plan: dict[str, Any]) -> Prepared:
    """What prepare returned when it wrote `target`; refuses a file of another source or other options."""
    said = metadata(target)
    if said.get("step") != "prepare" or any(said.get(key) != value for key, value in plan.items()):
        raise ManifestError(
            f"{target} exists and was not made so from this source; delete it, or write to another file"
        )
    rejects = [(picture, reason) for picture, reason in said["rejects"]]
    return Prepared(said["pictures"], open_manifest(target).metadata.num_rows, rejects)


def _crop(row: Row, photo: Photo, face: Face, plan: dict[str, Any]) -> Row:
    if plan["frame"] == "aligned":
        crop = align(photo.pixels, face, plan["size"])
    else:
        crop = square(photo.pixels, face, plan["size"], plan.get("margin", 0.0))
    stored = face.moved(1 / photo.scale)
    return {
        **row,
        "image": {"bytes": encode_jpeg(crop), "path": row["image"]["path"]},
        "box": list(stored.box),
        "landmarks": stored.landmarks.ravel().tolist(),
        "score": face.score,
    }


@dataclass(frozen=True, slots=True)
class _Pictures:
    """What goes in: how many, a hash of which, where relative paths start, and the rows part by part."""

    count: int
    content: str
    folder: Path
    parts: Iterator[pa.Table]


def _pictures(source: Path) -> _Pictures:
    if source.suffix == ".parquet":
        count = open_manifest(source, need=["image"]).metadata.num_rows
        return _Pictures(count, fingerprint(source), source.parent, parts(source))
    if not source.exists():
        raise ManifestError(f"{source}: no such file or folder")
    paths = images_below(source) if source.is_dir() else [source]
    listed = b"\n".join(os.fsencode(path) + b" %d" % path.lstat().st_size for path in paths)
    tables = (
        pa.table({"image": pa.array([{"bytes": None, "path": _text(path.absolute())} for path in some], IMAGE)})
        for some in (paths[start : start + PART_ROWS] for start in range(0, len(paths), PART_ROWS))
    )
    return _Pictures(len(paths), hashlib.sha256(listed).hexdigest(), Path(), tables)


def _text(path: Path) -> str:
    """The path as a manifest can hold it; one that is no Unicode is not found later, and becomes a reject."""
    return os.fsencode(path).decode("utf-8", "replace")


def _schema(given: pa.Schema) -> pa.Schema:
    """The given columns, with ours in our types, and box, landmarks, score and faces."""
    names = [*given.names, *(name for name in ("box", "landmarks", "score", "faces") if name not in given.names)]
    return pa.schema([(name, COLUMNS[name] if name in COLUMNS else given.field(name).type) for name in names])


def _name(row: Row, number: int) -> str:
    return str((row["image"] or {}).get("path") or f"row {number}")
