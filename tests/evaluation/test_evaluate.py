"""Manifest -> file of predictions -> scores: every row once, whatever happens on the way, and equal to plain NumPy."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from agewise import metrics
from agewise.ages import AgeDistribution
from agewise.data.audit.audit import audit, find_audit
from agewise.data.manifest import IMAGE, ManifestError, distributions, metadata, numbers, read_manifest, write_manifest
from agewise.evaluation.audit_report import write_audit
from agewise.evaluation.evaluate import evaluate
from agewise.evaluation.groups import FEWEST_FACES
from agewise.evaluation.predictions import predict_manifest
from agewise.evaluation.report.write import facts
from agewise.faces.image import encode_jpeg


def shade(crops: NDArray[np.uint8]) -> AgeDistribution:
    """The fake model: a grey crop of value v is v years old, +- 4."""
    return AgeDistribution.gaussian(crops[:, 4, 4, 0].astype(float), 4.0)


class Killed:
    """The fake model, whose process is killed at its n-th call."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return shade(crops)


def picture(value: float, side: int = 8) -> dict[str, Any]:
    return {"bytes": encode_jpeg(np.full((side, side, 3), value, np.uint8)), "path": None}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def manifest(shades: list[float], images: dict[int, Any] | None = None, **columns: Any) -> Path:
        pictures = [picture(value) for value in shades]
        for row, image in (images or {}).items():
            pictures[row] = image
        table = pa.table({"image": pa.array(pictures, IMAGE), **columns})
        return write_manifest(table, tmp_path / "faces.parquet")

    return manifest


@pytest.fixture
def predict(tmp_path: Path) -> Callable[..., Path]:
    def run(manifest: Path, predictor: Any = shade, **options: Any) -> Path:
        return predict_manifest(predictor, manifest, tmp_path / "out" / "p.parquet", **{"name": "fake", **options})

    return run


def labelled(count: int) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {
        "age": np.clip(np.arange(count) % 75 + rng.normal(0, 5, count), 0, 95).round(1),
        "sex": [["F", "M", None][row % 3] for row in range(count)],
        "subject": [f"s{row // 2}" for row in range(count)],
    }


def shades(count: int) -> list[float]:
    return [float(row % 75) for row in range(count)]


def test_one_row_a_face_with_all_columns_but_the_image(write, predict) -> None:
    probs = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(5 * 101, np.float32)), 101)
    manifest = write([20, 30, 40, 50, 60], age=[21, 30, None, 50, 66], camera=[1, 2, 3, 4, 5], age_probs=probs)
    table = read_manifest(predict(manifest, batch=2))
    assert table.column_names == ["age", "camera", "row", "age_probs", "mean", "std", "low", "high", "error"]
    assert table["row"].to_pylist() == [0, 1, 2, 3, 4]
    assert table["camera"].to_pylist() == [1, 2, 3, 4, 5]
    assert table["mean"].to_pylist() == pytest.approx([20, 30, 40, 50, 60], abs=1e-3)
    assert table["error"].to_pylist() == [None] * 5
    wanted = AgeDistribution.gaussian([20.0, 30, 40, 50, 60], 4.0)
    np.testing.assert_allclose(distributions(table).probs, wanted.probs, atol=1e-6)
    np.testing.assert_allclose(
        np.column_stack([numbers(table, "low"), numbers(table, "high")]), wanted.interval(), atol=1e-6
    )


def test_metadata_names_the_model_and_the_manifest(write, predict) -> None:
    said = metadata(predict(write([20], age=[20.0])))
    assert (said["step"], said["name"], said["manifest"]) == ("predict", "fake", "faces.parquet")
    assert len(said["content"]) == 64


def test_an_unreadable_image_is_a_row_with_its_reason(write, predict, tmp_path) -> None:
    (tmp_path / "whole.jpg").write_bytes(picture(33)["bytes"])
    images = {
        1: {"bytes": b"no image", "path": "x.jpg"},
        2: {"bytes": None, "path": "absent.jpg"},
        3: None,
        4: {"bytes": None, "path": "whole.jpg"},
    }
    path = predict(write([20] * 6, images, age=[20.0] * 6), batch=3)
    rows = pq.read_table(path).to_pylist()
    assert [row["mean"] is None for row in rows] == [False, True, True, True, False, False]
    assert "not an image" in rows[1]["error"]
    assert "cannot be opened" in rows[2]["error"]
    assert rows[3]["error"] == "no image in the row"
    assert rows[4]["mean"] == pytest.approx(33, abs=1e-3)  # a path is relative to the manifest
    assert all(rows[1][name] is None for name in ("age_probs", "std", "low", "high"))
    overall = evaluate(path, resamples=10).overall
    assert overall.n == 3
    assert sum(overall.dropped.values()) == 3
    assert overall.dropped["no image in the row"] == 1


