"""Cells of label files: encodings, tables, numbers, groups, sexes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agewise.data.sources.labels import cells, group, lines, number, records, sex
from agewise.data.sources.tree import SourceError, Tree, open_tree


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    with open_tree(tmp_path) as opened:
        yield opened


TEXT = "name,age\nPenélope,30\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_every_usual_encoding_is_read(encoding: str, tmp_path: Path, tree: Tree) -> None:
    (tmp_path / "a.csv").write_bytes(TEXT.encode(encoding))
    assert list(records(tree, "a.csv", ["name"])) == [{"name": "Penélope", "age": "30"}]


def test_one_latin_letter_far_down_makes_a_file_latin(tmp_path: Path, tree: Tree) -> None:
    (tmp_path / "a.txt").write_bytes(b"x\n" * 100_000 + "é\n".encode("latin-1"))
    assert list(lines(tree, "a.txt"))[-1] == "é\n"


def test_tables_lose_blanks_empty_lines_and_carriage_returns(tmp_path: Path, tree: Tree) -> None:
    (tmp_path / "a.csv").write_bytes(b'a, b ,"c, d"\r\n\r\n , ,\r\n1,2\r\n')
    assert list(cells(tree, "a.csv")) == [["a", "b", "c, d"], ["1", "2"]]
    assert list(records(tree, "a.csv", [])) == [{"a": "1", "b": "2", "c, d": ""}]


def test_a_missing_column_is_named_and_an_empty_file_has_nothing(tmp_path: Path, tree: Tree) -> None:
    (tmp_path / "a.csv").write_bytes(b"")
    with pytest.raises(SourceError, match=r"a.csv has no column age; its first line is: nothing"):
        list(records(tree, "a.csv", ["age"]))
    (tmp_path / "a.csv").write_bytes(b'"' + b"x" * (2 << 20))
    with pytest.raises(SourceError, match=r"a.csv: not a table \(field larger"):
        list(cells(tree, "a.csv"))


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (" 31 ", 31.0),
        ("31.5", 31.5),
        ("31,5", 31.5),
        ("-3", -3.0),
        (7, 7.0),
        ("", None),
        ("NaN", None),
        (None, None),
        ("?", None),
    ],
)
def test_numbers(cell: object, value: float | None) -> None:
    assert number(cell) == value


@pytest.mark.parametrize("cell", ["old", "3 years", "1,2,3", "0x10"])
def test_other_text_is_no_number(cell: str) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        number(cell)


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("0-2", (0, 2)),
        ("(25, 32)", (25, 32)),
        ("60 to 100", (60, 100)),
        ("50\u201359", (50, 59)),
        ("more than 70", (70, 100)),
        ("70+", (70, 100)),
        (">=65", (65, 100)),
        ("03-Sep", (3, 9)),
        ("9-Mar", (3, 9)),
        ("Oct-19", (10, 19)),
        ("19-Oct", (10, 19)),
        ("06-Apr", (4, 6)),
        ("8-Dec", (8, 12)),
        ("2024-03-09 00:00:00", (3, 9)),
        ("31", None),
        ("19-Foo", None),
        ("adult", None),
        ("", None),
    ],
)
def test_groups_also_those_a_spreadsheet_took_for_dates(text: str, bounds: tuple[float, float] | None) -> None:
    assert group(text) == bounds


def test_sexes() -> None:
    assert [sex(text) for text in ("Male", "f", " woman ", "u", "", None)] == ["M", "F", "F", None, None, None]
