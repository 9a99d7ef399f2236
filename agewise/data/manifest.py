"""Manifests: Parquet files with one row a face, the only thing that one step hands to the next."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agewise.ages import AGES, OLDEST, AgeDistribution
from agewise.data.parted import ManifestError as ManifestError
from agewise.data.parted import Parts, open_file
from agewise.data.places import Place, place_of
from agewise.data.replacing import replacing

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
COLUMNS: dict[str, pa.DataType] = {
    "image": IMAGE,  # the file's bytes, or else its path (relative to the manifest)
    "box": pa.list_(pa.float64(), 4),  # x0, y0, x1, y1 in pixels of the source photo
    "landmarks": pa.list_(pa.float64(), 10),  # x, y of the five points, in pixels of the source photo
    "score": pa.float64(),  # of the detector, 0..1
    "faces": pa.float64(),  # that the detector found in the source photo
    "age": pa.float64(),  # years
    "age_std": pa.float64(),  # years: the annotators' spread
    "age_low": pa.float64(),  # years: bounds of a known group, both included
    "age_high": pa.float64(),
    "age_probs": pa.list_(pa.float32(), len(AGES)),  # a teacher's distribution
    "agreement": pa.float64(),  # years: spread between the members of an ensemble
    "weight": pa.float64(),  # of the row in training
    "subject": pa.string(),  # who it is
    "split": pa.string(),  # train, valid, test
}
"""What agewise itself reads and writes. Any other column is a group (sex, ethnicity ...) and is kept."""

SCHEMA_VERSION = 1
_KEY = b"agewise"


def open_manifest(path: Path | str | Place, need: Sequence[str] = ()) -> pq.ParquetFile:
    """A manifest whose schema was checked; reading damaged rows of it is a ManifestError too.

    path: a Parquet file, or a finished folder of parts (`agewise.data.parted`), which reads like one; or its URI.

    Raises:
        ManifestError: no such file, not Parquet, a needed column missing, a column twice, or a known one of another
            type.
    """
    source = place_of(path)
    if source.is_folder():
        file: pq.ParquetFile = Parts(source)
    elif source.is_file():
        file = open_file(source)
    else:
        raise ManifestError(f"{source}: no such manifest (a Parquet file with one row a face)")
    schema = file.schema_arrow
    if twice := [name for name, count in Counter(schema.names).items() if count > 1]:
        raise ManifestError(f"{source}: two columns are named {', '.join(twice)}; each name once is allowed")
    missing = [name for name in need if name not in schema.names]
    if missing:
        raise ManifestError(f"{source}: no column {', '.join(missing)}; it has {', '.join(schema.names)}")
    for name, wanted in COLUMNS.items():
        if name in schema.names and not _fits(schema.field(name).type, wanted):
            raise ManifestError(f"{source}: column {name} is {schema.field(name).type}; {wanted} is needed")
    return file


def read_manifest(path: Path | str | Place, columns: Sequence[str] | None = None, need: Sequence[str] = ()) -> pa.Table:
    """The rows of a manifest, with only the named columns where they exist, every label checked."""
    file = open_manifest(path, need)
    names = file.schema_arrow.names
    table = file.read(columns=[name for name in names if columns is None or name in columns])
    wrong = first_fault(table)
    if wrong is not None:
        raise ManifestError(f"{path}: row {wrong[0]}: {wrong[1]}")
    return table


def metadata(path: Path | str | Place) -> dict[str, Any]:
    """What the step that wrote a manifest said of it; empty for a file of another origin.

    Raises ManifestError where that is no table of JSON.
    """
    stored = (open_manifest(path).schema_arrow.metadata or {}).get(_KEY) or b"{}"
    try:
        said = json.loads(stored)
    except ValueError as error:  # no JSON, or no Unicode
        raise ManifestError(f"{path}: its metadata {_KEY.decode()} is not JSON ({error})") from error
    if not isinstance(said, dict):
        raise ManifestError(f"{path}: its metadata {_KEY.decode()} is a {type(said).__name__}; a table is needed")
    return said


def check_frame(path: Path | str | Place, frame: str, margin: float = 0.0) -> None:
    """Raises ManifestError unless a manifest's pictures are crops in that frame, as `prepare` says of its own.

    margin: of the square frame, added on each side as a share of the box's side.
    """
    said = metadata(path)
    given, stored = said.get("frame"), said.get("margin", 0.0)
    if given is None:
        raise ManifestError(f"{path}: its pictures are not known to be face crops; make them with agewise prepare")
    if given != frame:
        raise ManifestError(f"{path}: its crops are in the {given} frame; the {frame} one is needed")
    if stored != margin:
        raise ManifestError(f"{path}: its crops have a margin of {stored}; {margin:g} is needed")


def write_manifest(table: pa.Table, path: Path | str, said: dict[str, Any] | None = None) -> Path:
    """Writes a table as a manifest, renamed into place when it is complete."""
    target = Path(path)
    with replacing(target) as partial:
        pq.write_table(described(table, said), partial, row_group_size=1000)
    return target


def described(table: pa.Table, said: dict[str, Any] | None = None) -> pa.Table:
    """The table with the schema's version and what is said of it in its metadata."""
    note = {"schema": SCHEMA_VERSION, **(said or {})}
    kept = {key: value for key, value in (table.schema.metadata or {}).items() if key not in {_KEY, b"huggingface"}}
    return table.replace_schema_metadata({**kept, _KEY: json.dumps(note)})


