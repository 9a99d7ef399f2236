"""Cleaning deletes nothing: the same rows with the rules that each breaks, the same after a kill, and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from agewise.ages import AgeDistribution
from agewise.data import shards
from agewise.data.manifest import ManifestError, metadata, probs_column, read_manifest, write_manifest
from agewise.data.selecting import select
from agewise.data.settings import SettingsError
from agewise.teachers.cleaning import clean as step
from agewise.teachers.cleaning.clean import Rules, clean, read_rules
from agewise.teachers.cleaning.cleaned import Found, read_cleaned

Make = Callable[..., Any]
COUNT = 130


@pytest.fixture
def faces(tmp_path: Path, faces_of: Make) -> Path:
    """130 faces that a teacher knows; row 3 is labelled wrongly, 4 tiny, 5 of a crowd, 6 both, 7 unreadable, 8 of 0."""
    true = np.linspace(10, 80, COUNT).round()
    true[8] = 2.0
    label = true.copy()
    label[3], label[8] = 75.0, 0.0
    box = [[0.0, 0.0, 100.0, 100.0]] * COUNT
    box[4] = box[6] = [0.0, 0.0, 20.0, 100.0]
    crowd = [1.0] * COUNT
    crowd[5] = crowd[6] = 4.0
    path = Path(
        faces_of(
            tmp_path / "faces.parquet",
            label,
            age_probs=probs_column(AgeDistribution.gaussian(true, np.full(COUNT, 5.0))),
            box=pa.array(box, pa.list_(pa.float64(), 4)),
            faces=crowd,
        )
    )
    table = read_manifest(path)
    images = table["image"].to_pylist()
    images[7] = {"bytes": b"no picture", "path": None}
    table = table.set_column(0, "image", pa.array(images, table.schema.field("image").type))
    return write_manifest(table, path, metadata(path))


def found(cleaned: Any, name: str) -> Found:
    return next(rule for rule in cleaned.rules if rule.name == name)


def test_every_row_is_there_with_the_rules_it_breaks(faces: Path, tmp_path: Path) -> None:
    cleaned = clean(faces, tmp_path / "c.parquet")
    before, after = read_manifest(faces), read_manifest(tmp_path / "c.parquet")
    assert after.drop_columns(["dropped"]).equals(before)
    said = {row: names for row, names in enumerate(after["dropped"].to_pylist()) if names}
    assert said == {3: "disagreement", 4: "size", 5: "faces", 6: "faces;size", 7: "unreadable", 8: "range"}
    assert (cleaned.rows, cleaned.kept, cleaned.dropped) == (COUNT, COUNT - 6, 6)
    assert metadata(tmp_path / "c.parquet")["frame"] == "aligned"


def test_what_was_found_is_counted(faces: Path, tmp_path: Path) -> None:
    cleaned = clean(faces, tmp_path / "c.parquet")
    assert {rule.name: rule.hits for rule in cleaned.rules if rule.hits} == {
        "unreadable": 1,
        "faces": 2,
        "size": 2,
        "range": 1,
        "disagreement": 1,
    }
    assert cleaned.shared[("faces", "size")] == 1
    assert cleaned.shared[("unreadable", "size")] == 0
    assert cleaned.alone == {"unreadable": 1, "faces": 1, "size": 1, "range": 1, "disagreement": 1}
    assert [row for row, _ in found(cleaned, "size").examples] == [4, 6]
    assert found(cleaned, "size").examples[0][1] == 20.0
    assert {*cleaned.kept_examples} & {3, 4, 5, 6, 7, 8} == set()
    assert len(cleaned.kept_examples) == step.SHOWN
    assert cleaned.joint is not None
    assert np.sum(cleaned.joint) == COUNT
    assert read_cleaned(tmp_path / "c.parquet") == cleaned


def test_rules_without_their_columns_are_not_applicable(faces: Path, tmp_path: Path) -> None:
    cleaned = clean(faces, tmp_path / "c.parquet")
    assert found(cleaned, "birthday").missing == "no column birth"
    assert found(cleaned, "dates").missing == "no column birth and photo_year"
    assert found(cleaned, "score").missing == "no column score"
    assert found(cleaned, "range").missing is None
    assert (found(cleaned, "score").judged, found(cleaned, "range").judged) == (0, COUNT)


def test_pictures_of_no_known_frame_are_not_judged(faces: Path, tmp_path: Path) -> None:
    write_manifest(read_manifest(faces), faces, {})
    cleaned = clean(faces, tmp_path / "c.parquet")
    assert "agewise prepare" in str(found(cleaned, "sharpness").missing)
    assert found(cleaned, "unreadable").hits == 0


def test_a_teacher_that_was_kept_within_the_labels_cannot_contradict_them(faces: Path, tmp_path: Path) -> None:
    write_manifest(read_manifest(faces), faces, {"frame": "aligned", "constrained": True})
    assert "within the labels" in str(found(clean(faces, tmp_path / "c.parquet"), "disagreement").missing)


def test_too_few_faces_for_a_threshold(faces: Path, tmp_path: Path) -> None:
    write_manifest(read_manifest(faces).slice(0, 50), faces, {"frame": "aligned"})
    missing = found(clean(faces, tmp_path / "c.parquet"), "disagreement").missing
    assert missing == "fewer than 100 rows have a label and age_probs"


def test_only_the_rules_that_were_named_and_their_thresholds(faces: Path, tmp_path: Path) -> None:
    rules = read_rules(["size.least=15", "faces.most=4", "range.youngest=11"])
    cleaned = clean(faces, tmp_path / "c.parquet", rules, ["size", "faces", "range"])
    assert [rule.name for rule in cleaned.rules] == ["faces", "size", "range"]
    assert [rule.hits for rule in cleaned.rules] == [0, 0, 2]  # ages 10 and 0
    assert found(cleaned, "range").limit == "outside 11..100 years"


def test_a_killed_run_goes_on_and_gives_the_same(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (shards, step):
        monkeypatch.setattr(module, "PART_ROWS", 40)
    monkeypatch.setattr("agewise.data.crops.PART_ROWS", 40)
    whole = clean(faces, tmp_path / "whole.parquet")
    read: list[int] = []
    sharpness = step._sharpness

    def dies(images: Any, *rest: Any) -> Any:
        read.append(len(images))
        if len(read) == 3:
            raise KeyboardInterrupt
        return sharpness(images, *rest)

    monkeypatch.setattr(step, "_sharpness", dies)
    with pytest.raises(KeyboardInterrupt):
        clean(faces, tmp_path / "c.parquet")
    assert not (tmp_path / "c.parquet").exists()
    resumed = clean(faces, tmp_path / "c.parquet")
    assert read == [40, 40, 40, 40, 10]  # two parts are not done again
    assert (tmp_path / "c.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert [row for row, _ in found(resumed, "faces").examples] == [5, 6]
    assert (resumed.rules, resumed.shared, resumed.kept_examples) == (whole.rules, whole.shared, whole.kept_examples)


def test_a_finished_one_is_not_made_again_and_another_is_refused(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "c.parquet"
    once = clean(faces, target)
    monkeypatch.setattr(step, "_sharpness", None)
    assert clean(faces, target) == once
    with pytest.raises(ManifestError, match="of another manifest or other rules; delete it"):
        clean(faces, target, read_rules(["size.least=15"]))
    select(target, tmp_path / "kept.parquet", "dropped", [None])
    with pytest.raises(ManifestError, match="is a part of what agewise clean wrote"):
        clean(faces, tmp_path / "kept.parquet")


def test_the_next_step_learns_from_the_kept_rows(faces: Path, tmp_path: Path) -> None:
    clean(faces, tmp_path / "c.parquet")
    assert select(tmp_path / "c.parquet", tmp_path / "kept.parquet", "dropped", [None]).kept == COUNT - 6
    again = clean(tmp_path / "kept.parquet", tmp_path / "again.parquet", names=["size"])
    assert again.dropped == 0
    with pytest.raises(ManifestError, match="cleaned already; take the one before"):
        clean(tmp_path / "c.parquet", tmp_path / "twice.parquet")


def test_pictures_that_are_paths_are_read_and_not_lost(faces: Path, tmp_path: Path) -> None:
    table = read_manifest(faces).slice(0, 3)
    for row, image in enumerate(table["image"].to_pylist()):
        (tmp_path / f"{row}.jpg").write_bytes(image["bytes"])
    images = pa.array([{"bytes": None, "path": f"{row}.jpg"} for row in range(3)], table.schema.field("image").type)
    write_manifest(table.set_column(0, "image", images), faces, {"frame": "aligned"})
    assert found(clean(faces, tmp_path / "c.parquet"), "unreadable").hits == 0
    with pytest.raises(ManifestError, match="pictures are paths from"):
        clean(faces, tmp_path / "deep" / "c.parquet")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["size.most=3"], "no setting size.most; there are least"),
        (["blur.least=3"], "no setting blur; there are unreadable, faces"),
        (["size.least=many"], "not RULE.THRESHOLD=NUMBER"),
        (["score.least=2"], "rules: score.least: .* less than or equal to 1"),
    ],
)
def test_thresholds_that_cannot_be(overrides: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_rules(overrides)


def test_bad_input_is_one_line(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no rule 'blur'; there are unreadable, faces"):
        clean(faces, tmp_path / "c.parquet", names=["blur"])
    with pytest.raises(ManifestError, match="is the manifest that is read"):
        clean(faces, faces)
    with pytest.raises(ManifestError, match=r"no rule can be applied \(no column birth\)"):
        clean(faces, tmp_path / "c.parquet", names=["birthday"])
    with pytest.raises(ManifestError, match="not cleaned"):
        read_cleaned(faces)
    write_manifest(read_manifest(faces).slice(0, 0), faces, {"frame": "aligned"})
    with pytest.raises(ManifestError, match="no row to clean"):
        clean(faces, tmp_path / "c.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.parquet"]


def test_the_defaults_are_written_down(faces: Path, tmp_path: Path) -> None:
    clean(faces, tmp_path / "c.parquet")
    said = metadata(tmp_path / "c.parquet")
    assert said["rules"] == json.loads(Rules().model_dump_json())
