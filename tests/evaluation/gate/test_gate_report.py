"""The report of a gate says the same in JSON, Markdown and HTML, says what it cannot say, and needs nothing else."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from agewise.ages import AgeDistribution
from agewise.data.manifest import probs_column, write_manifest
from agewise.evaluation.gate.gate import gate
from agewise.evaluation.gate.report import to_html, to_json, to_markdown
from agewise.evaluation.gate.report import write_gate as write_report
from agewise.evaluation.gate.rule import Rule
from agewise.evaluation.gate.tables import facts, missing, near_name, tables, titles
from agewise.evaluation.gate.values import GateReport

Make = Callable[..., GateReport]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The report of made-up predictions; keywords are columns of the manifest."""

    def report(guess: Any, rule: Rule | None = None, groups: Any = ("sex", "ethnicity"), **columns: Any) -> GateReport:
        ages = AgeDistribution.gaussian(np.clip(guess, 0, 100), 4.0)
        low, high = ages.interval().T
        table = {
            **columns,
            "row": range(len(ages)),
            "age_probs": probs_column(ages),
            "mean": ages.mean,
            "std": ages.std,
        }
        said = {"step": "predict", "name": "tiny <1>", "manifest": "wild.parquet", "content": "ab" * 32}
        errors = pa.array([None] * len(ages), pa.string())
        path = tmp_path_factory.mktemp("gate") / "predictions.parquet"
        write_manifest(pa.table({**table, "low": low, "high": high, "error": errors}), path, said)
        return gate(path, rule, groups, resamples=50)

    return report


@pytest.fixture(scope="module")
def of_ages(make: Make) -> GateReport:
    rng = np.random.default_rng(1)
    true = np.concatenate([np.repeat(np.arange(5, 45), 12), [15.0] * 20])
    sexes = np.array((["F|x", "<M>"] * 250)[: len(true)])
    return make(true + rng.normal(0, 5, len(true)), age=true.astype(float), sex=sexes, age_kind=["real"] * len(true))


@pytest.fixture(scope="module")
def of_groups(make: Make) -> GateReport:
    low = np.random.default_rng(0).choice([0.0, 10.0, 20.0, 60.0], 120)
    return make(low + 5, age_low=low, age_high=low + 9, sex=["F", "M"] * 60)


@pytest.fixture(params=["of_ages", "of_groups"])
def report(request: pytest.FixtureRequest) -> GateReport:
    return request.getfixturevalue(request.param)


def test_json_holds_every_rate(report) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    said = json.loads(to_json(report), parse_constant=refuse)
    assert said["step"] == "gate"
    assert said["manifest"] == {"name": "wild.parquet", "sha256": "ab" * 32}
    assert said["rule"] == {"threshold": 18, "buffer": 25, "alpha": 0.05, "budget": 0.2, "decision": "mean"}
    for key, one in report.overall.rates.items():
        wanted = {"value": one.value, "interval": one.interval and list(one.interval), "n": one.n}
        assert said["overall"]["rates"][key] == wanted
    assert [point["age"] for point in said["challenge"]] == list(range(18, 34))
    assert len(said["budgets"]) == len(report.budgets)
    assert [one["name"] for one in said["bands"]] == [one.name for one in report.bands]
    assert len(said["groups"]["sex"]) == 2
    assert {gap["rate"] for gap in said["gaps"]["sex"]} == {gap.rate for gap in report.gaps["sex"]}
    assert said["absent"] == ["ethnicity"]


def test_every_rate_has_a_title(of_ages) -> None:
    assert titles(Rule()).keys() == of_ages.overall.rates.keys()


def test_markdown_tables_are_whole(report) -> None:
    text = to_markdown(report)
    assert "nan" not in text.lower()
    assert "None" not in text
    found = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(found) == len(list(tables(report)))
    for table in found:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1, table
    rate = report.overall.rates["tpr"]
    low, high = rate.interval
    assert f"| {100 * rate.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}] | {rate.n} |" in text


