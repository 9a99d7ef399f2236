"""Reports of hardly anything: one face, one age, no spread, a group of two, no answer; each says so and none fails."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from agewise.ages import AgeDistribution
from agewise.data.manifest import ManifestError, described, metadata
from agewise.evaluation.evaluate import evaluate
from agewise.evaluation.predictions import predict_manifest
from agewise.evaluation.report.summary import summary
from agewise.evaluation.report.values import Report
from agewise.evaluation.report.write import facts, to_html, to_json, to_markdown, write_report
from agewise.evaluation.robustness.cells import predict_cells
from agewise.evaluation.robustness.scores import robustness_of


def shade(crops: NDArray[np.uint8]) -> AgeDistribution:
    """The fake model: the brighter, the older."""
    return AgeDistribution.gaussian((crops.mean((1, 2, 3)) - 40) / 2, 4.0)


def sure(crops: NDArray[np.uint8]) -> AgeDistribution:
    """A model that is always certain."""
    return AgeDistribution.of_ages(((crops.mean((1, 2, 3)) - 40) / 2).round())


@pytest.fixture
def report(tmp_path: Path, faces_of: Any) -> Callable[..., Report]:
    def made(ages: Any, predictor: Any = shade, **columns: Any) -> Report:
        manifest = faces_of(tmp_path / "faces.parquet", ages, **columns)
        path = predict_manifest(predictor, manifest, tmp_path / "p.parquet", name="fake")
        return evaluate(path, ["sex"], resamples=20)

    return made


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure takes a tenth of a second."""
    monkeypatch.setattr("agewise.evaluation.report.write.error_pictures", lambda _report: [])
    monkeypatch.setattr("agewise.evaluation.report.write.calibration_pictures", lambda _report: [])


def checked(found: Report) -> tuple[str, str]:
    """The Markdown and the page; the JSON is strict."""
    said = json.loads(to_json(found), parse_constant=pytest.fail)
    assert said["overall"]["n"] == found.overall.n
    text, page = to_markdown(found), to_html(found)
    assert not re.search(r"\bnan\b", text + re.sub(r"base64,[^\"]+", "", page))
    return text, page


def test_one_face(report) -> None:
    text, _ = checked(report([30.0], sex=["F"]))
    assert "fake was scored on 1 face of faces.parquet; none were dropped." in text
    assert "No interval is given for fewer than 3 faces: all faces (1), age 30-39 (1), sex F (1)" in text
    assert "By age nothing is compared: 0 of its groups have the 30 faces that it takes, two are needed." in text
    assert "[" not in text.split("## Stated and found coverage")[1].split("##")[0]


def test_a_group_of_two_has_no_interval_and_is_named(report) -> None:
    found = report([20.0 + row for row in range(12)], sex=["F"] * 10 + ["M"] * 2)
    assert [one.metrics["mae"].interval is None for one in found.groups["sex"]] == [False, True]
    (line,) = [line for line in facts(found) if line.startswith("No interval")]
    assert line == "No interval is given for fewer than 3 faces: age 30-39 (2), sex M (2)"


def test_all_of_one_age(report) -> None:
    text, page = checked(report([40.0] * 8, sex=["F", "M"] * 4))
    assert "| 40-49 | 8 |" in text
    assert "Their correlation" not in page


def test_a_model_that_is_certain(report) -> None:
    found = report([20.0, 30.0, 40.0, 50.0], sure)
    checked(found)
    widths = [one.width.value for one in found.curves.reliability.levels]
    assert widths == pytest.approx([0.5, 0.8, 0.9, 0.95])  # of its one year
    assert found.curves.risk.coverage.tolist() == [1.0]


def test_annotators_who_agree_have_a_spread_of_0(report) -> None:
    found = report([20.0, 30.0, 40.0, 50.0], sure, age_std=[0.0, 0.0, 2.0, None])
    assert found.overall.metrics["epsilon_error"].n == 3
    checked(found)


@pytest.mark.usefixtures("undrawn")
def test_predictions_without_a_fault_have_no_worst_faces(report) -> None:
    exact = report([20.0, 30.0], lambda _crops: AgeDistribution.of_ages([20.0, 30.0]))
    assert exact.worst == ()
    assert "No prediction is off." in to_html(exact)


