"""Parquet as manifests need it: one file, or the parts of a folder that read like one, each named where it is damaged.

A folder is a manifest when its `run.json` says that it is finished and how many rows each of its parts has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agewise.data.places import Place

RUN = "run.json"
"""What a folder of parts says of itself."""

OWN = b"agewise.part"
"""What a part says of itself alone, in its metadata."""


class ManifestError(ValueError):
    """A manifest that cannot be used; the message is one line for the user."""


class OneFile(pq.ParquetFile):  # type: ignore[misc]  # pyarrow has no types
    """A Parquet file that names itself where its rows turn out to be damaged, which is seen only as they are read."""

    def __init__(self, source: Place) -> None:
        opened = source.local or source.open()
        super().__init__(opened, pre_buffer=False, buffer_size=1 << 20)  # a walk over it holds a row group's pages
        self._source = source

    @property
    def group_rows(self) -> list[int]:
        """Rows of each row group."""
        return [int(self.metadata.row_group(group).num_rows) for group in range(self.num_row_groups)]

    def read(self, *args: Any, **options: Any) -> pa.Table:
        with self._named():
            return super().read(*args, **options)

    def iter_batches(self, *args: Any, **options: Any) -> Iterator[pa.RecordBatch]:
        with self._named():
            yield from super().iter_batches(*args, **options)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowInvalid, OSError) as error:
            raise ManifestError(f"{self._source}: damaged ({first_line(error)})") from error


class Parts:
    """The parts of a folder, read as one Parquet file is: each is a row group, and one is open at a time."""

    def __init__(self, folder: Place) -> None:
        """Raises ManifestError where the folder is not a finished one, or a part of it is gone."""
        self.counts: list[int] = _counts(folder)
        self.filled = [index for index, count in enumerate(self.counts) if count]  # of others every row was left out
        self.metadata = _Metadata(self)
        wanted = [part_name(index) for index in range(len(self.counts))]
        if gone := sorted({*wanted} - {*folder.names()}):
            raise ManifestError(f"{folder}: {gone[0]} is gone, and {len(gone)} of {len(wanted)} parts in all")
        self.places = [folder / name for name in wanted]

    @property
    def num_row_groups(self) -> int:
        """How many parts hold a row."""
        return len(self.filled)

    @property
    def group_rows(self) -> list[int]:
        """Rows of each part that holds one."""
        return [self.counts[index] for index in self.filled]

    @cached_property
    def schema_arrow(self) -> pa.Schema:
        """The schema of all parts, with what they say alike."""
        schema = self.part(0).schema_arrow
        return schema.with_metadata({key: value for key, value in (schema.metadata or {}).items() if key != OWN})

    def part(self, index: int) -> OneFile:
        """The part that is called `index`, opened."""
        place = self.places[index]
        opened = open_file(place)
        if opened.metadata.num_rows != self.counts[index]:
            raise ManifestError(f"{place}: {opened.metadata.num_rows} rows; {self.counts[index]} were written")
        return opened

    def iter_batches(
        self, batch_size: int = 65536, row_groups: Sequence[int] | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Batches of at most so many rows; none lies in two parts."""
        for group in range(len(self.filled)) if row_groups is None else row_groups:
            for batch in self.part(self.filled[group]).iter_batches(batch_size, columns=columns):
                yield pa.RecordBatch.from_arrays(batch.columns, schema=batch.schema.with_metadata(self._said))

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows."""
        found = [self.read_row_group(group, columns) for group in range(len(self.filled))]
        return pa.concat_tables(found) if found else self._rows(0, columns)

    def read_row_group(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one part."""
        return self._rows(self.filled[group], columns)

    def _rows(self, index: int, columns: Sequence[str] | None) -> pa.Table:
        return self.part(index).read(columns=columns).replace_schema_metadata(self._said)

    @property
    def _said(self) -> dict[bytes, bytes] | None:
        return self.schema_arrow.metadata


@dataclass(frozen=True)
class _Metadata:
    """Of a folder what pyarrow's FileMetaData is of a file, as far as manifests ask."""

    file: Parts

    @property
    def num_rows(self) -> int:
        return sum(self.file.counts)

    @property
    def num_row_groups(self) -> int:
        return self.file.num_row_groups

    def row_group(self, group: int) -> Any:
        """The metadata of a part's only row group."""
        return self.file.part(self.file.filled[group]).metadata.row_group(0)


def part_name(index: int) -> str:
    """What part `index` is called in its folder."""
    return f"part-{index:05d}.parquet"


def open_file(place: Place) -> OneFile:
    """A Parquet file. Raises ManifestError where it is none."""
    try:
        return OneFile(place)
    except (pa.ArrowInvalid, OSError) as error:
        raise ManifestError(f"{place}: not a Parquet file ({first_line(error)})") from error


def read_run(folder: Place) -> dict[str, Any]:
    """What a folder of parts says of itself. Raises ManifestError where it holds no such parts."""
    try:
        said = json.loads((folder / RUN).read())
    except FileNotFoundError as error:
        raise ManifestError(
            f"{folder}: no such manifest (a Parquet file with one row a face, or a folder of agewise annotate)"
        ) from error
    except ValueError as error:
        raise ManifestError(f"{folder / RUN}: not JSON ({first_line(error)})") from error
    if not isinstance(said, dict) or said.get("step") != "annotate":
        raise ManifestError(
            f"{folder}: its {RUN} is of another step; agewise annotate writes a folder that is a manifest"
        )
    return said


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _counts(folder: Place) -> list[int]:
    said = read_run(folder)
    if not said.get("finished"):
        raise ManifestError(f"{folder}: not finished; call agewise annotate again with the same manifest and teacher")
    counts = said.get("parts")
    if not isinstance(counts, list) or not counts or not all(isinstance(n, int) and n >= 0 for n in counts):
        raise ManifestError(f"{folder / RUN}: says of no part how many rows it has")
    return counts