def fingerprint(path: Path | str | Place) -> str:
    """SHA-256 of a file's bytes, in hex; of a folder's, those of its parts in order."""
    source, digest = place_of(path), hashlib.sha256()
    for place in Parts(source).places if source.is_folder() else [source]:
        with place.open() as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def first_fault(table: pa.Table) -> tuple[int, str] | None:
    """The first row whose labels cannot be, and why; None where all are well."""
    return next(faults(table), None)


def faults(table: pa.Table) -> Iterator[tuple[int, str]]:
    """Every label that cannot be: (row, what was given and what is allowed). A missing label is null, never NaN."""
    bounds = {"age": OLDEST, "age_low": OLDEST, "age_high": OLDEST, "age_std": 50.0}
    for name, high in bounds.items():
        if name in table.column_names:
            column = table[name]
            values = column.to_numpy().astype(np.float64)
            known = ~column.is_null().to_numpy()
            for row in np.flatnonzero(known & ~((values >= 0) & (values <= high))):
                yield int(row), f"{name} is {values[row]:g}; 0..{high:g} years or null is allowed"
    weight = numbers(table, "weight")
    for row in np.flatnonzero(~np.isnan(weight) & ~((weight >= 0) & (weight < np.inf))):
        yield int(row), f"weight is {weight[row]:g}; 0 or more, or null, is allowed"
    if {"age_low", "age_high"} <= set(table.column_names):
        low_high = numbers(table, "age_low"), numbers(table, "age_high")
        for row in np.flatnonzero(low_high[0] > low_high[1]):
            yield int(row), f"age_low {low_high[0][row]:g} is above age_high {low_high[1][row]:g}"


def numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A column as floats (N,), null and a missing column as NaN."""
    if name not in table.column_names:
        return np.full(len(table), np.nan)
    return np.asarray(table[name].to_numpy(), dtype=np.float64)


def distributions(table: pa.Table) -> AgeDistribution:
    """Column `age_probs`, which has no null, as an AgeDistribution."""
    if table["age_probs"].null_count:
        raise ManifestError(f"{table['age_probs'].null_count} rows have no age_probs")
    flat = table["age_probs"].combine_chunks().flatten().to_numpy()
    return AgeDistribution(flat.reshape(-1, len(AGES)))


def probs_column(ages: AgeDistribution) -> pa.Array:
    """An AgeDistribution as column `age_probs`."""
    return pa.FixedSizeListArray.from_arrays(pa.array(ages.probs.astype(np.float32).ravel()), len(AGES))


def _fits(given: pa.DataType, wanted: pa.DataType) -> bool:
    if wanted == IMAGE:
        fields = {field.name: field.type for field in given} if pa.types.is_struct(given) else {}
        data, path = fields.get("bytes"), fields.get("path")
        return data in (pa.binary(), pa.large_binary(), pa.null()) and path in (
            pa.string(),
            pa.large_string(),
            pa.null(),
        )
    if pa.types.is_string(wanted):
        return bool(pa.types.is_string(given) or pa.types.is_large_string(given) or pa.types.is_null(given))
    if pa.types.is_floating(wanted):
        return bool(pa.types.is_floating(given) or pa.types.is_integer(given) or pa.types.is_null(given))
    return bool(pa.types.is_fixed_size_list(given) and given.list_size == wanted.list_size)
