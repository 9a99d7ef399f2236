"""What manifests hold: every count against a closed form or a count by hand, and a picture that says the same."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agewise.ages import AgeDistribution
from agewise.data.manifest import IMAGE, ManifestError, probs_column, write_manifest
from agewise.evaluation.stats import GROUPS, by_group, facts, named, stats, stats_by, to_json, to_text
from agewise.evaluation.stats_figure import COLOURS, MARKERS, draw, figure


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def make(name: str = "m", **columns: Any) -> Path:
        return write_manifest(pa.table(columns), tmp_path / f"{name}.parquet")

    return make


def floats(*values: float | None) -> pa.Array:
    return pa.array(values, pa.float64())


def counted(path: Path) -> list[float]:
    return [round(faces, 6) for faces in by_group(stats(path).ages).values()]


def test_the_groups_of_the_table_cover_every_age_once() -> None:
    years = [year for low, high in GROUPS.values() for year in range(low, high + 1)]
    assert years == list(range(101))
    assert [f"{low}-{high}" for low, high in GROUPS.values()] == list(GROUPS)


def test_ages_are_rounded_with_halves_up_and_the_oldest_count_as_100(write: Any) -> None:
    path = write(age=floats(0, 15, 15.49, 15.5, 25.5, 26, 45.5, 60.4, 60.5, 100, 117))
    assert counted(path) == [3, 1, 2, 0, 2, 3]
    assert stats(path).ages[100] == 2
    assert stats(path).estimated.sum() == 0


def test_a_group_inside_one_of_the_table_is_a_count_and_a_wider_one_an_estimate(write: Any) -> None:
    path = write(age_low=floats(0, 0, 25, 60), age_high=floats(2, 15, 32, 100))
    found = stats(path)
    assert counted(path) == [2, 1 / 8, 7 / 8, 0, round(1 / 41, 6), round(40 / 41, 6)]
    assert {name: round(faces, 6) for name, faces in by_group(found.estimated).items()}["0-15"] == 0
    assert found.estimated.sum() == pytest.approx(2)
    assert found.ages[:3] == pytest.approx([1 / 3 + 1 / 16] * 3)
    assert found.mean == pytest.approx((1 + 7.5 + 28.5 + 80) / 4)


def test_a_distribution_counts_by_its_mass(write: Any) -> None:
    told = AgeDistribution([np.bincount([15, 15, 15, 16], minlength=101), np.bincount([70], minlength=101)])
    path = write(age_probs=probs_column(told))
    assert counted(path) == [0.75, 0.25, 0, 0, 0, 1]
    assert dict(stats(path).known) == {"age": 0, "group": 0, "probs": 2}
    assert stats(path).estimated.sum() == pytest.approx(2)
    assert stats(path).mean == pytest.approx((15.25 + 70) / 2)


def test_a_face_counts_by_what_is_known_best_and_once(write: Any) -> None:
    at = AgeDistribution.of_ages([80.0] * 4)
    path = write(
        age=floats(20, None, None, None),
        age_low=floats(40, 40, 40, None),
        age_high=floats(44, 44, None, None),
        age_probs=probs_column(at),
    )
    assert dict(stats(path).known) == {"age": 1, "group": 1, "probs": 2}
    assert counted(path) == [0, 1, 0, 1, 0, 2]


def test_faces_of_unknown_age_are_counted_apart(write: Any) -> None:
    found = stats(write(age=floats(3, None, None), sex=["F", None, "M"]))
    assert (found.faces, found.total, found.ages.sum(), found.mean) == (3, 1, 1, 3)
    assert to_text({"m": found}).splitlines()[1].split() == ["m", "1", "0", "0", "0", "0", "0", "1", "2"]
    empty = stats(write(sex=["F"]))
    assert (empty.faces, empty.total) == (1, 0)
    assert math.isnan(empty.mean)
    assert "1 of unknown age; no mean age" in facts(empty)[0]


def test_all_is_as_a_count_by_hand_gives(write: Any) -> None:
    rng = np.random.default_rng(0)
    age = rng.uniform(0, 100, 25_000)
    sex, subject = rng.choice(["F", "M"], 25_000), rng.integers(0, 900, 25_000).astype(str)
    path = write(age=floats(*age), sex=sex, subject=subject, age_kind=["apparent"] * 25_000)
    found = stats(path)
    whole = np.floor(age + 0.5)
    assert counted(path) == [int(((whole >= low) & (whole <= high)).sum()) for low, high in GROUPS.values()]
    assert found.mean == pytest.approx(age.mean())
    assert found.subjects == len(set(subject))
    assert found.counts["sex"] == {value: int((sex == value).sum()) for value in found.counts["sex"]}
    assert found.counts["age_kind"] == {"apparent": 25_000}


def test_values_are_counted_from_the_most_to_the_fewest_and_unknown_last(write: Any) -> None:
    path = write(
        sex=["M", "F", "F", None, None, "", None], ethnicity=["b", "a", "b", "a", "c", "c", "c"], age=[5.0] * 7
    )
    found = stats(path)
    assert list(found.counts) == ["sex", "ethnicity"]
    assert list(found.counts["sex"].items()) == [("F", 2), ("M", 1), ("unknown", 4)]
    assert list(found.counts["ethnicity"].items()) == [("c", 3), ("a", 2), ("b", 2)]
    assert stats(path, ["ethnicity", "camera"]).counts.keys() == {"ethnicity"}
    many = stats(write("many", split=[f"s{n:03d}" for n in range(300)]))
    assert facts(many)[-1].endswith("s011 1, and 288 more values")


def test_parts_of_a_manifest_are_counted_one_by_one(write: Any) -> None:
    path = write(age=floats(10, 20, 30, 40, 50), split=["10", "9", "10", None, "b"], subject=["a", "b", "a", "c", "d"])
    found = stats_by(path, "split")
    assert [(name, one.faces, one.mean, one.subjects) for name, one in found.items()] == [
        ("9", 1, 20, 1),
        ("10", 2, 20, 1),
        ("b", 1, 50, 1),
        ("unknown", 1, 40, 1),
    ]
    assert to_text(found, share=True).splitlines()[2].split("  ")[0] == "10"
    assert "50.0 %" in to_text(found, share=True).splitlines()[2]
    with pytest.raises(ManifestError, match="no column camera"):
        stats_by(path, "camera")


def test_pictures_are_never_read_and_rows_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pa.array([{"bytes": b"x", "path": None}] * 25_000, IMAGE)
    path = write_manifest(pa.table({"image": image, "age": [30.0] * 25_000}), tmp_path / "m.parquet")
    real, asked = pq.ParquetFile.iter_batches, []

    def spy(self: Any, batch_size: int = 65536, row_groups: Any = None, columns: Any = None) -> Any:
        asked.append((batch_size, len(row_groups), list(columns)))
        return real(self, batch_size, row_groups=row_groups, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    assert stats(path).total == 25_000
    assert asked == [(10_000, 1, ["age"])] * 25


def test_the_text_is_a_table_that_marks_estimates(write: Any) -> None:
    exact, wide = (
        stats(write("exact", age=floats(3, 30))),
        stats(write("wide", age_low=floats(10), age_high=floats(19))),
    )
    lines = to_text({"exact": exact, "wide": wide}).splitlines()
    assert lines[0].split() == [*GROUPS, "total", "unknown"]
    assert lines[1].split() == ["exact", "1", "0", "1", "0", "0", "0", "2", "0"]
    assert lines[2].split() == ["wide", "~1", "~0", "0", "0", "0", "0", "1", "0"]
    assert lines[3].startswith("~ an estimate")
    assert "~" not in to_text({"exact": exact})
    assert len({len(line) for line in lines[:3]}) == 1


def test_the_json_is_strict_and_says_all(write: Any) -> None:
    path = write(age=floats(3, None), subject=["a", "b"], sex=["F", "M"])
    said = json.loads(to_json({"m": stats(path)}), parse_constant=pytest.fail)
    one = said["manifests"][0]
    assert (one["name"], one["faces"], one["total"], one["unknown"], one["subjects"]) == ("m", 2, 1, 1, 2)
    assert one["groups"]["0-15"] == {"faces": 1.0, "estimated": 0.0}
    assert (one["ages"][3], sum(one["ages"]), len(one["ages"])) == (1, 1, 101)
    assert one["counts"] == {"sex": {"F": 1, "M": 1}}
    none = json.loads(to_json({"m": stats(write(sex=["F"]))}), parse_constant=pytest.fail)
    assert none["manifests"][0]["mean_age"] is None


def test_manifests_of_one_name_are_told_apart(tmp_path: Path) -> None:
    table = pa.table({"age": [3.0]})
    paths = [write_manifest(table, tmp_path / name) for name in ("a/m.parquet", "b/m.parquet", "c.parquet")]
    paths.append(paths[0])
    assert named(paths, [stats(path) for path in paths]) == ["a/m (1)", "b/m", "c", "a/m (4)"]


def test_what_is_no_manifest_is_refused_with_its_row(write: Any, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="row 10001: age is 400"):
        stats(write(age=floats(*[3.0] * 10_001, 400.0)))
    with pytest.raises(ManifestError, match="no such manifest"):
        stats(tmp_path / "none.parquet")


def test_the_picture_has_a_line_a_manifest_and_steps_for_groups(write: Any, tmp_path: Path) -> None:
    exact = stats(write("exact", age=floats(3, 30, 30, None)))
    wide = stats(write("wide", age_low=floats(10), age_high=floats(19)))
    axes = figure({"exact": exact, "wide": wide}).axes[0]
    first, second = axes.get_lines()[:2]
    assert first.get_ydata()[[3, 30, 31]] == pytest.approx([100 / 3, 200 / 3, 0])
    assert second.get_ydata()[[9, 10, 19, 20]] == pytest.approx([0, 10, 10, 0])
    assert (first.get_drawstyle(), second.get_drawstyle()) == ("default", "steps-mid")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "exact: 3 faces",
        "wide: 1 faces, age groups only",
    ]
    assert "age, years" in axes.get_xlabel()
    assert "%" in axes.get_ylabel()
    png = draw({"exact": exact, "none": stats(write(sex=["F"]))}, tmp_path / "deep" / "a.PNG")
    assert matplotlib.image.imread(png, format="png").std() > 0.05
    assert [file.name for file in png.parent.iterdir()] == ["a.PNG"]


def test_a_name_in_letters_that_the_font_lacks_is_drawn_in_silence(write: Any, tmp_path: Path) -> None:
    draw({"\u4eba": stats(write(age=floats(20)))}, tmp_path / "ages.png")  # warnings are errors here


def test_lines_of_many_manifests_differ_in_colour_or_mark(write: Any) -> None:
    one = stats(write(age=floats(3)))
    lines = figure({str(n): one for n in range(56)}).axes[0].get_lines()[:56]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 56 == len(COLOURS) * len(MARKERS)


@pytest.mark.parametrize(
    ("name", "says"), [("a.jpeg", r"\.png, \.svg, \.pdf"), ("a.svg", "no manifest has a known age")]
)
def test_what_cannot_be_drawn_is_refused(write: Any, tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        draw({"m": stats(write(sex=["F"]))}, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_real_faces_are_counted_as_pyarrow_counts_them(shared: Path) -> None:
    path = shared / "utkface-dev.parquet"
    age = pq.read_table(path, columns=["age"])["age"].to_numpy()
    edges = np.histogram(age, bins=[0, 15.5, 25.5, 35.5, 45.5, 60.5, 200])[0]
    assert counted(path) == edges.tolist()