def test_a_single_age_group(report) -> None:
    text, page = checked(report([1.0] * 4, age=None, age_low=[20.0] * 4, age_high=[29.0] * 4))
    assert "outside the known age group" in text
    assert "Only age groups are known: whether intervals hold cannot be said." in page


def test_no_labels_are_one_line(report) -> None:
    with pytest.raises(ManifestError, match=r"no row has a known age \(column age, or age_low and age_high\)"):
        report([1.0] * 4, age=None)


def test_a_model_that_returns_nan_is_one_line(report) -> None:
    with pytest.raises(ValueError, match=r"rows 0\.\.2: .* age probabilities must be finite") as error:
        report([20.0, 30.0, 40.0], lambda crops: AgeDistribution(np.full((len(crops), 101), np.nan)))
    assert "\n" not in str(error.value)


def test_predictions_of_nan_in_a_file_are_one_line(report, tmp_path) -> None:
    report([20.0, 30.0, 40.0])
    path = tmp_path / "p.parquet"
    table, said = pq.read_table(path), metadata(path)
    means = pa.array([20.0, float("nan"), 40.0])
    place = table.column_names.index("mean")
    pq.write_table(described(table.set_column(place, "mean", means), said), path)
    with pytest.raises(ValueError, match="pred of face 1 is nan; a finite number is needed"):
        evaluate(path)


def test_odd_names_of_groups_are_drawn(report) -> None:
    names = ["$x^$", "日本", "<i>", "a" * 60]
    found = report([20.0, 30.0, 40.0, 50.0], sex=names)
    page = to_html(found)
    assert "<i>" not in page
    assert "&lt;i&gt;" in page


@pytest.mark.usefixtures("undrawn")
def test_pictures_come_from_the_manifest_that_was_predicted(report, tmp_path, faces_of) -> None:
    ages = [20.0, 70.0, 30.0, 40.0]
    found = report(ages, lambda _crops: AgeDistribution.gaussian([20.0, 20.0, 31.0, 43.0], 3.0))
    manifest = tmp_path / "faces.parquet"
    *_, page = write_report(found, tmp_path / "r", manifest=manifest)
    text = page.read_text(encoding="utf-8")
    first = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)[0]
    with Image.open(io.BytesIO(base64.b64decode(first))) as shown:
        assert np.asarray(shown).mean() == pytest.approx(40 + 1.6 * 70, abs=4)  # the worst face is the one of 70
    assert "known 70<br>predicted 20.0<br>15 to 25 (90%)<br>row 1<" in text
    *_, page = write_report(found, tmp_path / "r")
    assert "image/jpeg" not in page.read_text(encoding="utf-8")
    other = faces_of(tmp_path / "other.parquet", [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(ManifestError, match="not the file that was predicted"):
        write_report(found, tmp_path / "r", manifest=other)


@pytest.mark.usefixtures("undrawn")
def test_corruptions_of_the_same_model_and_manifest_are_in_the_report(report, tmp_path) -> None:
    found = report([20.0, 30.0, 40.0, 50.0])
    walk = {"kinds": ["contrast_minus"], "severities": [2, 5]}
    predict_cells(lambda: shade, tmp_path / "faces.parquet", tmp_path / "cells", name="fake", **walk)
    predict_cells(lambda: shade, tmp_path / "faces.parquet", tmp_path / "other", name="else", **walk)
    cells = robustness_of(tmp_path / "cells", found.model, found.sha256, resamples=10)
    said = json.loads(to_json(found, cells))["robustness"]
    assert set(said["cells"]["contrast_minus"]) == {"2", "5"}
    assert "## Corruptions: Kinds, mean over severities" in to_markdown(found, cells)
    page = to_html(found, robustness=cells)
    assert page.count("Corruptions: mae") == 2  # the title of the picture and its alternative text
    with pytest.raises(ManifestError, match=r"of else on faces\.parquet, SHA-256 .*; what is reported is fake on"):
        robustness_of(tmp_path / "other", found.model, found.sha256)
    with pytest.raises(ManifestError, match="no such manifest"):
        robustness_of(tmp_path / "none", found.model, found.sha256)


def test_small_groups_are_left_out_of_the_comparison_and_counted(report) -> None:
    ages = [25.0] * 31 + [35.0] * 31 + [60.0] * 2
    text = " ".join(summary(report(ages)))
    assert re.search(r"By age the error is largest for .*, without 1 group of fewer than 30 faces\.", text)
    assert "60-69" not in text
