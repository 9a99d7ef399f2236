"""Who is on each row of a manifest: its subject, or else its picture, as one number that a seed scatters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agewise.data.manifest import ManifestError, distributions, first_fault, numbers, open_manifest
from agewise.metrics import Floats

Keys = NDArray[np.uint64]

_ROWS = 1000
_LABELS = ("age", "age_low", "age_high", "age_std", "age_probs")


def read_persons(manifest: Path, seed: int) -> tuple[Keys, Floats, int]:
    """Of every row the person's key and the age, 16 bytes a row, and how many rows have a subject."""
    keys: list[Keys] = [np.empty(0, np.uint64)]
    ages: list[Floats] = [np.empty(0)]
    named = done = 0
    for table in rows_of(manifest, _LABELS):
        if (fault := first_fault(table)) is not None:
            raise ManifestError(f"{manifest}: row {done + fault[0]}: {fault[1]}")
        names, some = names_of(table, manifest, done)
        keys.append(keys_of(names, seed))
        ages.append(_ages(table))
        named, done = named + some, done + len(table)
    return np.concatenate(keys), np.concatenate(ages), named


def person_keys(table: pa.Table) -> Keys:
    """One number for each row that has a subject, equal for the same subject: what counts persons in little memory."""
    names = table["subject"].drop_null().to_pylist() if "subject" in table.column_names else []
    return keys_of([name for name in names if name], 0)


def names_of(table: pa.Table, manifest: Path, first: int) -> tuple[list[str], int]:
    """Who is on each row, its subject or else its picture, and how many rows have a subject."""
    has = table.column_names
    names: list[Any] = table["subject"].to_pylist() if "subject" in has else [None] * len(table)
    unnamed = [row for row, name in enumerate(names) if not name]
    images = table["image"].take(pa.array(unnamed, pa.int64())).to_pylist() if "image" in has else [None] * len(unnamed)
    for row, image in zip(unnamed, images, strict=True):
        known = image or {}
        if known.get("bytes"):
            names[row] = f"sha256:{hashlib.sha256(known['bytes']).hexdigest()}"
        elif known.get("path"):
            names[row] = f"path:{known['path']}"
        else:
            raise ManifestError(f"{manifest}: row {first + row} has no subject and no image; who it is must be known")
    return names, len(names) - len(unnamed)


def keys_of(names: list[str], seed: int) -> Keys:
    """One number a name, which the seed scatters evenly over 0..2^64 (BLAKE2b)."""
    key = str(seed).encode()
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest() for name in names)
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def rows_of(manifest: Path, columns: Any) -> Iterator[pa.Table]:
    """The rows in order with the columns named, and their pictures only where a row group has a row without subject."""
    file = open_manifest(manifest)
    wanted = [name for name in (*columns, "subject") if name in file.schema_arrow.names]
    for group in range(file.num_row_groups):
        pictured = "subject" not in wanted or not all(file.read_row_group(group, ["subject"])["subject"].to_pylist())
        names = [*wanted, "image"] if pictured and "image" in file.schema_arrow.names else wanted
        yield from batches(file, _ROWS, names, [group])


def batches(
    file: pq.ParquetFile, rows: int, columns: Sequence[str] | None = None, groups: Sequence[int] | None = None
) -> Iterator[pa.Table]:
    """The rows in order, `rows` at a time at the most, one row group after the other.

    A single pass over many row groups would hold all that it has read, 460 MB of fairface-train (pyarrow 26).
    """
    for group in range(file.num_row_groups) if groups is None else groups:
        for batch in file.iter_batches(rows, row_groups=[group], columns=columns):
            yield pa.Table.from_batches([batch])


def _ages(table: pa.Table) -> Floats:
    """The age (N,) of each face, or its group's middle, or its distribution's mean; NaN where none is known."""
    age = numbers(table, "age")
    middle = (numbers(table, "age_low") + numbers(table, "age_high")) / 2
    age = np.where(np.isnan(age), middle, age)
    if "age_probs" in table.column_names:
        told = np.isnan(age) & table["age_probs"].is_valid().to_numpy()
        age[told] = distributions(table.filter(pa.array(told))).mean
    return age
