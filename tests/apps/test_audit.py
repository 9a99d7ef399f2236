"""The verb audit: exit code 1 for a leak, 0 without, 2 and one line for what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def train(tmp_path: Path, faces_of: Callable[..., Path]) -> Path:
    return faces_of(tmp_path / "train.parquet", range(20, 28), sex=["F", "M"] * 4, subject=list("abcdefgh"))


def test_a_leak_is_exit_code_one(run: Run, train: Path, tmp_path: Path, faces_of: Callable[..., Path]) -> None:
    test = faces_of(tmp_path / "test.parquet", range(20, 23), subject=["h", "i", "j"])  # the same first pictures
    code, out, err = run("audit", train, test)
    assert (code, err) == (1, "")
    assert "leak     1 subjects are in train and in test: h" in out
    assert "leak     3 pairs of pictures of train and test are the same file" in out
    assert json.loads((tmp_path / "train.audit.json").read_text())["leaks"] is True
    assert "image/jpeg" in (tmp_path / "train.audit.html").read_text()


def test_no_leak_is_exit_code_zero(run: Run, train: Path, tmp_path: Path) -> None:
    page = tmp_path / "out" / "page.html"
    code, out, err = run("audit", train, "--out", page, "--no-pictures", "--groups", "sex")
    assert (code, err) == (0, "")
    assert out.startswith("0 leaks, ")
    assert f"{page}, {page.with_suffix('.json')}" in out
    assert list(json.loads(page.with_suffix(".json").read_text())["groups"]) == ["sex"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{train}", "{train}"], "train.parquet is given twice"),
        (["{folder}/none.parquet"], "none.parquet: no such manifest"),
        (["{train}", "--out", "{folder}/page.pdf"], "page.pdf: the page of an audit is an .html file"),
        (["{train}", "--groups", "hat"], "no column hat in train.parquet"),
        (["{train}", "--similarity", "2"], "agewise: the similarity is 2.0; -1..1 is allowed"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    run: Run, train: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    code, _, err = run("audit", *(word.format(train=train, folder=tmp_path) for word in words))
    assert code == 2
    assert message in " ".join(err.replace("│", " ").split())
    assert [path.name for path in tmp_path.iterdir()] == ["train.parquet"]
