"""What every source promises: a valid manifest, kinds of ages, people on one side of a split, short modules."""

from __future__ import annotations

import inspect
from collections import defaultdict
from pathlib import Path

import pytest

import agewise.data.sources
from agewise.data.manifest import open_manifest
from agewise.data.sources import SOURCES
from agewise.data.sources.entry import Remark, Skipped
from agewise.data.sources.importing import COLUMNS, NUMBERS
from agewise.data.sources.tree import open_tree
from tests.data.sources.layouts import LAYOUTS, imported, written

OPTIONS = {"adience": {"test": "2"}, "folder": {}, "huggingface": {}}


def test_every_source_has_a_layout_here() -> None:
    assert sorted(LAYOUTS) == sorted(SOURCES) == list(SOURCES)


@pytest.mark.parametrize("source", SOURCES)
def test_the_manifest_is_valid_and_says_what_its_ages_are(source: str, tmp_path: Path) -> None:
    read = imported(source, written(source, tmp_path / "set"), tmp_path / "m.parquet", **OPTIONS.get(source, {}))
    assert {"image", "age", "age_kind", "source"} <= set(open_manifest(tmp_path / "m.parquet").schema_arrow.names)
    assert len(read.rows) + len(read.reasons) >= 3
    for row in read.rows:
        known = row["age"] is not None or row.get("age_low") is not None
        assert row["age_kind"] in ({"real", "apparent", "group", "estimated"} if known else {None})
        assert (row["age_kind"] == "group") == (row.get("age_low") is not None)
        assert row["source"] == source
        assert row.get("split") in {None, "train", "valid", "test"}
        assert row.get("sex") in {None, "F", "M"}
        assert row.get("subject") != ""


@pytest.mark.parametrize("source", SOURCES)
def test_nobody_is_on_two_sides_of_a_split(source: str, tmp_path: Path) -> None:
    read = imported(source, written(source, tmp_path / "set"), tmp_path / "m.parquet", **OPTIONS.get(source, {}))
    sides = defaultdict(set)
    for row in read.rows:
        if row.get("subject") is not None:
            sides[row["subject"].casefold()].add(row.get("split"))
    assert {person: parts for person, parts in sides.items() if len(parts) > 1} == {}


@pytest.mark.parametrize("source", SOURCES)
def test_all_rows_of_a_source_have_the_same_columns(source: str, tmp_path: Path) -> None:
    with open_tree(written(source, tmp_path / "set")) as tree:
        entries = list(SOURCES[source](tree))
    rows = [entry for entry in entries if not isinstance(entry, Skipped | Remark)]
    assert len({frozenset(row) for row in rows}) == 1
    assert all(isinstance(entry, dict | Skipped | Remark) for entry in entries)


@pytest.mark.parametrize("source", SOURCES)
def test_an_empty_root_says_what_was_looked_for(source: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there") as caught, open_tree(tmp_path) as tree:
        list(SOURCES[source](tree))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_source_is_one_short_module() -> None:
    folder = Path(agewise.data.sources.__file__).parent
    for source, read in SOURCES.items():
        assert Path(inspect.getfile(read)) == folder / f"{source}.py"
        assert len((folder / f"{source}.py").read_text().splitlines()) <= 120
    assert not set(NUMBERS) & set(COLUMNS)


def test_every_source_has_a_page() -> None:
    pages = Path(__file__).parents[3] / "docs" / "sources"
    assert {page.stem for page in pages.glob("*.md")} == set(SOURCES)
    assert all(f"# {name}\n" in (pages / f"{name}.md").read_text() for name in SOURCES)