def test_one_crop_of_another_size_does_not_drop_the_others(write, predict) -> None:
    small = io.BytesIO()
    Image.new("RGB", (1, 1)).save(small, "PNG")
    path = predict(write([20] * 5, {0: {"bytes": small.getvalue(), "path": None}}, age=[20.0] * 5), batch=5)
    errors = pq.read_table(path)["error"].to_pylist()
    assert errors[1:] == [None] * 4
    assert errors[0].startswith("the crop has 1 pixels a side, most have ")


def test_a_batch_in_which_nothing_can_be_read_is_not_predicted(write, predict) -> None:
    def never(_crops: NDArray[np.uint8]) -> AgeDistribution:
        raise AssertionError("asked without a crop")

    path = predict(write([20] * 4, dict.fromkeys(range(4)), age=[20.0] * 4), never, batch=2)
    with pytest.raises(ManifestError, match="none of the 4 faces can be scored: no image in the row"):
        evaluate(path)


@pytest.mark.parametrize("calls", [0, 1, 5, 9])
def test_a_kill_costs_no_row_and_repeats_none(write, predict, monkeypatch, calls) -> None:
    monkeypatch.setattr("agewise.evaluation.predictions.PART_ROWS", 8)
    manifest = write(shades(38), {9: None}, **labelled(38))
    whole = pq.read_table(predict(manifest, batch=3))
    (predict(manifest, batch=3)).unlink()
    with pytest.raises(KeyboardInterrupt):
        predict(manifest, Killed(calls), batch=3)
    asked = []

    def second(crops: NDArray[np.uint8]) -> AgeDistribution:
        asked.append(len(crops))
        return shade(crops)

    path = predict(manifest, second, batch=3)
    resumed = pq.read_table(path)
    assert resumed["row"].to_pylist() == list(range(38))
    assert resumed.equals(whole)
    assert sum(asked) == 37 - max(0, 8 * (calls // 3) - (calls >= 6))  # complete parts are not predicted again
    assert [file.name for file in path.parent.iterdir()] == ["p.parquet"]


def test_another_model_does_not_finish_what_one_began(write, predict, monkeypatch) -> None:
    monkeypatch.setattr("agewise.evaluation.predictions.PART_ROWS", 2)
    manifest = write([20] * 6, age=[20.0] * 6)
    with pytest.raises(KeyboardInterrupt):
        predict(manifest, Killed(1), batch=2)
    with pytest.raises(ManifestError, match="another name"):
        predict(manifest, name="other")
    write([21] * 6, age=[20.0] * 6)
    with pytest.raises(ManifestError, match="another content"):
        predict(manifest)


def test_progress_ends_at_the_number_of_rows(write, predict) -> None:
    told: list[tuple[int, int]] = []
    predict(write([20] * 7, age=[20.0] * 7), batch=3, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (7, 7)
    assert told == sorted(told)


@pytest.mark.parametrize(
    ("predictor", "said"),
    [
        (lambda crops: shade(crops[:-1]), "gives 2 faces for 3 crops"),
        (lambda crops: AgeDistribution(np.full((len(crops), 101), np.nan)), "must be finite"),
        (lambda crops: crops.mean(axis=(1, 2)), "gives a ndarray for 3 crops"),
    ],
    ids=["too few", "nan", "no distribution"],
)
def test_a_wrong_predictor_is_one_clear_line(write, predict, predictor, said) -> None:
    with pytest.raises(ValueError, match=rf"rows 0\.\.2.*{said}") as error:
        predict(write([20] * 4, age=[20.0] * 4), predictor, batch=3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"sex": ["F", "M"]}, "no row has a known age"),
        ({"age": pa.nulls(2, pa.float64())}, "no row has a known age"),
        ({"age_low": [20.0, 30.0]}, "no row has a known age"),
        ({"age": [20.0, 200.0]}, "row 1: age is 200"),
        ({"age": [20.0, 30.0], "mean": [1.0, 2.0]}, "column mean would be overwritten"),
    ],
    ids=["no label", "only nulls", "half a group", "no person's age", "clash"],
)
def test_a_manifest_that_cannot_be_scored_is_refused_before_any_prediction(write, predict, columns, said) -> None:
    with pytest.raises(ManifestError, match=said):
        predict(write([20, 30], **columns), Killed(0))


