"""VGGFace2 with the VMAGE ages: the join of two lists, and the split by the order of identities."""

from __future__ import annotations

from pathlib import Path

import pytest

from agewise.data.sources import vggface2 as source
from agewise.data.sources.tree import SourceError, open_tree
from tests.data.sources.layouts import imported, pictures, text, written


def test_ages_boxes_and_sexes_are_joined_by_the_picture(tmp_path: Path) -> None:
    read = imported("vggface2", written("vggface2", tmp_path / "set"))
    row = read["set/train/n000003/0002_01.jpg"]
    assert (row["age"], row["age_kind"], row["subject"], row["sex"]) == (20 + 3 / 8, "estimated", "n000003", "F")
    assert row["source_box"] == [10.0, 20.0, 40.0, 60.0]
    assert read["set/test/n000001/0019_01.jpg"]["split"] == "test"
    assert len(read.rows) == 27
    assert read.reasons == {"train/n000099/0001_01.jpg": "the picture has no age in the list"}
    assert read.remarks == ["identity_meta.csv lists 14 identities, not 9131: some have no sex"]


def test_the_second_and_third_of_ten_identities_are_for_validation(tmp_path: Path) -> None:
    read = imported("vggface2", written("vggface2", tmp_path / "set"))
    splits = {row["subject"]: row["split"] for row in read.rows}
    people = [f"n{person:06d}" for person in range(2, 15)]
    assert [splits[person] for person in people] == ["valid" if n % 10 in {1, 2} else "train" for n in range(13)]


def test_an_identity_without_a_picture_is_not_counted(tmp_path: Path) -> None:
    root = written("vggface2", tmp_path / "set")
    for picture in (root / "train/n000002").iterdir():
        picture.unlink()
    read = imported("vggface2", root)
    splits = {row["subject"]: row["split"] for row in read.rows}
    assert [splits[f"n{person:06d}"] for person in (3, 4, 5, 6)] == ["train", "valid", "valid", "train"]
    assert list(read.reasons.values()).count("the image file is missing") == 2


def test_without_the_boxes_the_ages_give_the_order(tmp_path: Path) -> None:
    root = written("vggface2", tmp_path / "set")
    (root / "annotations/train.detected.csv").unlink()
    read = imported("vggface2", root)
    assert len(read.rows) == 27
    assert read["set/train/n000003/0001_01.jpg"]["source_box"] is None
    assert read["set/train/n000003/0001_01.jpg"]["split"] == "valid"
    assert any("no train.detected.csv" in remark for remark in read.remarks)


def test_a_cut_list_of_identities_is_refused_for_the_full_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = written("vggface2", tmp_path / "set")
    monkeypatch.setattr(source, "FULL", 13)
    with open_tree(root) as tree:
        with pytest.raises(SourceError, match=r"the full set, but identity_meta.csv lists 14 people, not 9131"):
            list(source.read(tree))
        monkeypatch.setattr(source, "IDENTITIES", 14)
        assert len(list(source.read(tree))) == 28


def test_the_set_may_lie_two_folders_down_and_a_short_list_is_refused(tmp_path: Path) -> None:
    written("vggface2", tmp_path / "dataset/vggface2_data")
    read = imported("vggface2", tmp_path, tmp_path / "m.parquet")
    assert "dataset/vggface2_data/train/n000002/0001_01.jpg" in read.by_name
    bad = tmp_path / "bad"
    pictures(bad, "train/n000002/0001_01.jpg")
    text(bad, "annotations/train.age_detected.csv", "n000002/0001_01.jpg,3")
    text(bad, "annotations/train.detected.csv", "n000002/0001_01.jpg,3")
    with pytest.raises(SourceError, match="has 2 columns; at least 8 are needed"):
        imported("vggface2", bad)
