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
from agewise.evaluation.groups import (
    BANDS,
    Estimate,
    Faces,
    age_values,
    bands_of,
    gap,
    group_names,
    group_values,
    score,
    score_by,
)
from agewise.evaluation.report.curves import curves_of_ages, curves_of_groups
from agewise.evaluation.report.summary import summary
from agewise.evaluation.report.values import METRICS, Report
from agewise.evaluation.report.worst_faces import worst_faces
from agewise.evaluation.report.write import sections, tables, to_html, to_json, to_markdown, write_report

COUNT = 120


def dropped() -> np.ndarray:
    return np.array(["the file is empty"] * 2 + [""] * (COUNT - 2))


def made(values: dict[str, np.ndarray], labels: str, bands: np.ndarray, order: list[str], true: np.ndarray) -> Report:
    scored = dropped() == ""
    ages = AgeDistribution.gaussian(np.linspace(3, 70, COUNT), 6.0)[scored]
    unit, off = np.arange(scored.sum()), values["mae" if labels == "age" else "excess"][scored]
    if labels == "age":
        curves = curves_of_ages(values["bias"][scored], ages, ages.interval(), true[scored], unit, 50)
    else:
        curves = curves_of_groups(off, ages, unit, 50)
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
        protocol="lap, SHA-256 12ab",
        resampled="faces",
        overall=score("all", faces, 50),
        bands=score_by(bands, faces, 50, order),
        groups={"sex": by_sex},
        gaps={"sex": gap(by_sex, sex, faces, labels, 50)},
        absent=("ethnicity",),
        pred=np.linspace(3, 70, COUNT)[scored],
        true=true[scored],
        band=bands[scored],
        curves=curves,
        worst=worst_faces(np.flatnonzero(scored), bands[scored].tolist(), ages.mean, ages.interval(), off),
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


@pytest.fixture(scope="module")
def pages(of_ages: Report, of_groups: Report) -> dict[str, str]:
    return {report.labels: to_html(report) for report in (of_ages, of_groups)}