def test_other_refusals(write, predict, tmp_path) -> None:
    manifest = write([20, 30], age=[20.0, 30.0])
    with pytest.raises(ManifestError, match="no such manifest"):
        predict(tmp_path / "absent.parquet")
    with pytest.raises(ValueError, match="batch is 0"):
        predict(manifest, batch=0)
    with pytest.raises(ManifestError, match="not a file of predictions"):
        evaluate(manifest)
    many = predict(write([20] * 101, age=[20.0] * 101, name=[f"n{row}" for row in range(101)]))
    with pytest.raises(ManifestError, match="column name has 101 values"):
        evaluate(many, ["name"])


def test_scores_of_ages_equal_the_metrics(write, predict) -> None:
    manifest = write(shades(150), {10: None}, **labelled(150))
    report = evaluate(predict(manifest), ["sex"], resamples=50)
    true = np.delete(read_manifest(manifest)["age"].to_numpy(), 10)
    pred = np.delete(np.array(shades(150)), 10)
    ages = AgeDistribution.gaussian(pred, 4.0)
    centre = ages.mean  # near 0 a Gaussian that ends at 0 has a higher mean than its peak
    wanted = {
        "mae": metrics.mae(centre, true),
        "rmse": metrics.rmse(centre, true),
        "cs5": metrics.cumulative_score(centre, true, 5),
        "bias": metrics.bias(centre, true),
        "crps": metrics.crps(ages, true),
        "nll": metrics.nll(ages, true),
        "coverage": metrics.coverage(ages.interval(), true),
        "width": float(np.diff(ages.interval()).mean()),
    }
    assert {key: one.value for key, one in report.overall.metrics.items()} == pytest.approx(wanted, abs=1e-4)
    assert report.overall.n == 149
    assert report.overall.dropped == {"no image in the row": 1}
    assert report.labels == "age"
    assert report.resampled == "subjects"
    for one in report.overall.metrics.values():
        assert one.interval[0] <= one.value <= one.interval[1]


@pytest.mark.parametrize("rule", ["mean", "median", "mode"])
def test_the_decision_rule_says_which_age_is_scored(write, predict, rule) -> None:
    path = predict(write(shades(20), **labelled(20)))
    ages = distributions(read_manifest(path))
    report = evaluate(path, decision=rule, resamples=20)
    assert report.decision == rule
    assert report.pred == pytest.approx(getattr(ages, rule), abs=1e-6)
    assert np.abs(ages.mean - ages.median).max() > 0.1  # near 0, where half of the distribution is cut off


def test_an_unknown_decision_rule_is_refused(write, predict) -> None:
    with pytest.raises(ValueError, match="no decision rule 'best'; there are mean, median, mode"):
        evaluate(predict(write(shades(20), **labelled(20))), decision="best")


def test_an_audit_is_named_and_mixed_kinds_of_age_are_said(write, predict, tmp_path) -> None:
    kinds = ["real"] * 12 + ["apparent"] * 8
    path = predict(write(shades(20), age_kind=kinds, **labelled(20)))
    twin = write_manifest(read_manifest(tmp_path / "faces.parquet"), tmp_path / "train.parquet")
    (_, found) = write_audit(audit([twin, tmp_path / "faces.parquet"]), tmp_path / "a.audit.html", pictures=False)
    assert find_audit(tmp_path / "faces.parquet") == found
    report = evaluate(path, audit=found, resamples=20)
    assert report.audit.startswith("Audit a.audit.json of train.parquet, faces.parquet: 10 subjects are in train")
    assert "20 pairs of pictures of train and faces are the same file" in report.audit
    assert report.kinds == {"real": 12, "apparent": 8}
    assert "Kinds of age: 12 real, 8 apparent. These are different questions, mixed in one score" in facts(report)
    assert evaluate(path, resamples=20).audit.startswith("No audit of this manifest was found")


