"""A manifest's row as the files of a WebDataset sample, and back; and rows of samples that others have made."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from agewise.data.manifest import COLUMNS, IMAGE, ManifestError
from agewise.data.sources.columns import GUESSES, labels
from agewise.data.sources.entry import Row
from agewise.data.sources.labels import number
from agewise.data.tars.samples import Sample
from agewise.faces.image import EXTENSIONS

_LABELS = ("age", "age_low", "age_high", "age_std", "age_kind", "subject", "split", "sex", "ethnicity")
FOREIGN = pa.schema([("image", IMAGE), *((name, COLUMNS.get(name, pa.string())) for name in _LABELS)])
"""The columns of a manifest from tars that agewise has not written."""

_MARK = "agewise_tars"
_STARTS = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"BM": "bmp", b"GIF8": "gif", b"II*\0": "tif", b"MM\0*": "tif"}
_TEXT = 1000
"""Bytes of a text file that may be a label."""


@dataclass(frozen=True, slots=True)
class Index:
    """What stands beside the shards of a manifest: the rows of each by its name, the columns, what was said."""

    shards: dict[str, int]
    schema: pa.Schema
    said: dict[str, Any]

    def text(self) -> str:
        """As a JSON file; the columns' types are in Arrow's own encoding."""
        schema = base64.b64encode(self.schema.remove_metadata().serialize()).decode()
        return json.dumps({_MARK: 1, "shards": self.shards, "said": self.said, "schema": schema}, indent=1)


def read_index(path: Path) -> Index | None:
    """The index in a file; None where it is of another origin. Raises ManifestError where it is ours and damaged."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(stored, dict) or _MARK not in stored:
        return None
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(stored["schema"], validate=True)))
        shards = {str(name): int(rows) for name, rows in stored["shards"].items()}
        said = dict(stored["said"])
    except (KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise ManifestError(f"{path}: a damaged index of tar shards ({str(error).splitlines()[0]})") from error
    return Index(shards, schema, said)


def check_packable(schema: pa.Schema, name: Path) -> None:
    """Raises ManifestError where a column cannot be written as JSON and read back as it was."""
    for column in schema:
        if not (is_picture(column.type) or _plain(column.type)):
            allowed = "pictures, text, numbers, truth values and lists of them"
            raise ManifestError(f"{name}: column {column.name} is {column.type}; {allowed} go into tar shards")


def is_picture(kind: pa.DataType) -> bool:
    """Whether a column of that type holds pictures, as `image` does."""
    return pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(n).name for n in range(kind.num_fields)}


def files_of(row: Row, pictures: Sequence[str], folder: Path) -> dict[str, bytes] | str:
    """A row's files by suffix, or why it has none; pictures that a path names, from `folder` on, are put in."""
    files: dict[str, bytes] = {}
    rest = dict(row)
    for column in pictures:
        if row[column] is None:
            continue
        rest[column] = {name: value for name, value in row[column].items() if name != "bytes"}
        data = _content(row[column], folder)
        kind = _kind(data)
        if data and not kind:
            return f"{column} is no JPEG, PNG, WebP, BMP, TIFF or GIF file"
        if kind:
            files[kind if column == "image" else f"{column.lower()}.{kind}"] = data
        elif row[column]["path"] or column == "image":
            return f"{column} is not there: {row[column]['path'] or 'neither bytes nor a path'}"
    if row["image"] is None:
        return "no image in the row"
    return {**files, "json": json.dumps(rest, separators=(",", ":")).encode()}


def _content(image: Mapping[str, Any], folder: Path) -> bytes:
    if image["bytes"] or not image["path"]:
        return image["bytes"] or b""
    path = folder / image["path"]
    return path.read_bytes() if path.is_file() else b""