def test_html_is_escaped_and_loads_nothing(report) -> None:
    page = to_html(report)
    assert "tiny &lt;1&gt;" in page
    assert "<1>" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:image/png;base64,)", page)
    assert "<script" not in page
    for encoded in (pictures := re.findall(r"data:image/png;base64,([^\"]+)", page)):
        picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("L")
        assert picture.width > 500
        assert np.asarray(picture).std() > 5  # not a white page
    assert len(pictures) == 2


def test_facts_of_ages(of_ages) -> None:
    said = "\n".join(facts(of_ages))
    assert f"{of_ages.overall.n} faces scored, 0 dropped" in said
    assert "All ages are real" in said
    assert "exact (Clopper and Pearson 1934), each face taken as another person's" in said
    assert f"with an alpha of {of_ages.budget_alpha:.4g}, which was chosen on these faces" in said
    assert "The manifest has no column ethnicity" in said
    assert missing(of_ages) == ["No cell of NIST's MAE has 5 faces of known sex (column sex) and age"]


def test_facts_of_groups(of_groups) -> None:
    said = "\n".join(facts(of_groups))
    count = of_groups.straddling
    assert count > 0
    assert f"of 120 faces only the age group is known; {count} have a group on both sides of 18" in said
    assert "The manifest does not say whether its ages are real" in said
    assert "No face is known to be 14-17" in said
    assert len(missing(of_groups)) == 5


def test_what_is_missing_without_minors_or_adults(make) -> None:
    old = make([30.0] * 4, age=[40.0] * 4)
    assert "No face is known to be below 18: no false positives can be counted" in missing(old)
    young = make([30.0] * 4, age=[4.0] * 4)
    assert "No face is known to be 18 or older: no true positives, no referrals, no budgets" in missing(young)
    for report in (old, young):
        assert "data:image/png" in to_html(report)
        json.loads(to_json(report))


def test_kinds_that_are_no_legal_age_are_said(make) -> None:
    report = make([30.0] * 4, age=[40.0] * 4, age_kind=["apparent", "real", "real", None])
    assert any("Kinds of age: apparent (1), real (2); a law means the real age" in fact for fact in facts(report))


def test_subjects_are_said(make) -> None:
    report = make([30.0] * 8, age=[40.0] * 8, subject=list("aabbccdd"))
    assert any("percentile bootstrap with subjects resampled" in fact for fact in facts(report))


def test_a_group_of_few_faces_is_marked(make) -> None:
    sexes = ["F"] * 40 + ["M"] * 2
    report = make([30.0] * 42, age=[40.0] * 42, sex=sexes)
    (table,) = [rows for title, _, rows in tables(report) if title == "Estimates by sex"]
    assert table[0][2] == "100.0 % [91.2, 100.0] of 40"
    assert table[1][2] == "100.0 % of 2 *"


def test_nist_error_is_in_the_first_table(make) -> None:
    true = np.repeat(np.arange(18.0, 31.0), 10)
    report = make(true + 3, age=true, sex=["F"] * 130)
    _, _, rows = next(tables(report))
    assert rows[-1][0] == "NIST MAE"
    assert rows[-1][1].startswith("3.00 [")
    assert "13 of the 26 cells" in rows[-1][3]


@pytest.mark.parametrize(("threshold", "name"), [(18, "14-17"), (1, "0"), (2, "0-1"), (21, "17-20")])
def test_the_hardest_minors_of_a_threshold(threshold: int, name: str) -> None:
    assert near_name(Rule(threshold)) == name


def test_the_three_files_are_written_whole(of_ages, tmp_path) -> None:
    paths = write_report(of_ages, tmp_path / "deep")
    assert [path.name for path in paths] == ["gate.json", "gate.md", "gate.html"]
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["gate.html", "gate.json", "gate.md"]
    assert paths[1].read_text(encoding="utf-8") == to_markdown(of_ages)


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
