"""A report says the same in JSON, Markdown and HTML, is strict JSON, and needs nothing beside itself."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from agewise.ages import AgeDistribution
from agewise.evaluation.evaluate import Report
from agewise.evaluation.groups import (
    BANDS,
    Faces,
    age_values,
    bands_of,
    gap,
    group_names,
    group_values,
    score,
    score_by,
)
from agewise.evaluation.report import METRICS, to_html, to_json, to_markdown, write_report

COUNT = 120


def dropped() -> np.ndarray:
    return np.array(["the file is empty"] * 2 + [""] * (COUNT - 2))


def made(values: dict[str, np.ndarray], labels: str, bands: np.ndarray, order: list[str], true: np.ndarray) -> Report:
    scored = dropped() == ""
    for found in values.values():
        found[~scored] = np.nan
    faces = Faces(values, dropped(), np.arange(COUNT))
    sex = np.array(["F|x", "<M>"] * (COUNT // 2))
    by_sex = score_by(sex, faces, 50)
    return Report(
        model="tiny",
        manifest="wild.parquet",
        sha256="ab" * 32,
        predictions="p.parquet",
        labels=labels,
        decision="mean",
        audit="No audit",
        kinds={"real": 60, "apparent": 58},
        resampled="faces",
        overall=score("all", faces, 50),
        bands=score_by(bands, faces, 50, order),
        groups={"sex": by_sex},
        gaps={"sex": gap(by_sex, sex, faces, labels, 50)},
        absent=("ethnicity",),
        pred=np.linspace(3, 70, COUNT)[scored],
        true=true[scored],
        band=bands[scored],
    )


@pytest.fixture(scope="module")
def of_ages() -> Report:
    true = np.random.default_rng(0).uniform(0, 80, COUNT)
    ages = AgeDistribution.gaussian(np.linspace(3, 70, COUNT), 6.0)
    values = age_values(ages.mean, ages.interval(), ages, true, np.full(COUNT, 4.0))
    return made(values, "age", bands_of(true), list(BANDS), true)


@pytest.fixture(scope="module")
def of_groups() -> Report:
    low = np.random.default_rng(0).choice([0.0, 20.0, 60.0], COUNT)
    values = group_values(np.linspace(3, 70, COUNT), low, low + 9)
    return made(values, "group", group_names(low, low + 9), ["0-9", "20-29", "60-69"], np.full(COUNT, np.nan))


@pytest.fixture(params=["of_ages", "of_groups"])
def report(request: pytest.FixtureRequest) -> Report:
    return request.getfixturevalue(request.param)


def test_json_holds_every_score(report) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    said = json.loads(to_json(report), parse_constant=refuse)
    assert said["model"] == "tiny"
    assert said["manifest"] == {"name": "wild.parquet", "sha256": "ab" * 32}
    assert said["overall"]["n"] == COUNT - 2
    assert said["overall"]["dropped"] == {"the file is empty": 2}
    for key, one in report.overall.metrics.items():
        assert said["overall"]["metrics"][key] == {
            "value": one.value,
            "interval": list(one.interval),
            "n": COUNT - 2,
        }
    assert [band["name"] for band in said["bands"]] == [band.name for band in report.bands]
    assert {group["name"] for group in said["groups"]["sex"]} == {"F|x", "<M>"}
    assert said["gaps"]["sex"]["value"] == report.gaps["sex"].difference.value
    assert said["absent"] == ["ethnicity"]


def test_json_refuses_a_number_that_is_none(of_ages) -> None:
    broken = {"mae": replace(of_ages.overall.metrics["mae"], value=float("nan"))}
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(replace(of_ages, overall=replace(of_ages.overall, metrics=MappingProxyType(broken))))


def test_markdown_tables_are_whole(report) -> None:
    text = to_markdown(report)
    for said in ("tiny", "wild.parquet", "ab" * 32, "118 faces scored, 2 dropped: the file is empty (2)", "95%"):
        assert said in text
    assert "The manifest has no column ethnicity" in text
    assert "nan" not in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
        assert len(widths) == 1, table
    first = report.overall.metrics[next(iter(report.overall.metrics))]
    assert f"{first.value:.2f} [{first.interval[0]:.2f}, {first.interval[1]:.2f}]" in text


def test_a_share_is_shown_in_percent(of_ages) -> None:
    share = of_ages.overall.metrics["coverage"].value
    assert f"| coverage | {100 * share:.1f} % [" in to_markdown(of_ages)


def test_every_metric_can_be_shown(of_ages, of_groups) -> None:
    assert {*of_ages.overall.metrics, *of_groups.overall.metrics} == set(METRICS)


def test_html_is_escaped_and_loads_nothing(report) -> None:
    page = to_html(report)
    assert "&lt;M&gt;" in page
    assert "<M>" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:image/png;base64,)", page)
    assert "<script" not in page
    assert "118 faces scored, 2 dropped" in page


def test_html_holds_two_figures(report) -> None:
    encoded = re.findall(r"data:image/png;base64,([^\"]+)", to_html(report))
    assert len(encoded) == 2
    for text in encoded:
        picture = Image.open(io.BytesIO(base64.b64decode(text))).convert("L")
        assert picture.width > 500
        assert np.asarray(picture).std() > 5  # not a white page


def test_a_score_without_interval_has_none(of_ages) -> None:
    alone = replace(of_ages.overall.metrics["mae"], interval=None)
    report = replace(of_ages, overall=replace(of_ages.overall, metrics={"mae": alone}))
    assert json.loads(to_json(report))["overall"]["metrics"]["mae"]["interval"] is None
    assert f"| MAE | {alone.value:.2f} | 118 |" in to_markdown(report)


def test_the_three_files_are_written_whole(of_ages, tmp_path) -> None:
    folder = tmp_path / "deep" / "report"
    paths = write_report(of_ages, folder)
    assert [path.name for path in paths] == ["report.json", "report.md", "report.html"]
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json", "report.md"]
    assert paths[0].read_text(encoding="utf-8") == to_json(of_ages)


def test_a_failed_write_leaves_the_earlier_report(of_ages, tmp_path, monkeypatch) -> None:
    (path, *_) = write_report(of_ages, tmp_path)
    before = path.read_bytes()

    def full(self: Path, text: str, encoding: str) -> None:
        self.write_bytes(text.encode(encoding)[:10])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_report(replace(of_ages, model="other"), tmp_path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3
