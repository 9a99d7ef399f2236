"""A Hugging Face data set as Parquet files with an image column."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from agewise.data.sources.columns import SPLITS, labels, matched
from agewise.data.sources.entry import Entry, Remark, Skipped, picture
from agewise.data.sources.tree import SourceError, Tree

_BATCH = 200


def read(
    tree: Tree,
    *,
    kind: Literal["real", "apparent", "group", "estimated"] = "real",
    image: str = "",
    age: str = "",
    age_std: str = "",
    subject: str = "",
    split: str = "",
    sex: str = "",
    ethnicity: str = "",
) -> Iterator[Entry]:
    """Every row of every Parquet file; options name columns. Class numbers are read as the classes' names.

    Without a column for it, split is the beginning of the file's name (train-00000-of-00002.parquet).
    """
    files = [name for name in tree.names() if name.endswith(".parquet")]
    if not files:
        raise SourceError(f"{tree.root}: no .parquet file there")
    named = {"image": image, "age": age, "age_std": age_std, "subject": subject, "split": split, "sex": sex}
    said = False
    for name in files:
        with tree.open(name) as stream:
            file = _opened(stream, f"{tree.root}: {name}")
            columns = matched(file.schema_arrow.names, {**named, "ethnicity": ethnicity}, f"{tree.root}: {name}")
            if not said:
                yield Remark("columns read: " + ", ".join(f"{column} from {head}" for column, head in columns.items()))
            said = True
            classes = _classes(file.schema_arrow)
            part = SPLITS.get(PurePosixPath(name).stem.split("-")[0].lower())
            for number, row in enumerate(_rows(file, list(columns.values()))):
                stored = _image(row[columns["image"]], f"{name}/{number}")
                if stored is None:
                    yield Skipped(f"{name}/{number}", "no image in the row")
                    continue
                cells = {head: _named(value, classes.get(head)) for head, value in row.items()}
                yield {"image": stored, **labels(cells, columns, kind, part)}


def _opened(stream: Any, where: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(stream)
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{where}: not a Parquet file ({str(error).splitlines()[0]})") from error


def _rows(file: pq.ParquetFile, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(_BATCH, columns=sorted(set(columns))):
        yield from batch.to_pylist()


def _classes(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of the classes of each ClassLabel column, as Hugging Face writes them into the schema."""
    stored = (schema.metadata or {}).get(b"huggingface")
    features = json.loads(stored).get("info", {}).get("features", {}) if stored else {}
    return {name: some["names"] for name, some in features.items() if isinstance(some, dict) and "names" in some}


def _named(value: Any, names: list[str] | None) -> Any:
    known = names is not None and isinstance(value, int) and 0 <= value < len(names)
    return names[value] if names is not None and known else value


def _image(value: Any, place: str) -> dict[str, Any] | None:
    """The picture's bytes under a name that no other row has, or the file that the row names."""
    if isinstance(value, bytes):
        return {"bytes": value, "path": place} if value else None
    if isinstance(value, str):
        return picture(value)
    if not isinstance(value, dict) or not (value.get("bytes") or value.get("path")):
        return None
    if not value.get("bytes"):
        return picture(value["path"])
    return {"bytes": value["bytes"], "path": f"{place}/{PurePosixPath(value.get('path') or '').name}".rstrip("/")}
