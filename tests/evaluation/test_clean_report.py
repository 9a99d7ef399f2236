"""The gallery of a cleaning: self-contained, worst first, without a face when asked; the JSON says the same."""

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
import pytest
from PIL import Image

from agewise.ages import AgeDistribution
from agewise.data.manifest import probs_column
from agewise.evaluation.clean_report import facts, figures, galleries, rule_table, tables, to_html, to_json, write_clean
from agewise.teachers.cleaning.clean import Rules, clean
from agewise.teachers.cleaning.cleaned import Cleaned


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory, faces_of: Callable[..., Path]) -> Cleaned:
    """110 faces: 30 are tiny, the smallest last; of those 2 are labelled wrongly; a birth that is markup."""
    folder = tmp_path_factory.mktemp("clean")
    true = np.linspace(20, 70, 110).round()
    label = true.copy()
    label[0], label[1] = 80.0, 95.0
    side = [28.0 - row / 2 if row < 30 else 90.0 for row in range(110)]
    faces = faces_of(
        folder / "faces.parquet",
        label,
        age_probs=probs_column(AgeDistribution.gaussian(true, np.full(110, 5.0))),
        box=pa.array([[0.0, 0.0, one, 90.0] for one in side], pa.list_(pa.float64(), 4)),
        birth=["<b>1980</b>"] + ["1980-05-05"] * 109,
    )
    return clean(faces, folder / "c.parquet")


def test_the_page_and_the_json_are_written(cleaned: Cleaned, tmp_path: Path) -> None:
    assert write_clean(cleaned, Rules(), tmp_path / "r") == [
        tmp_path / "r" / "clean.html",
        tmp_path / "r" / "clean.json",
    ]
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["clean.html", "clean.json"]


def test_the_json_is_strict_and_counts_every_row(cleaned: Cleaned) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    said = json.loads(to_json(cleaned), parse_constant=refuse)
    assert (said["step"], said["rows"], said["kept"], said["dropped"]) == ("clean", 110, 80, 30)
    of = {rule["name"]: rule for rule in said["rules"]}
    assert (of["size"]["hits"], of["size"]["alone"], of["size"]["applied"]) == (30, 28, True)
    assert (of["score"]["applied"], of["score"]["missing"]) == (False, "no column score")
    assert {"rules": ["size", "disagreement"], "rows": 2} in said["shared"]


def test_the_worst_come_first_and_not_more_than_24(cleaned: Cleaned) -> None:
    size = next(one for one in galleries(cleaned, Rules()) if one.title == "size")
    assert [card.row for card in size.cards] == list(range(29, 5, -1))
    assert size.cards[0].why == "14 pixels"
    assert size.says.endswith("The worst 24.")
    doubt = next(one for one in galleries(cleaned, Rules()) if one.title == "disagreement")
    assert [(card.label, card.also) for card in doubt.cards] == [("80", "size, birthday"), ("95", "size")]
    assert doubt.cards[0].teacher.startswith("20 (")
    assert doubt.says.endswith("All of them.")


def test_kept_rows_are_shown_too(cleaned: Cleaned) -> None:
    kept = galleries(cleaned, Rules())[-1]
    assert kept.title == "kept"
    assert len({card.row for card in kept.cards}) == 24
    assert min(card.row for card in kept.cards) >= 30
    assert {card.why for card in kept.cards} == {""}


def test_the_page_needs_nothing_and_escapes_what_it_shows(cleaned: Cleaned) -> None:
    page = to_html(cleaned, galleries(cleaned, Rules()))
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)
    assert "<b>1980" not in page
    assert "&lt;b&gt;1980" in page
    for fact in facts(cleaned):
        assert fact in page
    drawn = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert len(drawn) == sum(len(one.cards) for one in galleries(cleaned, Rules()))
    assert Image.open(io.BytesIO(base64.b64decode(drawn[0]))).size == (40, 40)
    assert "not applicable: no column score" in page


def test_no_face_is_in_a_page_without_pictures(cleaned: Cleaned, tmp_path: Path) -> None:
    page, _ = write_clean(cleaned, Rules(), tmp_path, pictures=False)
    text = page.read_text()
    assert "image/jpeg" not in text
    assert "14 pixels" in text
    assert "image/png" in text  # the confident joint


def test_tables_and_figures(cleaned: Cleaned) -> None:
    _, head, rows = rule_table(cleaned)
    of = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert of["size"]["dropped"] == "30 (27.3 %)"
    assert of["birthday"]["by it alone"] == "0"
    ((_, names, shared),) = tables(cleaned)
    counts: dict[str, Any] = {row[0]: dict(zip(names[1:], row[1:], strict=True)) for row in shared}
    assert (counts["size"]["size"], counts["size"]["disagreement"], counts["disagreement"]["size"]) == ("30", "2", "2")
    (png,) = figures(cleaned).values()
    assert Image.open(io.BytesIO(png)).format == "PNG"
