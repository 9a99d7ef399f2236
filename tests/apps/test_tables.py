"""`agewise splits` and `agewise stats` as they are called, and one line for everything that cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from agewise.apps.tables import splits, stats
from agewise.data.manifest import ManifestError, read_manifest, write_manifest

Run = Callable[..., str]


@pytest.fixture(scope="module")
def run() -> Run:
    """What a command prints; the error is raised as it is, which `agewise.apps.cli.main` makes one line of."""
    app = typer.Typer()
    for command in (splits, stats):
        app.command()(command)

    def call(*words: object) -> str:
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception:
            raise result.exception
        return result.output

    return call


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    persons = [f"p{n // 2}" for n in range(80)]
    table = pa.table({"age": [float(5 + n) for n in range(80)], "subject": persons, "sex": ["F", "M"] * 40})
    return write_manifest(table, tmp_path / "m.parquet")


def test_folds_are_written_and_their_balance_is_printed(run: Run, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.parquet"
    lines = run("splits", manifest, "--out", out, "--folds", 4, "--even").splitlines()
    assert lines[0] == f"{out}: folds, 80 faces of 40 persons in 4 parts"
    assert lines[1].split() == ["0-15", "16-25", "26-35", "36-45", "46-60", "61-100", "faces", "mean", "age"]
    table = read_manifest(out, ["age", "split"])
    age, fold = np.array(table["age"]), np.array(table["split"].to_pylist())
    for line, name in zip(lines[2:], sorted(set(fold)), strict=True):
        cells, part = line.split(), age[fold == name]
        assert (cells[0], cells[-2], cells[-1]) == (name, str(len(part)), f"{part.mean():.2f}")
        assert float(cells[1]) == round(100 * (part <= 15).mean(), 1)


def test_a_holdout_takes_named_shares(run: Run, manifest: Path, tmp_path: Path) -> None:
    shares = "learn=0.5, check=0.5"
    said = run("splits", manifest, "-o", tmp_path / "s.parquet", "--kind", "holdout", "--shares", shares, "--even")
    assert [line.split()[0] for line in said.splitlines()[2:]] == ["learn", "check"]
    assert read_manifest(tmp_path / "s.parquet")["split"].to_pylist().count("learn") == 40


def test_an_earlier_split_is_kept(run: Run, manifest: Path, tmp_path: Path) -> None:
    run("splits", manifest, "-o", tmp_path / "a.parquet", "--seed", 1)
    run("splits", manifest, "-o", tmp_path / "b.parquet", "--seed", 2, "--keep", tmp_path / "a.parquet")
    first, second = (read_manifest(tmp_path / name)["split"] for name in ("a.parquet", "b.parquet"))
    assert first == second


def test_many_parts_are_summed_up(run: Run, manifest: Path, tmp_path: Path) -> None:
    said = run("splits", manifest, "-o", tmp_path / "s.parquet", "--kind", "leave-one-out")
    assert said.splitlines()[1:] == ["faces a part: 2 at the least, 2 in the middle, 2 at the most"]


def test_official_parts_are_checked(run: Run, manifest: Path, tmp_path: Path, capsys: Any) -> None:
    run("splits", manifest, "-o", tmp_path / "s.parquet")
    assert run("splits", tmp_path / "s.parquet", "--kind", "official").splitlines()[-1] == "nobody is in two parts"
    table = pa.table({"age": [3.0, 4.0, 5.0], "subject": ["anna", "anna", "bob"], "split": ["train", "test", "test"]})
    leaky = write_manifest(table, tmp_path / "leaky.parquet")
    with pytest.raises(ValueError, match="1 of 2 persons are in more than one part"):
        splits(leaky, kind="official")
    assert "  anna is in test and train\n" in capsys.readouterr().out


def test_official_parts_of_wrong_ages_are_refused_before_anything_is_printed(
    run: Run, faces_of: Any, tmp_path: Path, capsys: Any
) -> None:
    wrong = faces_of(tmp_path / "wrong.parquet", [20, 300], subject=["a", "b"], split=["train", "test"])
    with pytest.raises(ManifestError, match="row 1: age is 300"):
        run("splits", wrong, "--kind", "official")
    assert capsys.readouterr().out == ""


def test_faces_without_a_subject_are_owned_up_to(run: Run, faces_of: Any, tmp_path: Path) -> None:
    path = faces_of(tmp_path / "m.parquet", range(0, 40, 2))
    said = run("splits", path, "-o", tmp_path / "s.parquet", "--folds", 2)
    assert "20 faces have no subject and count as a person each" in said.splitlines()[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--kind", "folds"], "folds needs --out"),
        (["--kind", "official", "-o", "x.parquet"], "official writes nothing"),
        (["--kind", "holdout", "-o", "x.parquet", "--shares", "train"], "--shares has 'train'"),
        (["--kind", "thirds", "-o", "x.parquet"], "no kind of split 'thirds'"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, manifest: Path, options: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        run("splits", manifest, *options)


def test_stats_print_the_table_the_facts_and_the_picture(run: Run, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "ages.png"
    said = run("stats", manifest, manifest, "--out", out)
    assert said.splitlines()[1].split()[-8:] == ["11", "10", "10", "10", "15", "24", "80", "0"]
    assert "80 faces: 80 with an age; mean age 44.5; 40 subjects" in said
    assert "sex: F 40, M 40" in said
    assert said.splitlines()[-1] == str(out)
    assert out.read_bytes().startswith(b"\x89PNG")


def test_stats_as_json_are_nothing_but_json(run: Run, manifest: Path, tmp_path: Path) -> None:
    said = json.loads(run("stats", manifest, "--json", "--out", tmp_path / "a.svg", "--groups", "sex"))
    assert said["manifests"][0]["groups"]["61-100"]["faces"] == 24
    assert said["manifests"][0]["counts"] == {"sex": {"F": 40, "M": 40}}
    assert (tmp_path / "a.svg").stat().st_size > 1000
