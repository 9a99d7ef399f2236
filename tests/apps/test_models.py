"""The name of a model: its hash changes with every file that its answers depend on, and with nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from agewise.apps.models import open_model, open_teacher_named
from agewise.data.settings import SettingsError
from agewise.teachers.ensemble import Ensemble


@pytest.fixture
def teacher(tmp_path: Path, tiny_run: Path) -> Path:
    """A contract of two runs, one of them for children, by way of a second contract."""
    for name in ("general", "child"):
        shutil.copytree(tiny_run, tmp_path / "runs" / name)
    (tmp_path / "inner.toml").write_text('name = "inner"\nmembers = ["runs/general"]\n')
    path = tmp_path / "teacher.toml"
    path.write_text('name = "teacher"\nmembers = ["inner.toml", "runs/general"]\nchildren = ["runs/child"]\n')
    return path


def shifted(run: Path) -> None:
    """Changes one number of a run's weights."""
    weights = load_file(run / "model.safetensors")
    name = next(name for name, value in weights.items() if value.dtype == np.float32)
    save_file({**weights, name: weights[name] + 1e-3}, run / "model.safetensors")


def test_a_teacher_of_runs_is_opened(teacher: Path) -> None:
    named = open_teacher_named(teacher, threads=1)
    assert named.name.startswith("teacher ")
    assert isinstance(named.predictor, Ensemble)
    assert named.predictor.names == ["inner.toml", "runs/general", "runs/child"]
    assert open_teacher_named(teacher).name == named.name == open_model(str(teacher)).name


def test_its_hash_covers_runs_and_children(teacher: Path) -> None:
    seen = {open_teacher_named(teacher).name}
    for run in ("general", "child"):
        shifted(teacher.parent / "runs" / run)
        seen.add(open_teacher_named(teacher).name)
        said = teacher.parent / "runs" / run / "recipe.json"
        recipe = json.loads(said.read_text())
        recipe["model"]["window"]["side"] = 0.8
        said.write_text(json.dumps(recipe))
        seen.add(open_teacher_named(teacher).name)
    for line in ("switch = 10", 'views = ["original", "mirror"]', "weights = [1, 2]"):
        teacher.write_text(f"{teacher.read_text()}{line}\n")
        seen.add(open_teacher_named(teacher).name)
    assert len(seen) == 8


def test_its_hash_is_of_nothing_else(teacher: Path, tmp_path: Path) -> None:
    before = open_teacher_named(teacher).name
    (teacher.parent / "runs" / "child" / "metrics.csv").write_text("none\n")
    moved = shutil.copytree(tmp_path, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("elsewhere"))
    assert open_teacher_named(moved / "teacher.toml").name == before


def test_a_teacher_of_before_children_and_views_keeps_its_name(shared: Path) -> None:
    """What is annotated by then is not annotated again."""
    assert shared.is_dir()
    pair = Path(__file__).parents[2] / "recipes" / "teachers" / "pair.toml"
    assert open_teacher_named(pair, threads=1).name == "pair 5decf4bc"


def test_a_run_as_a_model(tiny_run: Path, tmp_path: Path) -> None:
    named = open_model(str(tiny_run), threads=1)
    assert (named.frame, named.margin) == ("aligned", 0.0)
    assert named.name.startswith(f"{tiny_run.name} ")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match=r"empty: not a run folder \(it has no recipe.json\)"):
        open_model(str(tmp_path / "empty"))


def test_a_run_has_the_same_name_from_inside(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = open_model(str(tiny_run)).name
    monkeypatch.chdir(tiny_run)
    assert open_model(".").name == outside
