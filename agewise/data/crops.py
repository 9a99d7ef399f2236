"""A manifest's pictures, decoded batch by batch: what annotation, evaluation and calibration all walk over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.data.manifest import open_manifest
from agewise.data.shards import PART_ROWS
from agewise.faces.bodies import letterbox
from agewise.faces.image import PhotoError, read_photo


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


def parts(manifest: Path) -> Iterator[pa.Table]:
    """The manifest's rows, PART_ROWS at a time; the same parts at every call."""
    file = open_manifest(manifest, need=["image"])
    held: list[pa.RecordBatch] = []
    for batch in file.iter_batches(PART_ROWS):
        held.append(batch)
        table = pa.Table.from_batches(held)
        while len(table) >= PART_ROWS:
            yield table.slice(0, PART_ROWS)
            table = table.slice(PART_ROWS)
        held = table.to_batches()
    if held:
        yield pa.Table.from_batches(held)


def read_batches(table: pa.Table, folder: Path, batch: int) -> Iterator[Batch]:
    """A part's rows with their crops, `batch` at a time; paths are relative to `folder`.

    A crop that is not square, or of another size than most of its batch, is a reason too.
    """
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(table), batch):
            rows = table.slice(start, batch)
            yield _assemble(rows, list(pool.map(_reader(folder), rows["image"].to_pylist())))


def _reader(folder: Path) -> Callable[[dict[str, Any] | None], NDArray[np.uint8] | str]:
    def read(image: dict[str, Any] | None) -> NDArray[np.uint8] | str:
        if image is None or not (image["bytes"] or image["path"]):
            return "no image in the row"
        try:
            pixels = read_photo(image["bytes"] or folder / image["path"]).pixels
        except PhotoError as error:
            return str(error)
        height, width = pixels.shape[:2]
        if height != width:
            return f"the crop has {width}x{height} pixels; a square is needed (agewise prepare)"
        return pixels

    return read


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
