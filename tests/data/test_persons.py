"""Who is on a row: the subject, or else the picture; one number each, scattered by a seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agewise.ages import AGES
from agewise.data.manifest import IMAGE, ManifestError
from agewise.data.persons import batches, keys_of, names_of, person_keys, read_persons, rows_of

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def manifest(group: int = 2, **columns: Any) -> Path:
        pq.write_table(pa.table(columns), tmp_path / "m.parquet", row_group_size=group)
        return tmp_path / "m.parquet"

    return manifest


def pictures(*images: tuple[bytes | None, str | None] | None) -> pa.Array:
    return pa.array([one and dict(zip(("bytes", "path"), one, strict=True)) for one in images], IMAGE)


def test_the_same_person_has_the_same_number_in_every_row(write: Write) -> None:
    path = write(
        subject=["ann", "bob", None, "ann", None],
        age=[20.0, 30.0, 40.0, 21.0, 41.0],
        image=pictures((b"1", None), (b"2", None), (b"3", None), (b"4", None), (b"3", "other.jpg")),
    )
    keys, ages, named = read_persons(path, seed=5)
    assert keys[0] == keys[3]
    assert keys[2] == keys[4]
    assert len(np.unique(keys)) == 3
    assert named == 3
    assert ages.tolist() == [20, 30, 40, 21, 41]
    assert not np.isin(keys, read_persons(path, seed=6)[0]).any()


def test_a_picture_is_known_by_its_bytes_or_else_by_its_path() -> None:
    table = pa.table({"image": pictures((b"1", "a.jpg"), (b"1", "b.jpg"), (None, "a.jpg"), (b"", "b.jpg"))})
    names, named = names_of(table, Path("m.parquet"), 0)
    assert names[0] == names[1]
    assert names[0].startswith("sha256:")
    assert names[2:] == ["path:a.jpg", "path:b.jpg"]
    assert named == 0


@pytest.mark.parametrize("image", [None, (None, None), (b"", "")])
def test_a_row_of_nobody_is_named(image: tuple[bytes | None, str | None] | None) -> None:
    table = pa.table({"subject": ["ann", ""], "image": pictures((b"1", None), image)})
    with pytest.raises(ManifestError, match=r"^m\.parquet: row 11 has no subject and no image"):
        names_of(table, Path("m.parquet"), 10)


def test_the_age_is_the_known_one_or_the_groups_middle_or_the_distributions_mean(write: Write) -> None:
    told = np.exp(-((AGES - 50.0) ** 2) / 8)
    probs = pa.array([None, None, (told / told.sum()).tolist(), None], pa.list_(pa.float32(), len(AGES)))
    path = write(
        subject=list("abcd"),
        age=[7.0, None, None, None],
        age_low=[0.0, 20.0, None, None],
        age_high=[9.0, 29.0, None, None],
        age_probs=probs,
    )
    np.testing.assert_allclose(read_persons(path, seed=0)[1], [7, 24.5, 50, np.nan], atol=1e-4)


def test_a_fault_is_told_by_its_row_in_the_whole_file(write: Write) -> None:
    path = write(subject=list("abcd"), age=[7.0, 8.0, 9.0, -3.0])
    with pytest.raises(ManifestError, match=r"m\.parquet: row 3: "):
        read_persons(path, seed=0)


def test_persons_are_counted_by_their_subjects() -> None:
    assert len(np.unique(person_keys(pa.table({"subject": ["ann", None, "bob", "", "ann"]})))) == 2
    assert len(person_keys(pa.table({"age": [1.0]}))) == 0


def test_numbers_are_spread_evenly() -> None:
    places = keys_of([f"person {number}" for number in range(20_000)], seed=1) / 2.0**64
    counts, _ = np.histogram(places, 20, (0, 1))
    assert abs(counts - 1000).max() < 150  # five standard deviations
    assert len(np.unique(places)) == 20_000


def test_pictures_are_read_only_where_a_row_has_no_subject(write: Write) -> None:
    path = write(subject=["ann", "bob", None, "ann"], age=[1.0, 2.0, 3.0, 4.0], image=pictures(*[(b"1", None)] * 4))
    first, second = rows_of(path, ("age", "absent"))
    assert first.column_names == ["age", "subject"]
    assert second.column_names == ["age", "subject", "image"]


def test_batches_hold_no_rows_of_two_groups(write: Write) -> None:
    file = pq.ParquetFile(write(group=3, age=[float(n) for n in range(7)]))
    assert [table["age"].to_pylist() for table in batches(file, 2)] == [[0, 1], [2], [3, 4], [5], [6]]
    assert [table["age"].to_pylist() for table in batches(file, 9, ["age"], [2, 0])] == [[6], [0, 1, 2]]