def _kind(data: bytes) -> str:
    """The suffix of a picture by its first bytes, or nothing."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((suffix for start, suffix in _STARTS.items() if data.startswith(start)), "")


class Own:
    """Rows of the samples that `files_of` has made, by the index beside their shards."""

    def __init__(self, index: Index) -> None:
        self.schema = index.schema
        self.pictures = [column.name for column in index.schema if is_picture(column.type)]

    def __call__(self, sample: Sample, tar: str) -> Row | str:  # noqa: ARG002 - a row has the path that it had
        """A row, or why there is none."""
        row = _parsed(sample)
        if isinstance(row, str):
            return row
        unknown = sorted(row.keys() - set(self.schema.names))
        if unknown:
            return f"the index knows no column {', '.join(unknown)}"
        for column in self.pictures:
            value = row.get(column)
            if value is not None and not isinstance(value, dict):
                return f"{column} in its json is {str(value)[:40]!r}"
            if value is not None:
                start = "" if column == "image" else f"{column.lower()}."
                row[column] = {**value, "bytes": _picture(sample, start)[1] or None}
        return row if (row.get("image") or {}).get("bytes") else "no picture beside its json"

    def remarks(self) -> list[str]:
        """Nothing: all is as it was written."""
        return []


class Foreign:
    """Rows of samples of another origin: a picture, and labels by the names that tables use, in JSON or text files."""

    schema = FOREIGN

    def __init__(self, age: str = "", kind: str = "real") -> None:
        """age: the JSON field or the suffix that holds the age; by default the first that looks like one."""
        self.age, self.kind = age, kind
        self.ages: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        labels({}, {}, kind)  # refuses a kind that is none

    def __call__(self, sample: Sample, tar: str) -> Row | str:
        """A row, or why there is none."""
        suffix, data = _picture(sample)
        if not data:
            return "no picture in the sample"
        parsed = _parsed(sample) if "json" in sample.files else {}
        if isinstance(parsed, str):
            return parsed
        cells = {**_texts(sample, suffix), **{name: one for name, one in parsed.items() if not _nested(one)}}
        columns = self._columns(cells)
        if "age" not in columns and not {"age_low", "age_high"} <= columns.keys():
            return f"no {self.age or 'age'} in its json, cls or txt"
        row = labels(cells, columns, self.kind)
        wrong = _numbered(row)
        if wrong:
            return wrong
        if row["age"] is None and row["age_low"] is None:
            return "the age is not known"
        self.ages[columns.get("age", "age_low")] += 1
        self.left.update(sorted(parsed.keys() - set(columns.values())))
        return {**row, "image": {"bytes": data, "path": f"{tar}/{sample.name}.{suffix}"}}

    def remarks(self) -> list[str]:
        """Where ages came from, and which JSON fields were left out."""
        ages = ", ".join(f"{name} ({count})" for name, count in self.ages.most_common())
        left = ", ".join(f"{name} ({count})" for name, count in self.left.most_common(10))
        return [f"ages from: {ages}", *([f"fields left out: {left}"] if left else [])]

    def _columns(self, cells: Mapping[str, Any]) -> dict[str, str]:
        small = {name.strip().lower(): name for name in cells}
        found = {
            column: next((small[guess] for guess in guesses if guess in small), "")
            for column, guesses in {**GUESSES, "age": (*GUESSES["age"], "cls", "txt")}.items()
            if column != "image"
        }
        if self.age:
            found["age"] = self.age if self.age in cells else ""
        return {column: name for column, name in found.items() if name}


def _picture(sample: Sample, start: str = "") -> tuple[str, bytes]:
    """Suffix and bytes of the picture among a sample's files whose suffix begins with `start`; empty if none."""
    found = (suffix for suffix in sample.files if suffix.startswith(start) and f".{suffix[len(start) :]}" in EXTENSIONS)
    suffix = next(found, "")
    return suffix, sample.files.get(suffix, b"")


def _parsed(sample: Sample) -> dict[str, Any] | str:
    if "json" not in sample.files:
        return "no json beside the picture"
    try:
        parsed = json.loads(sample.files["json"])
    except (ValueError, RecursionError):
        return "its json cannot be read"
    return parsed if isinstance(parsed, dict) else "its json is not an object"


def _texts(sample: Sample, picture: str) -> dict[str, str]:
    """Short text files beside the picture, by suffix."""
    short = {s: data for s, data in sample.files.items() if s not in ("json", picture) and len(data) <= _TEXT}
    return {suffix: data.decode("utf-8", "replace").strip() for suffix, data in short.items()}


def _nested(value: Any) -> bool:
    return isinstance(value, dict | list)


def _numbered(row: Row) -> str:
    """Puts numbers for the text of number columns; says what is wrong with one, or nothing."""
    for name in ("age", "age_low", "age_high", "age_std"):
        try:
            if isinstance(row[name], bool):
                raise TypeError
            row[name] = number(row[name])
        except (ValueError, TypeError, OverflowError):
            return f"{name} is {str(row[name])[:40]!r}; a number is needed"
    return ""


def _plain(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _plain(kind.value_type)
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    number = pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return number or text or pa.types.is_boolean(kind) or pa.types.is_null(kind)
