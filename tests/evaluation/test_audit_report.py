"""An audit's page and JSON say the same, need nothing beside themselves, and show no face when asked not to."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from agewise.data.audit.audit import Audit, audit, find_audit
from agewise.data.manifest import IMAGE, fingerprint, write_manifest
from agewise.evaluation.audit_report import chosen, facts, figures, tables, thumbnails, to_html, to_json, write_audit
from agewise.faces.image import encode_jpeg, read_photo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two manifests with a picture on both sides, one twice on a side with another age, and names that are markup."""
    folder = tmp_path_factory.mktemp("audit")
    rng = np.random.default_rng(0)
    clouds = [cv2.resize(rng.normal(128, 60, (11, 11, 3)), (160, 120)).clip(0, 255).astype(np.uint8) for _ in range(20)]
    images = [encode_jpeg(one) for one in clouds]

    def write(name: str, some: list[bytes], **columns: object) -> None:
        image = pa.array([{"bytes": data, "path": None} for data in some], IMAGE)
        write_manifest(pa.table({"image": image, **columns}), folder / f"{name}.parquet")

    again = encode_jpeg(read_photo(images[5]).pixels, 60)
    ages = [*np.arange(20.0, 32.0), 55.0]
    write("train", [*images[:12], again], age=ages, sex=["<M>", "F|x"] * 6 + ["<M>"])
    low = np.full(9, 20.0)
    write("test", [*images[12:], images[3]], age_low=low, age_high=low + 9, sex=["F|x"] * 9)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Audit:
    return audit([folder / "train.parquet", folder / "test.parquet"])


def test_the_page_and_the_json_are_written_and_found_again(found: Audit, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "deep" / "x.audit.html"
    assert write_audit(found, page) == [page, tmp_path / "deep" / "x.audit.json"]
    assert sorted(path.name for path in page.parent.iterdir()) == ["x.audit.html", "x.audit.json"]
    beside = folder / "beside.html"
    write_audit(found, beside)
    assert find_audit(folder / "train.parquet") == beside.with_suffix(".json")
    assert find_audit(folder / "test.parquet") == beside.with_suffix(".json")


def test_the_json_is_strict_and_whole(found: Audit, folder: Path) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    said = json.loads(to_json(found), parse_constant=refuse)
    assert (said["step"], said["schema"], said["leaks"]) == ("audit", 1, True)
    assert said["manifests"][0]["sha256"] == fingerprint(folder / "train.parquet")
    assert said["sides"] == {"train": 13, "test": 9}
    assert said["pairs"]["count"] == len(said["pairs"]["listed"]) == 2
    across, within = said["pairs"]["listed"]
    assert across["a"] == [str(folder / "train.parquet"), 3]
    assert across["b"] == [str(folder / "test.parquet"), 8]
    assert (across["how"], across["sides"], across["differs"]) == ("file", ["train", "test"], [])
    assert (within["how"], within["differs"]) == ("near", ["age", "sex"])
    assert [finding["message"] for finding in said["findings"]] == [finding.message for finding in found.findings]
    assert said["findings"][0]["severity"] == "leak"
    assert sum(said["ages"]["train"]) == 13
    assert said["age_groups"] == {"test": {"20-29": 9}}
    assert said["groups"]["sex"] == {"<M>": {"train": 7, "test": 0}, "F|x": {"train": 6, "test": 9}}
    assert said["shared"][0] == {"side": "train", "with": "test", "rows": 1, "of": 13}


def test_the_page_needs_nothing_and_escapes_names(found: Audit) -> None:
    shown = chosen(found, 60)
    page = to_html(found, shown, thumbnails(found.rows, [row for pair in shown for row in (pair.a, pair.b)]))
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)
    assert "<M>" not in page
    assert "&lt;M&gt;" in page
    assert "Leak: something stands on both sides" in page
    assert all(finding.message in page.replace("&#39;", "'") for finding in found.findings)
    for fact in facts(found):
        assert fact in page


def test_each_pair_is_shown_with_its_pictures(found: Audit) -> None:
    shown = chosen(found, 60)
    small = thumbnails(found.rows, [row for pair in shown for row in (pair.a, pair.b)])
    page = to_html(found, shown, small)
    drawn = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert len(drawn) == 4
    assert all(Image.open(io.BytesIO(base64.b64decode(one))).size == (112, 84) for one in drawn)
    assert page.count('class="pair leak"') == 1
    assert "2 of 2 pairs" in page
    assert "unequal age, sex" in page


def test_pairs_across_sides_come_first_and_no_more_than_asked(found: Audit) -> None:
    assert [pair.how for pair in chosen(found, 60)] == ["file", "near"]
    assert [pair.how for pair in chosen(found, 1)] == ["file"]
    assert "1 of 2 pairs" in to_html(found, chosen(found, 1))


def test_no_face_is_in_a_page_without_pictures(found: Audit, tmp_path: Path) -> None:
    page, _ = write_audit(found, tmp_path / "a.html", pictures=False)
    text = page.read_text()
    assert "image/jpeg" not in text
    assert "image/png" in text  # the figures
    assert text.count('class="pair') == 3  # the list and two pairs


def test_figures_are_pictures_of_ages_and_of_groups(found: Audit) -> None:
    drawn = figures(found)
    assert list(drawn) == ["Ages", "Age groups"]
    for png in drawn.values():
        assert Image.open(io.BytesIO(png)).size[0] == 2200  # 1100 of the page


def test_tables_count_every_row(found: Audit) -> None:
    of = {title: rows for title, _, rows in tables(found)}
    assert of["Pictures on two sides"] == [["train", "test", "1", "7.69 %"], ["test", "train", "1", "11.11 %"]]
    assert of["By age group"] == [["20-29", "0 (0.0 %)", "9 (100.0 %)"]]
    assert of["By sex"] == [["<M>", "7 (53.8 %)", "0 (0.0 %)"], ["F|x", "6 (46.2 %)", "9 (100.0 %)"]]


def test_a_clean_audit_says_so(folder: Path) -> None:
    clean = audit([folder / "test.parquet"])
    page = to_html(clean)
    assert "No leak was found." in page
    assert "Pairs of the same picture" not in page
    assert json.loads(to_json(clean))["leaks"] is False


def test_a_page_is_html_and_shows_no_negative_number_of_pairs(found: Audit, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.json: the page of an audit is an \.html file"):
        write_audit(found, tmp_path / "a.json")
    with pytest.raises(ValueError, match="-1 pairs to show; at least 0 is allowed"):
        write_audit(found, tmp_path / "a.html", most=-1)
    assert list(tmp_path.iterdir()) == []