@pytest.fixture
def page(pages: dict[str, str], report: Report) -> str:
    return pages[report.labels]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure takes a tenth of a second."""
    monkeypatch.setattr("agewise.evaluation.report.write.error_pictures", lambda _report: [])
    monkeypatch.setattr("agewise.evaluation.report.write.calibration_pictures", lambda _report: [])


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
    broken = {**of_ages.overall.metrics, "nll": replace(of_ages.overall.metrics["nll"], value=float("nan"))}
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(replace(of_ages, overall=replace(of_ages.overall, metrics=MappingProxyType(broken))))


def test_json_holds_the_curves(report) -> None:
    said = json.loads(to_json(report), parse_constant=pytest.fail)
    share = report.curves.cumulative.share
    assert said["curves"]["cumulative"]["share"] == share.tolist()
    assert said["curves"]["risk"]["kept"][0] == {"share": 1.0, "error": pytest.approx(main(report).value)}
    assert said["protocol"] == "lap, SHA-256 12ab"
    assert said["summary"] == summary(report)
    assert [one["off"] for one in said["worst"]] == sorted((one["off"] for one in said["worst"]), reverse=True)
    assert said["robustness"] is None
    if report.labels == "age":
        assert said["curves"]["agreement"]["bias"]["value"] == pytest.approx(report.overall.metrics["bias"].value)
        nine_tenths = said["curves"]["reliability"]["levels"][2]
        assert nine_tenths["stated"] == 0.9
        assert nine_tenths["coverage"]["value"] == report.overall.metrics["coverage"].value
        assert sum(said["curves"]["by_year"]["faces"]) == sum(said["curves"]["reliability"]["pit"]) == COUNT - 2
        assert None in said["curves"]["by_year"]["mae"]  # of a year without a face
        assert share[5] == report.overall.metrics["cs5"].value
    else:
        assert {said["curves"][name] for name in ("agreement", "reliability", "by_year")} == {None}
        assert share[0] <= report.overall.metrics["exact_group"].value + 1e-9


def main(report: Report) -> Estimate:
    return report.overall.metrics["mae" if report.labels == "age" else "excess"]


def test_markdown_tables_are_whole(report) -> None:
    text = to_markdown(report)
    for said in ("tiny", "wild.parquet", "ab" * 32, "118 faces scored, 2 dropped: the file is empty (2)", "95%"):
        assert said in text
    assert "The manifest has no column ethnicity" in text
    assert "- Protocol: lap, SHA-256 12ab" in text
    assert "nan" not in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == (9 if report.labels == "age" else 7)
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
        assert len(widths) == 1, table
    first = report.overall.metrics[next(iter(report.overall.metrics))]
    assert f"{first.value:.2f} [{first.interval[0]:.2f}, {first.interval[1]:.2f}]" in text


def test_the_summary_says_in_words_what_the_tables_say(report) -> None:
    text = " ".join(summary(report))
    assert text in to_markdown(report)
    assert "tiny was scored on 118 faces of wild.parquet; 2 were dropped." in text
    low, high = main(report).interval
    assert f"{main(report).value:.2f} years (95 % interval {low:.2f} to {high:.2f})" in text
    gap = report.gaps["sex"]
    assert f"By sex the error is largest for {gap.worst}, " in text
    assert f"a gap of {gap.difference.value:.2f} years" in text
    off_by = "off by " if report.labels == "age" else ""
    assert f"most certain of it is {off_by}{report.curves.risk.kept[0.5]:.2f} years" in text


def test_the_cumulative_table_has_all_21_years(of_ages) -> None:
    (rows,) = [rows for title, _, rows in tables(of_ages) if title == "Cumulative score"]
    pairs = {int(row[k]): row[k + 1] for row in rows for k in (0, 2, 4)}
    assert sorted(pairs) == list(range(21))
    assert [len(row) for row in rows] == [6] * 7
    for k, text in pairs.items():
        assert text.startswith(f"{100 * of_ages.curves.cumulative.share[k]:.1f} % ["), k


def test_a_share_is_shown_in_percent(of_ages) -> None:
    share = of_ages.overall.metrics["coverage"].value
    assert f"| coverage | {100 * share:.1f} % [" in to_markdown(of_ages)


def test_every_metric_can_be_shown(of_ages, of_groups) -> None:
    assert {*of_ages.overall.metrics, *of_groups.overall.metrics} == set(METRICS)


def test_html_is_escaped_and_loads_nothing(page) -> None:
    assert "&lt;M&gt;" in page
    assert "<M>" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:image/png;base64,)", page)
    assert "<script" not in page
    assert "118 faces scored, 2 dropped" in page


def test_html_holds_its_figures(report, page) -> None:
    encoded = re.findall(r"width=\"(\d+)\" src=\"data:image/png;base64,([^\"]+)", page)
    assert len(encoded) == (12 if report.labels == "age" else 6)
    for width, text in encoded:
        picture = Image.open(io.BytesIO(base64.b64decode(text))).convert("L")
        assert picture.width == 2 * int(width)  # two pixels for each of the page's
        assert np.asarray(picture).std() > 5  # not a white page
    alts = re.findall(r"<img alt=\"([^\"]*)\"", page)
    assert len(alts) == len(encoded)
    assert min(map(len, alts)) > 40


def test_every_table_scrolls_in_its_own_box(page) -> None:
    assert page.count("<table") == page.count('<div class="wide" tabindex="0"') > 5
    assert "@media print" in page


@pytest.mark.usefixtures("undrawn")
def test_the_page_shows_every_table(report) -> None:
    shown = [table[0] for section in sections(report) for table in section.tables]
    assert sorted(shown) == sorted(table[0] for table in tables(report))


@pytest.mark.usefixtures("undrawn")
def test_faces_are_shown_only_when_given(report, page) -> None:
    assert "data:image/jpeg" not in page
    row = report.worst[0].row
    shown = to_html(report, {row: b"jpeg file"})
    (encoded,) = re.findall(r"data:image/jpeg;base64,([^\"]+)", shown)
    assert base64.b64decode(encoded) == b"jpeg file"
    assert shown.count("no picture") == len(report.worst) - 1
    assert f"known {report.worst[0].known}<br>predicted {report.worst[0].pred:.1f}<br>" in shown


def test_a_score_without_interval_has_none(of_ages) -> None:
    alone = replace(of_ages.overall.metrics["mae"], interval=None)
    report = replace(of_ages, overall=replace(of_ages.overall, metrics={**of_ages.overall.metrics, "mae": alone}))
    assert json.loads(to_json(report))["overall"]["metrics"]["mae"]["interval"] is None
    assert f"| MAE | {alone.value:.2f} | 118 |" in to_markdown(report)


@pytest.mark.usefixtures("undrawn")
def test_the_three_files_are_written_whole(of_ages, tmp_path) -> None:
    folder = tmp_path / "deep" / "report"
    paths = write_report(of_ages, folder)
    assert [path.name for path in paths] == ["report.json", "report.md", "report.html"]
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json", "report.md"]
    assert paths[0].read_text(encoding="utf-8") == to_json(of_ages)


@pytest.mark.usefixtures("undrawn")
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
