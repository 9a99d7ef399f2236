"""Parts of a long step: complete or absent, joined in order, refused under another plan."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agewise.data.manifest import ManifestError, metadata, read_manifest
from agewise.data.replacing import replacing
from agewise.data.shards import Shards

PLAN = {"source": "a.parquet", "size": 256}


def part(*ages: float) -> pa.Table:
    return pa.table({"age": list(ages)})


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "m.parquet"


def test_parts_are_joined_in_order_whatever_the_order_of_writing(target: Path) -> None:
    shards = Shards(target, PLAN)
    for index in (10, 2, 0, 1, 9, 3, 8, 7, 4, 5, 6):
        shards.write(index, part(float(index)), [[f"{index}.jpg", "no face found"]])
    assert [note[0] for note in shards.notes()] == [f"{index}.jpg" for index in range(11)]
    assert shards.join({"step": "test"}) == 11
    assert read_manifest(target)["age"].to_pylist() == list(range(11))
    assert metadata(target)["step"] == "test"


def test_only_the_output_is_left_in_the_end(target: Path) -> None:
    shards = Shards(target, PLAN)
    shards.write(0, part(1.0))
    assert not target.exists()
    shards.join({})
    assert list(target.parent.iterdir()) == [target]


def test_work_goes_on_where_it_stopped(target: Path) -> None:
    Shards(target, PLAN).write(0, part(1.0), [["a.jpg", "no face found"]])
    again = Shards(target, dict(PLAN))
    assert (again.done(0), again.done(1)) == (True, False)
    again.write(1, part(2.0))
    assert again.notes() == [["a.jpg", "no face found"]]
    assert again.join({}) == 2


def test_a_part_that_was_cut_off_does_not_count(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = Shards(target, PLAN)

    def killed(_table: pa.Table, path: Path) -> None:
        path.write_bytes(b"half a part")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("agewise.data.shards.pq.write_table", killed)
        with pytest.raises(KeyboardInterrupt):
            shards.write(0, part(1.0))
    (shards.folder / ".000001.parquet.7.partial").write_bytes(b"left by kill -9")
    assert not shards.done(0)
    assert shards.parts() == []
    shards.write(0, part(1.0))
    assert shards.join({}) == 1
    assert not shards.folder.exists()


def test_a_join_that_was_cut_off_can_be_repeated(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = Shards(target, PLAN)
    shards.write(0, part(1.0))

    def killed(_path: Path) -> pa.Table:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("agewise.data.shards.pq.read_table", killed)
        with pytest.raises(KeyboardInterrupt):
            shards.join({})
    assert not target.exists()
    assert Shards(target, PLAN).join({}) == 1


def test_another_plan_is_refused_with_what_differs(target: Path) -> None:
    Shards(target, PLAN).write(0, part(1.0))
    with pytest.raises(ManifestError, match="begun with another size; delete it") as caught:
        Shards(target, {**PLAN, "size": 128})
    assert "\n" not in str(caught.value)
    assert Shards(target, PLAN).done(0)


def test_an_option_that_is_new_is_another_plan(target: Path) -> None:
    Shards(target, PLAN).write(0, part(1.0))
    with pytest.raises(ManifestError, match="another frame;"):
        Shards(target, {**PLAN, "frame": "square"})


def test_nothing_is_left_where_no_part_was_written(target: Path) -> None:
    Shards(target, PLAN)
    assert not target.parent.exists()


def test_parts_take_the_types_of_the_first(target: Path) -> None:
    shards = Shards(target, PLAN)
    shards.write(0, part(1.5))
    shards.write(1, pa.table({"age": pa.array([None], pa.null())}))
    shards.join({})
    assert pq.read_schema(target).field("age").type == pa.float64()


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"cannot be written: .*file is not a folder: .*m.parquet"):
        Shards(tmp_path / "file" / "new" / "m.parquet", PLAN)
    with pytest.raises(ValueError, match="it exists and is not a file"):
        Shards(tmp_path, PLAN)
    with pytest.raises(NotADirectoryError, match="is not a folder"), replacing(tmp_path / "file" / "m.parquet"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_parts_that_another_process_took_away_are_not_joined_without_a_word(tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    one, other = Shards(target, {"a": 1}), Shards(target, {"a": 1})
    one.write(0, pa.table({"x": [1]}))
    one.join({})
    other.write(1, pa.table({"x": [2]}))
    with pytest.raises(ManifestError, match="parts are gone; another process writes"):
        other.join({})
    assert pq.read_table(target)["x"].to_pylist() == [1]


def test_what_others_put_among_the_parts_is_not_deleted(target: Path) -> None:
    strange = target.with_name(f"{target.name}.parts") / "mine.txt"
    strange.parent.mkdir(parents=True)
    strange.write_text("kept")
    with pytest.raises(ManifestError, match=r"holds mine.txt, which is no part of ours; move it elsewhere"):
        Shards(target, PLAN)
    assert strange.read_text() == "kept"
