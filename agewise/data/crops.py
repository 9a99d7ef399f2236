"""A manifest's pictures, decoded batch by batch: what annotation, evaluation and calibration all walk over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from agewise.data.manifest import IMAGE, open_manifest
from agewise.data.places import Place, place_of
from agewise.data.shards import PART_ROWS
from agewise.faces.bodies import letterbox
from agewise.faces.image import PhotoError, read_photo

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a manifest in order, the crops (K, H, H, 3) of those that could be read, and why the others could not.

    reasons: one entry a row; None where the row has a crop.
    """

    rows: pa.Table
    crops: NDArray[np.uint8]
    reasons: list[str | None]

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which rows (N,) have a crop."""
        return np.array([reason is None for reason in self.reasons], dtype=bool)


def bodies(batch: Batch, folder: Path, size: int) -> NDArray[np.uint8]:
    """The bodies (K, size, size, 3) beside the crops of a batch, from column `body`; black where there is none."""
    stored = batch.rows["body"].to_pylist() if "body" in batch.rows.column_names else [None] * len(batch.rows)
    chosen = (image for image, readable in zip(stored, batch.readable, strict=True) if readable)
    return np.stack([_body(image, folder, size) for image in chosen])


def _body(image: dict[str, Any] | None, folder: Path, size: int) -> NDArray[np.uint8]:
    if image is None or not (image["bytes"] or image["path"]):
        return letterbox(None, size)
    try:
        return letterbox(read_photo(image["bytes"] or folder / image["path"]).pixels, size)
    except PhotoError:
        return letterbox(None, size)


def parts(
    manifest: Path | str | Place, first: int = 0, last: int | None = None, rows: int | None = None
) -> Iterator[pa.Table]:
    """The manifest's rows, PART_ROWS (or `rows`) at a time; the same parts at every call.

    Of the parts `first` to `last` (excluded), only the row groups that hold them are read, one after the other: a
    single pass over many would hold all that it has read (pyarrow 26).
    """
    file, size = open_manifest(manifest, need=["image"]), rows or PART_ROWS
    ends = list(accumulate(file.group_rows, initial=0))
    start, stop = first * size, ends[-1] if last is None else min(last * size, ends[-1])
    groups = [n for n, (low, high) in enumerate(pairwise(ends)) if high > start and low < stop]
    surplus = start - ends[groups[0]] if groups else 0
    held: list[pa.RecordBatch] = []
    for batch in (batch for group in groups for batch in file.iter_batches(size, row_groups=[group])):
        held.append(batch.slice(min(surplus, len(batch))))
        surplus = max(0, surplus - len(batch))
        table = pa.Table.from_batches(held)
        while len(table) >= size:
            yield table.slice(0, size)
            table, start = table.slice(size), start + size
            if start >= stop:
                return
        held = table.to_batches()
    if start < stop:
        yield pa.Table.from_batches(held)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in a thread of its own while the one before it is in use."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def with_bytes(table: pa.Table, folder: Path | Place) -> pa.Table:
    """The rows with their pictures inside: one that is a path (from `folder`) is read, unless it is not there."""
    for name in ("image", "body"):
        if name in table.column_names:
            table = _with_bytes(table, name, folder)
    return table


def _with_bytes(table: pa.Table, name: str, folder: Path | Place) -> pa.Table:
    column = table[name]
    lengths = pc.binary_length(pc.struct_field(column, "bytes").cast(pa.large_binary()))
    if column.type.field("bytes").type != pa.null() and pc.all(pc.greater(lengths, 0), skip_nulls=False).as_py():
        return table
    kind = IMAGE if column.type.field("bytes").type == pa.null() else column.type
    held = [_held(image, folder) for image in column.to_pylist()]
    return table.set_column(table.schema.get_field_index(name), name, pa.array(held, kind))


def _held(image: dict[str, Any] | None, folder: Path | Place) -> dict[str, Any] | None:
    if image is None or image["bytes"] or not image["path"]:
        return image
    try:
        return {**image, "bytes": place_of(folder / image["path"]).read()}
    except OSError:
        return image  # read_batches says why


def read_batches(table: pa.Table, folder: Path | Place, batch: int) -> Iterator[Batch]:
    """A part's rows with their crops, `batch` at a time; paths are relative to `folder`.

    A crop that is not square, or of another size than most of its batch, is a reason too.
    """
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(table), batch):
            rows = table.slice(start, batch)
            yield _assemble(rows, list(pool.map(_reader(folder), rows["image"].to_pylist())))


def _reader(folder: Path | Place) -> Callable[[dict[str, Any] | None], NDArray[np.uint8] | str]:
    def read(image: dict[str, Any] | None) -> NDArray[np.uint8] | str:
        if image is None or not (image["bytes"] or image["path"]):
            return "no image in the row"
        try:
            pixels = read_photo(image["bytes"] or _source(folder / image["path"])).pixels
        except PhotoError as error:
            return str(error)
        except OSError as error:  # of a file that is not on the local disk
            return f"cannot be opened: {error.strerror or error}"
        height, width = pixels.shape[:2]
        if height != width:
            return f"the crop has {width}x{height} pixels; a square is needed (agewise prepare)"
        return pixels

    return read


def _source(picture: Path | Place) -> Path | bytes:
    return picture if isinstance(picture, Path) else picture.local or picture.read()


def _assemble(rows: pa.Table, read: list[NDArray[np.uint8] | str]) -> Batch:
    sides = Counter(len(item) for item in read if not isinstance(item, str))
    side = max(sides, key=sides.__getitem__, default=0)  # of as many of two sizes, the first
    crops: list[NDArray[np.uint8]] = []
    reasons: list[str | None] = []
    for item in read:
        if isinstance(item, str):
            reasons.append(item)
        elif len(item) != side:
            reasons.append(f"the crop has {len(item)} pixels a side, most have {side}")
        else:
            crops.append(item)
            reasons.append(None)
    return Batch(rows, np.stack(crops) if crops else np.empty((0, 1, 1, 3), np.uint8), reasons)
