"""The verb clean: counts as text and JSON, a gallery, the kept rows by `select`, and one line for what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agewise.data.manifest import read_manifest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def faces(tmp_path: Path, faces_of: Callable[..., Path]) -> Path:
    return faces_of(tmp_path / "faces.parquet", [0, 30, 40, 110], score=[0.9, 0.9, 0.2, 0.3])


def test_rules_are_counted_and_kept_rows_selected(run: Run, faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.parquet"
    code, said, err = run("clean", faces, "--out", out, "--report", tmp_path / "r", "--threads", 1)
    assert (code, err) == (0, "")
    lines = said.splitlines()
    assert lines[0] == "4 rows: 1 kept, 3 (75.0 %) dropped, 1 of them by several rules"
    assert any(line.split()[:4] == ["range", "2", "(50.0", "%)"] for line in lines)
    assert "  birthday     not applicable: no column birth" in lines
    assert lines[-1] == f"{out}, {tmp_path}/r/clean.html, {tmp_path}/r/clean.json"
    assert read_manifest(out)["dropped"].to_pylist() == ["range", None, "score", "score;range"]
    code, said, _ = run("select", out, "dropped=", "--out", tmp_path / "kept.parquet")
    assert (code, said) == (0, f"{tmp_path}/kept.parquet: 1 of 4 rows, dropped=\n")
    assert read_manifest(tmp_path / "kept.parquet")["age"].to_pylist() == [30.0]


def test_thresholds_and_json(run: Run, faces: Path, tmp_path: Path) -> None:
    words = ["--rules", "range,score", "--set", "range.oldest=120", "--set", "score.least=0.25", "--json"]
    code, said, err = run("clean", faces, "--out", tmp_path / "c.parquet", *words)
    assert (code, err) == (0, "")
    found = json.loads(said)
    assert {rule["name"]: rule["hits"] for rule in found["rules"]} == {"score": 1, "range": 1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rules", "blur"], "no rule 'blur'; there are unreadable, faces, score"),
        (["--set", "score.most=1"], "rules: no setting score.most; there are least"),
        (["--set", "score"], "score: not RULE.THRESHOLD=NUMBER"),
        (["--rules", "dates"], "no rule can be applied (no column birth and photo_year)"),
    ],
)
def test_what_cannot_be_is_one_line(run: Run, faces: Path, tmp_path: Path, words: list[str], message: str) -> None:
    code, _, err = run("clean", faces, "--out", tmp_path / "c.parquet", *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_damaged_manifest_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    code, _, err = run("clean", tmp_path / "x.parquet", "--out", tmp_path / "c.parquet")
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--rules", "score", "--set", "range.oldest=90"], "--set range.oldest=90: the rule range is not applied"),
        (["--set", "range.oldest=0.5"], "youngest is 1 and oldest 0.5: nobody is of that age"),
        (["--set", "faces.least=3"], "least is 3 and most 1: no photo has so many faces"),
    ],
)
def test_thresholds_that_make_no_sense(run: Run, faces: Path, tmp_path: Path, words: list[str], line: str) -> None:
    code, _, err = run("clean", faces, "--out", tmp_path / "c.parquet", *words)
    assert code == 2
    assert line in err
    assert not (tmp_path / "c.parquet").exists()
