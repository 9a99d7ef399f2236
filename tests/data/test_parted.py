"""A folder of parts read as one Parquet file is, and what is said of one that is unfinished or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agewise.data.parted import OWN, RUN, ManifestError, Parts, open_file, part_name, read_run
from agewise.data.places import place_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three parts of ages 0 to 4; the second has none."""
    for index, ages in enumerate(([0.0, 1.0, 2.0], [], [3.0, 4.0])):
        said = {b"step": b"annotate", OWN: str(index).encode()}
        table = pa.table({"age": pa.array(ages, pa.float64()), "name": pa.array([f"{age:g}" for age in ages])})
        pq.write_table(table.replace_schema_metadata(said), tmp_path / part_name(index))
    say(tmp_path)
    return tmp_path


def say(folder: Path, **other: Any) -> None:
    said = {"step": "annotate", "finished": True, "parts": [3, 0, 2], **other}
    (folder / RUN).write_text(json.dumps(said))


def test_parts_are_read_as_one_file(folder: Path) -> None:
    parts = Parts(place_of(folder))
    whole = parts.read()
    assert whole["age"].to_pylist() == [0, 1, 2, 3, 4]
    assert parts.read(["name"]).column_names == ["name"]
    assert (parts.metadata.num_rows, parts.num_row_groups, parts.group_rows) == (5, 2, [3, 2])
    assert parts.read_row_group(1)["age"].to_pylist() == [3, 4]
    assert parts.metadata.row_group(1).num_rows == 2
    assert parts.schema_arrow.metadata == whole.schema.metadata == {b"step": b"annotate"}


def test_batches_stay_within_a_part(folder: Path) -> None:
    parts = Parts(place_of(folder))
    assert [batch.column("age").to_pylist() for batch in parts.iter_batches(2)] == [[0, 1], [2], [3, 4]]
    (only,) = parts.iter_batches(9, [1], ["name"])
    assert only.to_pydict() == {"name": ["3", "4"]}
    assert only.schema.metadata == {b"step": b"annotate"}


def test_parts_without_a_row_are_a_manifest_of_none(folder: Path) -> None:
    say(folder, parts=[0])
    (folder / part_name(1)).rename(folder / part_name(0))
    parts = Parts(place_of(folder))
    assert len(parts.read()) == parts.num_row_groups == 0
    assert parts.read(["age"]).column_names == ["age"]


@pytest.mark.parametrize("parts", [None, [], [3, -1], ["3"], 5])
def test_counts_that_mean_nothing(folder: Path, parts: Any) -> None:
    say(folder, parts=parts)
    with pytest.raises(ManifestError, match=r"run\.json: says of no part how many rows it has"):
        Parts(place_of(folder))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such manifest"),
        ("{", "not JSON"),
        ("[]", "of another step"),
        ('{"step": "clean"}', "of another step"),
    ],
)
def test_a_folder_that_is_none(folder: Path, text: str | None, words: str) -> None:
    (folder / RUN).unlink()
    if text is not None:
        (folder / RUN).write_text(text)
    with pytest.raises(ManifestError, match=words):
        read_run(place_of(folder))


def test_an_unfinished_folder_says_what_to_do(folder: Path) -> None:
    say(folder, finished=False)
    with pytest.raises(ManifestError, match="not finished; call agewise annotate again"):
        Parts(place_of(folder))


def test_a_part_that_is_gone_shorter_or_damaged_is_named(folder: Path) -> None:
    last = folder / part_name(2)
    pq.write_table(pq.read_table(last).slice(1), last)
    with pytest.raises(ManifestError, match=r"part-00002\.parquet: 1 rows; 2 were written"):
        Parts(place_of(folder)).read()
    last.write_bytes(b"PAR1")
    with pytest.raises(ManifestError, match=r"part-00002\.parquet: not a Parquet file"):
        Parts(place_of(folder)).read()
    last.unlink()
    with pytest.raises(ManifestError, match=r"part-00002\.parquet is gone, and 1 of 3 parts in all"):
        Parts(place_of(folder))


def test_rows_that_turn_out_damaged_name_their_file(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"name": [f"{number * 7919 % 1009:0100}" for number in range(1000)]}), path)
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(data)
    file = open_file(place_of(path))
    assert file.group_rows == [1000]
    with pytest.raises(ManifestError, match=r"m\.parquet: damaged \("):
        file.read()
    with pytest.raises(ManifestError, match=r"m\.parquet: damaged \("):
        list(file.iter_batches(10))
