"""The verb card: a model, its reports and an about file in, one card out; one line for what cannot be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from agewise.apps.models import open_model
from agewise.data.manifest import fingerprint
from agewise.evaluation.evaluate import evaluate
from agewise.evaluation.gate.gate import gate
from agewise.evaluation.gate.report import to_json as gate_json
from agewise.evaluation.predictions import predict_manifest
from agewise.evaluation.report.write import to_json as report_json

Run = Callable[..., tuple[int, str, str]]
ABOUT = """
name = "tiny"
title = "Model card: tiny"
version = "1"
date = 2026-01-02
contact = "nobody"
summary = "For tests."
made_by = "`agewise export runs/tiny`"
targets = "Ages drawn at random."
calibration = "Fitted on nothing."
measured = ["A validation set, not a test set."]
weaknesses = ["It sees colours and no faces."]
use = { fit = "tests.", unfit = "people.", says = "Nothing of anybody's age." }
start = { name = "a seed", licence = "CC0", training_data = "Nothing." }
[[data]]
name = "Drawn faces"
licence = "CC0"
role = "never used"
text = "Nobody is on them."
[[teachers]]
name = "oracle"
licence = "MIT"
training_data = "Not known."
[[figures]]
says = "1.5 ms a face."
command = "python speed.py"
"""


@dataclass(frozen=True)
class Made:
    """A model, the folder of its report and gate, the faces, and an about file."""

    model: Path
    folder: Path
    faces: Path
    about: Path

    def words(self, out: Path, **others: object) -> list[object]:
        given = {"about": self.about, "report": self.folder, "gate": self.folder, **others, "out": out}
        return ["card", self.model, *(word for name, value in given.items() for word in (f"--{name}", value))]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path], faces_of: Callable[..., Path]
) -> Made:
    folder = tmp_path_factory.mktemp("made")
    faces = faces_of(folder / "faces.parquet", range(4, 64), sex=["F", "M", "M"] * 20, ethnicity=["a|b"] * 60)
    recipe = {"data": {"train": "t.parquet"}, "model": {"backbone": {"name": "colour"}, "head": "categorical"}}
    run = {"seed": 0, "manifests": {"t.parquet": "ab" * 32}, "agewise": "0.1.0", "versions": {}}
    model = tiny_model(recipe=recipe, run={**run, "python": "3.11", "threads": 1})
    return Made(model, reports(folder / "report", model, faces), faces, about(folder / "about.toml", ABOUT))


def reports(folder: Path, model: Path, faces: Path) -> Path:
    """report.json and gate.json, as evaluate and gate write them."""
    named = open_model(str(model), threads=1)
    predictions = predict_manifest(named.predictor, faces, folder / "predictions.parquet", name=named.name)
    (folder / "report.json").write_text(report_json(evaluate(predictions, resamples=50)))
    (folder / "gate.json").write_text(gate_json(gate(predictions)))
    return folder


def about(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_card_holds_the_file_the_figures_and_the_prose(run: Run, made: Made, tmp_path: Path) -> None:
    out = tmp_path / "new" / "CARD.md"
    code, said, err = run(*made.words(out))
    text = out.read_text()
    flat, lines = " ".join(text.split()), text.splitlines()
    assert (code, err) == (0, "")
    assert said == f"{out}: tiny {fingerprint(made.model)[:8]}, faces.parquet (N = 60); {len(lines)} lines\n"
    for words in re.findall(r'[=\[] ?"([^"]+)"', ABOUT):
        assert words.rstrip(".").lower() in flat.lower()
    for line in ("# Model card: tiny", "## For what, and for what not", "## Known weaknesses", "## The run"):
        assert line in lines
    assert fingerprint(made.model) in text
    assert fingerprint(made.faces) in text
    assert f"`agewise evaluate {made.model.name} faces.parquet`." in flat
    assert f"`agewise gate {made.model.name} faces.parquet`." in flat
    assert str(made.folder) not in text
    assert max(map(len, lines)) <= 160


def test_its_numbers_are_those_of_the_predictions(run: Run, made: Made, tmp_path: Path) -> None:
    assert run(*made.words(tmp_path / "CARD.md"))[0] == 0
    text = (tmp_path / "CARD.md").read_text()
    table = pq.read_table(made.folder / "predictions.parquet").to_pydict()
    error = np.array(table["mean"]) - np.array(table["age"])
    for name, chosen in {"all": np.full(60, True), "sex: M": np.array(table["sex"]) == "M"}.items():
        found = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        cells = [cell.strip().partition(" [")[0] for cell in found.strip("|").split("|")]
        mine = error[chosen]
        close = f"{100 * (abs(mine) <= 5).mean():.1f} %"
        assert cells[1:5] == [str(chosen.sum()), f"{abs(mine).mean():.2f}", f"{mine.mean():.2f}", close]
    assert "| ethnicity: a\\|b | 60 | " in text
    minors = np.array(table["age"]) < 18
    passed = np.array(table["mean"])[minors] >= 25
    wrong = next(line for line in text.splitlines() if line.startswith("| Challenge-25 FPR | "))
    assert wrong.startswith(f"| Challenge-25 FPR | {100 * passed.mean():.1f} % [")
    assert f"| {minors.sum()} | false positives" in wrong


def test_the_same_inputs_give_the_same_bytes(run: Run, made: Made, tmp_path: Path) -> None:
    assert run(*made.words(tmp_path / "a.md"))[0] == 0
    assert run(*made.words(tmp_path / "b.md"))[0] == 0
    assert (tmp_path / "a.md").read_bytes() == (tmp_path / "b.md").read_bytes()


def test_json_says_what_it_is_made_of(run: Run, made: Made, tmp_path: Path) -> None:
    code, said, _ = run(*made.words(tmp_path / "CARD.md"), "--json")
    found = json.loads(said)
    assert code == 0
    assert (found["sha256"], found["parameters"]) == (fingerprint(made.model), 303)
    face = {"manifest": "faces.parquet", "sha256": fingerprint(made.faces), "n": 60}
    assert found["reports"] == [{"of": "evaluate", **face}, {"of": "gate", **face}]


def refused(run: Run, words: list[object], out: Path) -> str:
    """The one line in which a card is refused; nothing is written."""
    code, said, err = run(*words)
    assert (code, said, err.count("\n")) == (2, "", 1)
    assert not out.exists()
    return err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('contact = "nobody"\n', "", "about.toml: contact: Field required"),
        ('contact = "nobody"\n', 'contact = " "\n', "about.toml: contact: "),
        ('contact = "nobody"\n', 'contract = "x"\ncontact = "nobody"\n', "about.toml: no setting contract; there are"),
        ('unfit = "people.", ', "", "about.toml: use.unfit: Field required"),
        ('role = "never used"', 'role = "kept"', "about.toml: data.0.role: "),
        ('licence = "MIT"\n', "", "about.toml: teachers.0.licence: Field required"),
        ('command = "python speed.py"\n', "", "about.toml: figures.0.command: Field required"),
        ('weaknesses = ["It sees colours and no faces."]', "weaknesses = []", "about.toml: weaknesses: "),
        ("date = 2026-01-02", 'date = "soon"', "about.toml: date: "),
        ('name = "tiny"', 'name = "base"', "about.toml: about 'base'; the model is 'tiny'"),
        ('name = "tiny"', "name = tiny", "about.toml: not a TOML file"),
    ],
)
def test_an_about_file_that_lacks_a_thing(
    run: Run, made: Made, tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in ABOUT
    wrong = about(tmp_path / "about.toml", ABOUT.replace(old, new, 1))
    assert message in refused(run, made.words(tmp_path / "CARD.md", about=wrong), tmp_path / "CARD.md")


def test_a_report_of_another_file(
    run: Run, made: Made, tmp_path: Path, tiny_model: Callable[..., Path], faces_of: Callable[..., Path]
) -> None:
    out = tmp_path / "CARD.md"
    other = tiny_model(scale=0.03)
    folder = reports(tmp_path / "other", other, faces_of(tmp_path / "few.parquet", range(10, 40)))
    for name in ("report", "gate"):
        line = refused(run, made.words(out, **{name: folder}), out)
        mine, theirs = (f"tiny {fingerprint(path)[:8]}" for path in (made.model, other))
        assert f"{name}.json: of another file: it is of {theirs}, the card of {mine} " in line


def test_what_is_no_report(run: Run, made: Made, tmp_path: Path) -> None:
    out, said = tmp_path / "CARD.md", json.loads((made.folder / "report.json").read_text())
    message = "no report.json in it; give a folder that `agewise evaluate` wrote"
    assert message in refused(run, made.words(out, report=tmp_path), out)
    assert message in refused(run, made.words(out, report=tmp_path / "absent"), out)
    for text, message in {
        "{": "report.json: not a JSON file (",
        "[1]": "report.json: not the JSON of a command of agewise, but a list",
        json.dumps({**said, "overall": {}}): "report.json: overall.name: Field required",
        json.dumps({name: said[name] for name in said if name != "bands"}): "report.json: bands: Field required",
    }.items():
        (tmp_path / "report.json").write_text(text)
        assert message in refused(run, made.words(out, report=tmp_path), out)
    for name in ("speed", "quantize"):
        line = refused(run, made.words(out, **{name: made.folder / "gate.json"}), out)
        assert "gate.json: " in line
        assert "Field required" in line
        assert "absent.json: No such file" in refused(run, made.words(out, **{name: tmp_path / "absent.json"}), out)


def test_a_model_that_says_nothing_of_its_run(
    run: Run, made: Made, tmp_path: Path, tiny_model: Callable[..., Path], astronaut: Path
) -> None:
    out = tmp_path / "CARD.md"
    rest = ["--about", made.about, "--report", made.folder, "--out", out]
    assert "its metadata has no recipe; a card is of" in refused(run, ["card", tiny_model(), *rest], out)
    assert "astronaut.jpg: " in refused(run, ["card", astronaut, *rest], out)
    assert "absent: no such model" in refused(run, ["card", "absent", *rest], out)
    words = ["card", made.model, "--about", made.about, "--out", out]
    assert "a card needs a report; give --report a folder" in refused(run, words, out)
    code, _, err = run(*made.words(tmp_path))
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot be written: it exists and is not a file" in err


def test_what_is_read_is_not_overwritten(run: Run, made: Made) -> None:
    for out in (made.model, made.about, made.folder / "report.json"):
        before = out.read_bytes()
        code, _, err = run(*made.words(out))
        assert (code, err) == (2, f"agewise: {out} is read; give the card another name\n")
        assert out.read_bytes() == before
