"""Manifests: what is written comes back, and what cannot be used is refused in one line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agewise.ages import AgeDistribution
from agewise.data.manifest import (
    COLUMNS,
    SCHEMA_VERSION,
    ManifestError,
    check_frame,
    described,
    distributions,
    faults,
    fingerprint,
    first_fault,
    metadata,
    numbers,
    open_manifest,
    probs_column,
    read_manifest,
    write_manifest,
)


@pytest.fixture
def faces() -> pa.Table:
    """Three faces: one of known age, one of a known group, one of which nothing is known."""
    return pa.table(
        {
            "image": pa.array(
                [{"bytes": b"a", "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}, None], COLUMNS["image"]
            ),
            "age": pa.array([31.5, None, None], pa.float64()),
            "age_low": pa.array([None, 3.0, None], pa.float64()),
            "age_high": pa.array([None, 9.0, None], pa.float64()),
            "ethnicity": ["x", "y", None],
        }
    )


def refusal(path: Path, need: list[str] | None = None) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, need=need or [])
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line


def test_what_is_written_comes_back(faces: pa.Table, tmp_path: Path) -> None:
    path = write_manifest(faces, tmp_path / "deep" / "m.parquet", {"step": "test"})
    assert read_manifest(path).equals(faces)
    assert metadata(path) == {"schema": SCHEMA_VERSION, "step": "test"}
    assert [item.name for item in path.parent.iterdir()] == ["m.parquet"]


def test_only_the_columns_asked_for_are_read(faces: pa.Table, tmp_path: Path) -> None:
    path = write_manifest(faces, tmp_path / "m.parquet")
    assert read_manifest(path, columns=["age", "box"], need=["age"]).column_names == ["age"]


def test_a_write_that_fails_leaves_what_was_there(
    faces: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_manifest(faces, tmp_path / "m.parquet")
    before = path.read_bytes()

    def half_written(_table: pa.Table, target: Path, **_options: object) -> None:
        target.write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr("agewise.data.manifest.pq.write_table", half_written)
    with pytest.raises(OSError, match="disk is full"):
        write_manifest(faces, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_manifest_is_replaced_in_one_step(faces: pa.Table, tmp_path: Path) -> None:
    path = write_manifest(faces, tmp_path / "m.parquet")
    opened = tmp_path / "as seen by a reader who has it open"
    opened.hardlink_to(path)
    write_manifest(faces.slice(1), path)
    assert (len(read_manifest(opened)), len(read_manifest(path))) == (3, 2)


def test_what_others_said_of_a_table_is_kept_but_for_hugging_faces_features(faces: pa.Table) -> None:
    given = faces.replace_schema_metadata({"huggingface": "{}", "camera": "M1", "agewise": '{"step": "old"}'})
    said = described(given, {"step": "new"}).schema.metadata
    assert said[b"camera"] == b"M1"
    assert b"huggingface" not in said
    assert json.loads(said[b"agewise"]) == {"schema": SCHEMA_VERSION, "step": "new"}


def test_a_file_of_another_origin_is_a_manifest_of_which_nothing_is_said(faces: pa.Table, tmp_path: Path) -> None:
    pq.write_table(faces, tmp_path / "m.parquet")
    assert metadata(tmp_path / "m.parquet") == {}
    assert len(read_manifest(tmp_path / "m.parquet")) == 3


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    assert "no such manifest" in refusal(tmp_path / "absent.parquet")
    assert "no such manifest" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"age,image\n30,a.jpg\n", b"PAR1" + bytes(20)])
def test_what_is_no_parquet_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_bytes(content)
    assert "not a Parquet file" in refusal(tmp_path / "m.parquet")


def test_a_truncated_manifest_is_refused(faces: pa.Table, tmp_path: Path) -> None:
    path = write_manifest(faces, tmp_path / "m.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    assert "not a Parquet file" in refusal(path)


def test_rows_that_turn_out_damaged_name_their_file(faces: pa.Table, tmp_path: Path) -> None:
    path = write_manifest(faces, tmp_path / "m.parquet")
    data = path.read_bytes()
    path.write_bytes(data[:4] + b"\xff" * 60 + data[64:])
    assert refusal(path).startswith(f"{path}: damaged (")
    with pytest.raises(ManifestError, match=r"m\.parquet: damaged"):
        list(open_manifest(path).iter_batches(10))


@pytest.mark.parametrize("image", [{"bytes": "text", "path": "a"}, {"bytes": b"a", "path": 5}, {"path": "a"}])
def test_pictures_of_other_types_are_refused(tmp_path: Path, image: dict[str, object]) -> None:
    assert "column image is struct<" in refusal(write_manifest(pa.table({"image": [image]}), tmp_path / "m.parquet"))


def test_two_columns_of_one_name_are_refused(faces: pa.Table, tmp_path: Path) -> None:
    path = write_manifest(faces.append_column("age", faces["age"]), tmp_path / "m.parquet")
    assert refusal(path).endswith("two columns are named age; each name once is allowed")


@pytest.mark.parametrize(
    ("said", "line"),
    [(b"{broken", "agewise is not JSON"), (b"\xff", "agewise is not JSON"), (b"[1]", "is a list; a table is needed")],
)
def test_what_is_said_has_to_be_a_table(faces: pa.Table, tmp_path: Path, said: bytes, line: str) -> None:
    pq.write_table(faces.replace_schema_metadata({b"agewise": said}), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=line):
        metadata(tmp_path / "m.parquet")


def test_a_margin_that_is_no_number_is_another_margin(faces: pa.Table, tmp_path: Path) -> None:
    path = write_manifest(faces, tmp_path / "m.parquet", {"frame": "square", "margin": "wide"})
    with pytest.raises(ManifestError, match=r"a margin of wide; 0\.5 is needed"):
        check_frame(path, "square", 0.5)


def test_a_missing_column_is_named_with_those_there(faces: pa.Table, tmp_path: Path) -> None:
    path = write_manifest(faces.select(["age", "ethnicity"]), tmp_path / "m.parquet")
    assert refusal(path, need=["image", "age"]).endswith("no column image; it has age, ethnicity")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("age", ["thirty"]),
        ("image", ["a.jpg"]),
        ("subject", [7]),
        ("box", [[1.0, 2.0, 3.0, 4.0]]),
        ("age_probs", pa.array([[0.5, 0.5]], pa.list_(pa.float32(), 2))),
    ],
)
def test_a_known_column_of_another_type_is_refused(name: str, values: list[object], tmp_path: Path) -> None:
    path = write_manifest(pa.table({name: values}), tmp_path / "m.parquet")
    line = refusal(path)
    assert f"column {name} is " in line
    assert "is needed" in line


@pytest.mark.parametrize("values", [[30], [30.0], [None]])
def test_ages_may_be_whole_numbers_or_unknown(values: list[object], tmp_path: Path) -> None:
    path = write_manifest(pa.table({"age": values}), tmp_path / "m.parquet")
    assert len(read_manifest(path)) == 1


@pytest.mark.parametrize(
    ("column", "values", "line"),
    [
        ("age", [30.0, float("nan")], "row 1: age is nan; 0..122 years or null is allowed"),
        ("age", [300.0, 30.0], "row 0: age is 300; 0..122 years or null is allowed"),
        ("age", [None, 30, -1], "row 2: age is -1; "),
        ("age_std", [4.0, 80.0], "row 1: age_std is 80; 0..50 years"),
        ("age_high", [float("inf")], "row 0: age_high is inf; "),
    ],
)
def test_a_label_that_cannot_be_is_named_with_its_row(
    column: str, values: list[float | None], line: str, tmp_path: Path
) -> None:
    path = write_manifest(pa.table({column: values}), tmp_path / "m.parquet")
    assert line in refusal(path)


def test_a_group_upside_down_is_refused(tmp_path: Path) -> None:
    table = pa.table({"age_low": [3.0, 9.0, None], "age_high": [9.0, 3.0, 5.0]})
    assert "row 1: age_low 9 is above age_high 3" in refusal(write_manifest(table, tmp_path / "m.parquet"))


def test_every_fault_is_reported(faces: pa.Table) -> None:
    table = pa.table({"age": [300.0, 30.0, float("nan")], "age_std": [1.0, -1.0, 1.0]})
    assert sorted(row for row, _ in faults(table)) == [0, 1, 2]
    assert first_fault(faces) is None


def test_numbers_are_nan_where_a_label_is_unknown() -> None:
    table = pa.table({"age": pa.array([30, None], pa.int64()), "age_std": pa.nulls(2)})
    np.testing.assert_array_equal(numbers(table, "age"), [30.0, np.nan])
    np.testing.assert_array_equal(numbers(table, "age_std"), [np.nan, np.nan])
    np.testing.assert_array_equal(numbers(table, "weight"), [np.nan, np.nan])


def test_distributions_survive_the_column(tmp_path: Path) -> None:
    ages = AgeDistribution(np.random.default_rng(0).random((7, 101)))
    path = write_manifest(pa.table({"age_probs": probs_column(ages)}), tmp_path / "m.parquet")
    back = distributions(read_manifest(path))
    np.testing.assert_allclose(back.probs, ages.probs, atol=1e-8)
    sliced = pa.concat_tables([read_manifest(path).slice(5), read_manifest(path).slice(0, 2)])
    np.testing.assert_allclose(distributions(sliced).probs, ages.probs[[5, 6, 0, 1]], atol=1e-8)


def test_a_fingerprint_is_the_sha256_of_the_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "m").write_bytes(data)
    assert fingerprint(tmp_path / "m") == hashlib.sha256(data).hexdigest()


def test_the_development_manifests_are_valid(shared: Path) -> None:
    for path in sorted(shared.glob("*.parquet")):
        open_manifest(path, need=["image"])
        assert len(read_manifest(path, columns=["age", "age_low", "age_high"])) > 0
