"""All rows of several manifests: their labels and sides at once, then one walk over their pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agewise.data.audit.duplicates import BYTES, VIEWS, digest, hash_views, pixel_digest, thumbnail
from agewise.data.audit.findings import Place
from agewise.data.manifest import COLUMNS, ManifestError, faults, numbers, open_manifest
from agewise.faces.image import PhotoError, read_photo

LABELS = ("age", "age_std", "age_low", "age_high")

MOST_NAMES = 30
"""A column of more different values (a file name) is no group."""

FLAT = 4.0
"""Grey levels: a thumbnail with a smaller standard deviation shows nothing that could be compared."""

BATCH = 256
Progress = Callable[[int, int], None]
Image = dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of words: codes (N,) into `names`, -1 where none is known."""

    codes: NDArray[np.int32]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of several manifests one after the other, N in all, without their pictures.

    first: number of each manifest's first row, and N (M + 1,). side: of the split: the column `split` where it is
    known, else the manifest. labels: years (N,), NaN where unknown or impossible. faults: (row, why) of impossible
    labels. skipped: columns of words with too many values for a group.
    """

    manifests: tuple[Path, ...]
    first: NDArray[np.int64]
    side: Column
    labels: Mapping[str, NDArray[np.float64]]
    groups: Mapping[str, Column]
    subject: Column
    faults: tuple[tuple[int, str], ...]
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.first[-1])

    def manifest_of(self, row: int) -> int:
        """The number of a row's manifest."""
        return int(np.searchsorted(self.first, row, side="right")) - 1

    def place(self, row: int) -> Place:
        """The manifest and the row in it."""
        manifest = self.manifest_of(row)
        return str(self.manifests[manifest]), int(row - self.first[manifest])

    def side_of(self, row: int) -> str:
        """The name of the side that a row is on."""
        return self.side.names[self.side.codes[row]]


@dataclass(frozen=True, slots=True)
class Pictures:
    """What is kept of each picture (N,), 350 bytes: digests of file and pixels, hashes (N, VIEWS, 16), its face's size.

    reasons: why a picture could not be read, by row. size: pixels of the shorter side of the face's box in its photo,
    or of the picture; NaN where unreadable. flat: it shows nothing.
    """

    files: NDArray[np.void]
    pixels: NDArray[np.void]
    hashes: NDArray[np.uint8]
    size: NDArray[np.float32]
    flat: NDArray[np.bool_]
    reasons: Mapping[int, str]


def read_rows(manifests: Sequence[Path], groups: Sequence[str] | None = None) -> Rows:
    """The labels of manifests. groups: columns to be taken as groups; all that can be if None.

    Raises ManifestError on a manifest that cannot be used, is given twice or has no row, or a group that none has.
    """
    _check(manifests)
    files = [open_manifest(path, need=["image"]) for path in manifests]
    chosen = _group_columns(files) if groups is None else list(groups)
    for name in chosen:
        if not any(name in file.schema_arrow.names for file in files):
            raise ManifestError(f"no column {name} in {', '.join(path.name for path in manifests)}")
    names = {"split", "subject", *LABELS, *chosen}
    tables = [file.read(columns=[n for n in file.schema_arrow.names if n in names]) for file in files]
    first = np.concatenate([[0], np.cumsum([len(table) for table in tables])]).astype(np.int64)
    wrong = [(int(start) + row, why) for start, table in zip(first, tables, strict=False) for row, why in faults(table)]
    labels = {name: np.concatenate([numbers(table, name) for table in tables]) for name in LABELS}
    for row in {row for row, _ in wrong}:
        for values in labels.values():
            values[row] = np.nan
    columns = {name: _words([_column(table, name) for table in tables]) for name in chosen}
    wide = [name for name, column in columns.items() if len(column.names) > MOST_NAMES]
    if groups is not None and wide:
        raise ManifestError(f"column {wide[0]} has {len(columns[wide[0]].names)} values; a group has {MOST_NAMES}")
    return Rows(
        tuple(manifests),
        first,
        _words([_sides(table, title) for table, title in zip(tables, _titles(manifests), strict=True)]),
        labels,
        {name: column for name, column in columns.items() if name not in wide},
        _words([_column(table, "subject") for table in tables]),
        tuple(wrong),
        tuple(wide),
    )


