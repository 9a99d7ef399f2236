"""The verb evaluate: every kind of protocol from the command line, corruptions beside a score, and one-line errors."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agewise.apps.cli import main
from agewise.apps.entrants import Word, words_of
from agewise.data.manifest import metadata
from agewise.evaluation.protocols.settings import FOLDER

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs `agewise evaluate` in an empty folder, and gives back its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["agewise", "evaluate", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out, err

    return call


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]) -> Path:
    """Two models, and five of folds, which are one of them under other names."""
    folder = tmp_path_factory.mktemp("evaluated")
    for name, scale in {
        "a": 0.02,
        "b": 0.05,
        **dict.fromkeys(("fold-0", "fold-1", "fold-2", "fold-3", "fold-4"), 0.02),
    }.items():
        shutil.copy(tiny_model(32, scale=scale), folder / f"{name}.onnx")
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory, faces_of: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("manifests")
    ages = range(5, 75, 7)
    faces_of(folder / "faces.parquet", ages, sex=["F", "M"] * 5)
    faces_of(folder / "lap.parquet", ages, age_std=[3.0] * 10, split=["train", "valid", "valid", "test", "test"] * 2)
    faces_of(folder / "folds.parquet", ages, fold=[row % 5 for row in range(10)])
    faces_of(folder / "persons.parquet", ages, split=["ann", "bo"] * 5, subject=["ann", "bo"] * 5)
    faces_of(folder / "two.parquet", [20, 60])
    return folder


def told(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "protocol.json").read_text()))


def test_one_model_by_the_name_of_a_protocol(run: Run, models: Path, sets: Path, tmp_path: Path) -> None:
    words = (models / "a.onnx", sets / "faces.parquet", "--protocol", "lfw-plus")
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert "published: SENet, VMAGE" in out
    assert "5.58" in out
    folder = tmp_path / "reports" / "lfw-plus-a-faces"
    assert {path.name for path in folder.iterdir()} == {
        "protocol.json", "protocol.md", "protocol.html", "lfw-plus-a-faces-all.parquet",
    }  # fmt: skip
    said = told(folder)
    assert said["manifests"]["faces"]["rows"] == 10  # type: ignore[index]  # read from JSON
    assert len(said["manifests"]["faces"]["sha256"]) == len(said["sha256"]) == 64  # type: ignore[index,arg-type]
    predictions = folder / "lfw-plus-a-faces-all.parquet"
    before = predictions.stat().st_mtime_ns
    assert run(*words) == (0, out, "")
    assert predictions.stat().st_mtime_ns == before
    assert metadata(predictions)["name"].startswith("tiny ")
    code, out, _ = run(*words, "--json")
    assert json.loads(out) == said
    assert "<table" in (folder / "protocol.html").read_text()


def test_a_model_that_changed_is_asked_again(run: Run, models: Path, sets: Path, tmp_path: Path) -> None:
    words = ("--model", f"m={tmp_path / 'm.onnx'}", sets / "faces.parquet", "--protocol", "lfw-plus", "-o", "out")
    shutil.copy(models / "a.onnx", tmp_path / "m.onnx")
    assert run(*words)[0] == 0
    first = told(tmp_path / "out")
    shutil.copy(models / "b.onnx", tmp_path / "m.onnx")
    assert run(*words)[0] == 0
    assert told(tmp_path / "out")["models"] != first["models"]
    assert told(tmp_path / "out")["results"] != first["results"]


def test_a_holdout_chooses_among_models(run: Run, models: Path, sets: Path) -> None:
    code, out, err = run(
        "--protocol", "lap-2016", "--model", f"a={models}/a.onnx", "--model", f"b={models}/b.onnx",
        "--manifest", f"lap={sets}/lap.parquet",
    )  # fmt: skip
    assert (code, err) == (0, "")
    parts = [line.split()[:3] for line in out.splitlines() if line.split()[1:2] == ["lap"]]
    assert parts[:2] == [["a", "lap", "valid"], ["b", "lap", "valid"]]
    assert parts[2][2] == "test"
    assert len(parts) == 3
    assert "0.3033" in out


def test_folds_by_a_pattern_or_by_name(run: Run, models: Path, sets: Path) -> None:
    by_pattern = run(models / "fold-{fold}.onnx", sets / "folds.parquet", "--protocol", "adience", "-o", "p", "--json")
    named = [word for fold in range(5) for word in ("--model", f"{fold}={models}/fold-{fold}.onnx")]
    by_name = run("--protocol", "adience", *named, sets / "folds.parquet", "-o", "n", "--json")
    assert by_pattern[0] == by_name[0] == 0
    one, other = json.loads(by_pattern[1]), json.loads(by_name[1])
    assert one == other
    assert [result["part"] for result in one["results"]] == ["0", "1", "2", "3", "4"]
    assert set(one["folds"]["mean"]) == {"top1", "one_off"}
    persons = run(models / "a.onnx", sets / "persons.parquet", "--protocol", "leave-one-person-out")
    assert persons[0] == 0
    assert "One model, a, for all folds: it must have seen none of their faces" in persons[1]


def test_a_matrix_of_models_and_manifests(run: Run, models: Path, sets: Path) -> None:
    code, out, _ = run(
        "--protocol", "cross-dataset", "--model", models / "a.onnx", "--model", models / "b.onnx",
        "--manifest", sets / "faces.parquet", "--manifest", f"lap={sets}/lap.parquet", "--json",
    )  # fmt: skip
    assert code == 0
    pairs = [(one["model"], one["manifest"]) for one in json.loads(out)["results"]]
    assert sorted(pairs) == [("a", "faces"), ("a", "lap"), ("b", "faces"), ("b", "lap")]


def test_corrupted_faces_by_a_protocol_and_beside_a_score(run: Run, models: Path, sets: Path, tmp_path: Path) -> None:
    code, out, err = run(models / "a.onnx", sets / "two.parquet", "--protocol", "lfw-plus-c", "-o", "c")
    assert (code, err) == (0, "")
    assert "published: teacher, all 13" in out
    assert len(list((tmp_path / "c" / "lfw-plus-c-a" / "cells").glob("*.parquet"))) == 66
    code, out, err = run(models / "a.onnx", sets / "faces.parquet", "--corruptions", "--limit", 2, "-o", "r")
    assert (code, err) == (0, "")
    assert "corrupted: mae of 2 faces, years: clean" in out
    assert (tmp_path / "r" / "robustness" / "robustness.json").exists()


def test_a_protocol_of_ones_own(run: Run, models: Path, sets: Path, tmp_path: Path) -> None:
    text = (FOLDER / "lfw-plus.toml").read_text().replace('metrics = ["mae", "bias"]', 'metrics = ["bias"]')
    (tmp_path / "mine.toml").write_text(text)
    for number, name in enumerate(("lfw-plus", "mine.toml")):
        assert run(models / "a.onnx", sets / "faces.parquet", "--protocol", name, "-o", f"{number}")[0] == 0
    one, other = (told(tmp_path / name) for name in "01")
    assert one["sha256"] != other["sha256"]
    assert set(other["results"][0]["metrics"]) == {"bias"}  # type: ignore[index]  # read from JSON


def test_the_papers_tables_from_the_command_line(run: Run, models: Path, sets: Path, tmp_path: Path) -> None:
    words = (
        "--protocol", "paper-tables", "--manifest", f"lfw-plus={sets}/faces.parquet",
        "--manifest", f"adience={sets}/folds.parquet", "--manifest", f"mine={sets}/lap.parquet",
        "--model", f"senet-vmage={models}/a.onnx", "--model", f"senet-vmage@adience={models}/fold-{{fold}}.onnx",
        "--model", f"mn3-small-vmage={models}/b.onnx", "--out", "tables",
    )  # fmt: skip
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert "No data given: VMAGE, IMDB-Wiki, LAP 2016, LFW+C" in out
    assert "hold" in next(line for line in out.splitlines() if "on LFW+: SENet and VGG, MN3-Large" in line)
    assert "2 of 5 models given" in out
    assert run(*words) == (0, out, "")
    said = json.loads((tmp_path / "tables" / "paper-tables.json").read_text())
    assert {one["table"] for one in said["tables"]} == {"Table 1", "Table 3", "Table 4", "Table 5", "Table 6"}
    earlier = run(*words[:4], "--model", f"mine={tmp_path}/tables/lfw-plus-SENet-VMAGE-lfw-plus-all.parquet", "--json")
    cells = json.loads(earlier[1])["tables"][1]["cells"]
    (own,) = [one for one in cells if one["row"][0] == "also measured: mine" and one["here"].get("value")]
    (same,) = [one for one in said["tables"][1]["cells"] if (one["row"], one["column"]) == (["SENet", "VMAGE"], "LFW+")]
    assert own["here"] == same["here"]


BAD: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "evaluate needs a MODEL and a MANIFEST"),
    "no manifest": (["a.onnx"], "evaluate needs a MODEL and a MANIFEST"),
    "no protocol": (
        ["a.onnx", "faces.parquet", "--protocol", "lap"],
        "no protocol 'lap'; there are adience, cross-dataset, lap-2016, leave-one-person-out, lfw-plus, lfw-plus-c, "
        "paper-tables, or give a TOML file",
    ),
    "no file": (["a.onnx", "faces.parquet", "--protocol", "absent.toml"], "absent.toml: No such file or directory"),
    "options without a protocol": (
        ["--model", "m=a.onnx", "faces.parquet"],
        "--model and --manifest go with --protocol",
    ),
    "a protocol without a model": (
        ["--protocol", "lfw-plus", "--manifest", "faces.parquet"],
        "lfw-plus: no model is given; MODEL MANIFEST, or --model NAME=MODEL",
    ),
    "a protocol without a manifest": (
        ["--protocol", "lfw-plus", "--model", "m=a.onnx"],
        "lfw-plus: no manifest is given; MODEL MANIFEST, or --manifest NAME=PATH",
    ),
    "a model that is not there": (
        ["--protocol", "lfw-plus", "--model", "m=absent.onnx", "faces.parquet"],
        "absent.onnx: no such model",
    ),
    "a word that names nothing": (
        ["--protocol", "lfw-plus", "--model", "m=", "faces.parquet"],
        "'m=' names nothing; write NAME=PATH",
    ),
    "two of one name": (
        ["--protocol", "lfw-plus", "--model", "a.onnx", "--model", "a=a.onnx", "faces.parquet"],
        "two models are called a; give each a name of its own",
    ),
    "a pattern without folds": (
        ["fold-{fold}.onnx", "faces.parquet", "--protocol", "lfw-plus"],
        "{fold} in a model's path is for a protocol of folds",
    ),
    "a fold without a model": (
        ["f-{fold}.onnx", "folds.parquet", "--protocol", "adience"],
        "f-0.onnx: no such model",
    ),
    "a set where there is none": (
        ["--protocol", "lfw-plus", "--model", "m@adience=a.onnx", "faces.parquet"],
        "NAME@SET=MODEL is for paper-tables; lfw-plus has one set of models",
    ),
    "no such set": (
        ["--protocol", "paper-tables", "--manifest", "mine=faces.parquet", "--model", "senet-vmage@lap=a.onnx"],
        "senet-vmage@lap: no set 'lap'; there are vmage, imdb-wiki, lfw-plus, lap-2016, adience, lfw-plus-c, mine",
    ),
    "an option that a protocol says itself": (
        ["a.onnx", "faces.parquet", "--protocol", "lfw-plus", "--decision", "mode"],
        "--decision is not for a protocol",
    ),
    "corruptions twice": (
        ["a.onnx", "faces.parquet", "--corruptions", "--robustness", "r"],
        "--corruptions makes what --robustness names",
    ),
    "a limit of nothing": (["a.onnx", "faces.parquet", "--limit", "3"], "--limit and --workers are for --corruptions"),
    "no decision": (["a.onnx", "faces.parquet", "--decision", "best"], "no decision rule 'best'; there are mean, "),
    "a group that is not there": (["a.onnx", "faces.parquet", "--groups", "sex, hat"], "faces.parquet: no column hat"),
    "a part that is missing": (
        ["a.onnx", "faces.parquet", "--protocol", "lap-2016"],
        "faces.parquet: no column split",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    run: Run, models: Path, sets: Path, tmp_path: Path, what: str
) -> None:
    for path in (models / "a.onnx", sets / "faces.parquet", sets / "folds.parquet"):
        shutil.copy(path, tmp_path / path.name)
    words, wanted = BAD[what]
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("agewise: ")
    assert err.count("\n") == 1
    assert wanted in err
    assert sorted(tmp_path.rglob("*")) == before


def test_words() -> None:
    assert words_of(["x=a/b.onnx", "a/b.onnx", "runs/adience-{fold}", "n@s=p", "runs/rate=0.1"]) == [
        Word("x", "a/b.onnx"),
        Word("b", "a/b.onnx"),
        Word("adience", "runs/adience-{fold}"),
        Word("n", "p", "s"),
        Word("rate=0", "runs/rate=0.1"),
    ]