def test_bands_and_groups_divide_the_faces(write, predict) -> None:
    manifest = write(shades(150), {10: None, 11: None}, **labelled(150))
    report = evaluate(predict(manifest), ["sex", "ethnicity"], resamples=20)
    assert [score.name for score in report.bands] == [
        "0-3", "4-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+",
    ]  # fmt: skip
    assert [score.name for score in report.groups["sex"]] == ["F", "M", "unknown"]
    assert report.absent == ("ethnicity",)
    for scores in (report.bands, report.groups["sex"]):
        assert sum(score.n for score in scores) == 148
        assert sum(sum(score.dropped.values()) for score in scores) == 2
        mean = sum(score.n * score.metrics["mae"].value for score in scores) / 148
        assert mean == pytest.approx(report.overall.metrics["mae"].value)
    young = report.true < 4
    assert report.bands[0].n == young.sum()
    assert report.bands[0].metrics["mae"].value == pytest.approx(metrics.mae(report.pred[young], report.true[young]))
    assert (report.band[young] == "0-3").all()


def test_the_gap_is_between_the_best_and_the_worst_large_group(write, predict) -> None:
    size = FEWEST_FACES
    sex = ["F"] * size + ["M"] * size + ["X"] * 5 + [None] * size
    wrong = [2.0] * size + [7.0] * size + [30.0] * 5 + [40.0] * size
    ages = [50.0 + by for by in wrong]
    gap = evaluate(predict(write([50] * len(ages), age=ages, sex=sex)), ["sex"], resamples=100).gaps["sex"]
    assert (gap.metric, gap.best, gap.worst, gap.difference.n) == ("mae", "F", "M", 2 * size)
    assert gap.difference.value == pytest.approx(5.0, abs=1e-3)
    assert gap.difference.interval == pytest.approx((5.0, 5.0), abs=1e-3)


def test_group_labels_are_scored_as_groups_only(write, predict) -> None:
    low, high = [0, 20, 20, 20, 70, None], [2, 29, 29, 29, 90, None]
    manifest = write([1, 25, 29, 33, 66, 50], age_low=low, age_high=high)
    report = evaluate(predict(manifest), resamples=20)
    assert set(report.overall.metrics) == {"excess", "exact_group"}
    assert report.labels == "group"
    assert report.overall.n == 5
    assert report.overall.dropped == {"no age known": 1}
    assert [score.name for score in report.bands] == ["0-2", "20-29", "70-90", "unknown"]
    assert report.bands[1].metrics["excess"].value == pytest.approx((0 + 0 + 3) / 3, abs=1e-2)
    assert report.bands[1].metrics["exact_group"].value == pytest.approx(2 / 3)
    assert report.bands[2].metrics["excess"].value == pytest.approx(4, abs=1e-2)
    assert report.bands[2].metrics["excess"].interval is None  # one face


def test_faces_with_only_a_group_are_dropped_among_exact_ages(write, predict) -> None:
    manifest = write([20, 30, 40], age=[20.0, None, None], age_low=[20, 30, None], age_high=[29, 39, None])
    overall = evaluate(predict(manifest), resamples=5).overall
    assert overall.n == 1
    assert overall.dropped == {"only an age group known": 1, "no age known": 1}


def test_epsilon_error_counts_the_faces_whose_spread_is_known(write, predict) -> None:
    manifest = write([30, 30, 30], age=[33.0, 30.0, 40.0], age_std=[3.0, 2.0, None])
    found = evaluate(predict(manifest), resamples=5).overall.metrics
    assert found["epsilon_error"].value == pytest.approx((1 - np.exp(-0.5)) / 2, abs=1e-5)
    assert found["epsilon_error"].n == 2
    assert found["mae"].n == 3


def test_intervals_draw_faces_where_no_subject_is_known(write, predict) -> None:
    manifest = write([30] * 4, age=[33.0, 30.0, 40.0, 20.0], subject=pa.nulls(4, pa.string()))
    report = evaluate(predict(manifest), resamples=5)
    assert report.resampled == "faces"
    assert report.overall.metrics["mae"].interval is not None


def test_two_subjects_give_no_interval_however_many_faces(write, predict) -> None:
    manifest = write([30] * 6, age=[33.0, 30.0, 40.0] * 2, subject=["a", "a", "a", "b", "b", "b"])
    report = evaluate(predict(manifest), resamples=5)
    assert {one.interval for one in report.overall.metrics.values()} == {None}
