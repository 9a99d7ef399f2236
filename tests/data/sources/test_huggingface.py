"""Parquet files of the Hugging Face kind: bytes kept, class numbers named, parts of file names."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agewise.data.sources.tree import SourceError
from tests.data.sources.layouts import PICTURE, imported, pictures, written


def test_class_numbers_are_named_and_bytes_kept(tmp_path: Path) -> None:
    read = imported("huggingface", written("huggingface", tmp_path / "set"))
    rows = [(row["age_low"], row["age_high"], row["split"], row["sex"]) for row in read.rows]
    assert rows == [(0, 2, "train", "M"), (70, 100, "train", "M"), (3, 9, "valid", "M")]
    assert [row["image"]["bytes"] for row in read.rows] == [PICTURE + b"\0", PICTURE + b"\1", PICTURE + b"\0"]
    assert read.reasons == {"data/train-00000-of-00001.parquet/2": "no image in the row"}


def test_bytes_paths_and_named_columns(tmp_path: Path) -> None:
    root = tmp_path / "set"
    pictures(root, "a.jpg")
    rows = [{"bytes": None, "path": "a.jpg"}, {"bytes": None, "path": "../b.jpg"}]
    pq.write_table(pa.table({"picture": rows, "years": [31.5, 3.0], "who": ["x", "y"]}), root / "faces.parquet")
    read = imported("huggingface", root, image="picture", age="years", subject="who")
    assert [(row["name"], row["age"], row["subject"], row["split"]) for row in read.rows] == [
        ("set/a.jpg", 31.5, "x", None)
    ]
    assert read.reasons == {"../b.jpg": "the path leads out of the root"}
    pq.write_table(pa.table({"image": [b"one", b""], "age": [4, 5]}), root / "faces.parquet")
    again = imported("huggingface", root, tmp_path / "again.parquet")
    assert [row["image"]["bytes"] for row in again.rows] == [b"one"]


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(SourceError, match=r"no .parquet file there"):
        imported("huggingface", tmp_path / "set")
    (tmp_path / "set/a.parquet").write_bytes(b"PAR1 not at all")
    with pytest.raises(SourceError, match=r"a.parquet: not a Parquet file"):
        imported("huggingface", tmp_path / "set")


def test_the_development_set_comes_through(shared: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    (root / "validation-00000.parquet").symlink_to(shared / "fairface-val.parquet")
    read = imported("huggingface", root, kind="group")
    assert (len(read.rows), set(read.column("split")), set(read.column("age_kind"))) == (2410, {"valid"}, {"group"})
    known = pq.read_table(shared / "fairface-val.parquet", columns=["age_low", "ethnicity"])
    assert read.column("age_low") == known["age_low"].to_pylist()
    assert read.column("ethnicity") == known["ethnicity"].to_pylist()