def read_pictures(rows: Rows, progress: Progress = lambda _done, _total: None) -> Pictures:
    """Every picture decoded once; one that cannot be read is a reason."""
    count = len(rows)
    files, pixels = (np.zeros(count, dtype=f"V{BYTES}") for _ in range(2))
    hashes = np.zeros((count, len(VIEWS), BYTES), dtype=np.uint8)
    size, flat, reasons = np.full(count, np.nan, dtype=np.float32), np.zeros(count, dtype=bool), dict[int, str]()
    for row, batch, boxes in _batches(rows):
        small = []
        for number, (image, box) in enumerate(zip(batch, boxes, strict=True), row):
            opened = picture(image, rows.manifests[rows.manifest_of(number)].parent)
            if isinstance(opened, str):
                reasons[number] = opened
                continue
            data, photo = opened
            files[number], pixels[number] = np.void(digest(data)), np.void(pixel_digest(photo))
            size[number] = min(photo.shape[:2]) if box is None else min(box[2] - box[0], box[3] - box[1])
            small.append((number, thumbnail(photo)))
        if small:
            where, grey = np.array([number for number, _ in small]), np.stack([thumb for _, thumb in small])
            hashes[where] = hash_views(grey)
            flat[where] = grey.std(axis=(1, 2)) < FLAT
        progress(row + len(batch), count)
    return Pictures(files, pixels, hashes, size, flat, reasons)


def picture(image: Image, folder: Path) -> tuple[bytes, NDArray[np.uint8]] | str:
    """The bytes and the pixels (H, W, 3) of a manifest's `image`, or why it cannot be read."""
    if image is None or not (image["bytes"] or image["path"]):
        return "no image in the row"
    try:
        data = image["bytes"] or (folder / image["path"]).read_bytes()
        return data, read_photo(data).pixels
    except PhotoError as error:
        return str(error)
    except OSError as error:
        return f"cannot be opened: {error.strerror or error}"


def images_of(rows: Rows, wanted: NDArray[np.int64]) -> Iterator[tuple[int, Image, Path]]:
    """(row, image, folder of its manifest) of some rows, in order; row groups without one are not read."""
    for index, path in enumerate(rows.manifests):
        inside = np.unique(wanted[(wanted >= rows.first[index]) & (wanted < rows.first[index + 1])]) - rows.first[index]
        file = open_manifest(path)
        start = 0
        for group in range(file.metadata.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            here = inside[(inside >= start) & (inside < end)]
            if len(here):
                images = file.read_row_group(group, columns=["image"])["image"].take(pa.array(here - start))
                for row, image in zip(here, images, strict=True):
                    yield int(row + rows.first[index]), image.as_py(), path.parent
            start = end


def _check(manifests: Sequence[Path]) -> None:
    if not manifests:
        raise ManifestError("no manifest to audit")
    twice = [path for path, count in Counter(path.resolve() for path in manifests).items() if count > 1]
    if twice:
        raise ManifestError(f"{twice[0]} is given twice")
    if not sum(open_manifest(path).metadata.num_rows for path in manifests):
        raise ManifestError(f"{', '.join(map(str, manifests))}: no row to audit")


def _group_columns(files: Sequence[pq.ParquetFile]) -> list[str]:
    found: dict[str, None] = {}
    for file in files:
        for field in file.schema_arrow:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            words = pa.types.is_string(kind) or pa.types.is_large_string(kind)
            if field.name not in COLUMNS and (words or pa.types.is_boolean(kind) or pa.types.is_integer(kind)):
                found[field.name] = None
    return list(found)


def _titles(manifests: Sequence[Path]) -> list[str]:
    """What each manifest is called as a side: its name, where that is its own."""
    stems = Counter(path.stem for path in manifests)
    return [path.stem if stems[path.stem] == 1 else str(path.with_suffix("")) for path in manifests]


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), pa.string())])
    return table[name].cast(pa.string())


def _sides(table: pa.Table, title: str) -> pa.ChunkedArray:
    return _column(table, "split").fill_null(title)


def _words(parts: Sequence[pa.ChunkedArray]) -> Column:
    chunks = [chunk for part in parts for chunk in part.chunks]
    encoded = pa.concat_arrays(chunks).dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return Column(codes, tuple(encoded.dictionary.to_pylist()))


def _batches(rows: Rows) -> Iterator[tuple[int, list[Image], list[list[float] | None]]]:
    """(first row, images, boxes) of each batch."""
    for index, path in enumerate(rows.manifests):
        file = open_manifest(path)
        names = [name for name in ("image", "box") if name in file.schema_arrow.names]
        start = int(rows.first[index])
        for batch in file.iter_batches(BATCH, columns=names):
            boxes = batch["box"].to_pylist() if "box" in names else [None] * len(batch)
            yield start, batch["image"].to_pylist(), boxes
            start += len(batch)
