"""Teachers of our own: members that differ as they should, one folder, resumed where a kill cut it off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agewise.data.choosing import in_fold
from agewise.data.manifest import read_manifest
from agewise.data.settings import SettingsError, check
from agewise.teachers.ensemble import Ensemble
from agewise.teachers.recipe import TeacherRecipe, members, read_teacher_recipe
from agewise.teachers.train import train_teacher
from agewise.teachers.wrap import open_teacher
from tests.conftest import ROOT

Make = Callable[..., Path]
AGES = [*range(2, 14), *range(20, 68, 2)]

CHILDREN = {
    "members": 2,
    "changes": {
        "data": {"ages": [0, 12]},
        "model": {"head": {"name": "categorical", "oldest": 12}},
        "loss": {"name": "cross-entropy", "hard": True},
    },
}


def teacher(faces: Path, runs: Path, **changes: Any) -> TeacherRecipe:
    values = {
        "name": "tiny",
        "runs": str(runs),
        "views": ["original", "mirror"],
        "general": {"folds": 3},
        "children": CHILDREN,
        "member": {
            "data": {"train": str(faces), "workers": 0},
            "model": {"backbone": {"name": "test_resnet"}, "size": 32},
            "training": {"epochs": 1, "batch": 8, "seed": 5, "threads": 1},
        },
    }
    return check({**values, **changes}, TeacherRecipe, "teacher")


@pytest.fixture
def faces(tmp_path: Path, faces_of: Make) -> Path:
    return faces_of(tmp_path / "faces.parquet", AGES)


def test_members_differ_by_fold_seed_and_what_children_are(faces: Path, tmp_path: Path) -> None:
    made = members(teacher(faces, tmp_path))
    assert list(made) == ["general-00", "general-01", "general-02", "children-0", "children-1"]
    general = [made[f"general-0{fold}"] for fold in range(3)]
    assert [(one.data.folds, one.data.fold, one.training.seed) for one in general] == [(3, 0, 5), (3, 1, 6), (3, 2, 7)]
    children = [made["children-0"], made["children-1"]]
    assert [one.training.seed for one in children] == [8, 9]
    assert all(one.data.ages == (0, 12) and one.data.folds is None for one in children)
    assert all(one.model.head.options == {"oldest": 12} and one.loss.options == {"hard": True} for one in children)
    assert all(one.model.head.name == "categorical" and one.loss.name == "distribution" for one in general)
    assert {one.folder.parent for one in made.values()} == {tmp_path / "tiny"}


def test_each_fold_is_left_out_once(faces: Path) -> None:
    left_out = np.stack([in_fold(faces, 3, fold) for fold in range(3)])
    assert (left_out.sum(axis=0) == 1).all()
    assert left_out.any(axis=1).all()


def test_a_teacher_trains_votes_and_is_found_again(faces: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    recipe = teacher(faces, tmp_path)
    contract = train_teacher(recipe, progress=False, said=lambda *told: heard.append(told))
    assert [name for name, _, _ in heard] == list(members(recipe))
    assert [done for _, done, _ in heard] == [1, 2, 3, 4, 5]
    opened = open_teacher(contract, 1)
    assert isinstance(opened, Ensemble)
    assert (len(opened.members), len(opened.children), opened.switch) == (3, 2, 12.0)
    assert list(opened.views) == ["original", "mirror"]
    answer = opened.answer(np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), dtype=np.uint8))
    young = ~np.isnan(answer.votes[:, 3:]).any(axis=(1, 2))
    assert (answer.ages.probs[young, 13:] < 1e-20).all()
    before = (contract.parent / "general-00" / "model.safetensors").stat().st_mtime_ns
    train_teacher(recipe, progress=False)
    assert (contract.parent / "general-00" / "model.safetensors").stat().st_mtime_ns == before


def test_members_side_by_side_are_those_of_one_after_another(faces: Path, tmp_path: Path) -> None:
    small = {"general": {"folds": 2}, "children": None}
    one = train_teacher(teacher(faces, tmp_path / "one", **small), progress=False).parent
    two = train_teacher(teacher(faces, tmp_path / "two", parallel=2, **small), progress=False).parent
    from safetensors.torch import load_file

    for name in ("general-00", "general-01"):
        first, second = (load_file(folder / name / "model.safetensors") for folder in (one, two))
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_killed_teacher_goes_on_with_the_member_that_was_cut_off(faces: Path, tmp_path: Path) -> None:
    recipe = teacher(faces, tmp_path, children=None)
    said = tmp_path / "teacher.json"
    said.write_text(recipe.model_dump_json())
    code = (
        "import json, sys; from agewise.data.settings import check; from agewise.teachers.recipe import TeacherRecipe;"
        "from agewise.teachers.train import train_teacher;"
        f"train_teacher(check(json.load(open({str(said)!r})), TeacherRecipe, 'teacher'), progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
    first, second = recipe.folder / "general-00" / "model.safetensors", recipe.folder / "general-01" / "recipe.json"
    deadline = time.monotonic() + 120
    while not (first.exists() and second.exists()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (recipe.folder / "teacher.toml").exists()
    made = first.stat().st_mtime_ns
    train_teacher(recipe, progress=False)
    assert (recipe.folder / "teacher.toml").exists()
    assert first.stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"views": ["original", "upside-down"]}, r"views: no view 'upside-down'; there are original, mirror"),
        ({"switch": 200}, r"switch: Input should be less than or equal to 100"),
        ({"general": {"folds": 1}}, r"general.folds: .* greater than or equal to 2"),
        ({"children": {"members": 2, "changes": {"loss": "l3"}}}, r"member children-0: loss: no loss 'l3'"),
        ({"children": {"members": 1, "changes": {"data": {"ages": [12, 0]}}}}, r"ages are 12..0; two of 0..100"),
    ],
)
def test_a_recipe_that_cannot_be_is_told_in_one_line(
    faces: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        teacher(faces, tmp_path, **changes)


def test_another_teacher_in_the_folder_is_refused(faces: Path, tmp_path: Path) -> None:
    small = {"general": {"folds": 2}, "children": None}
    train_teacher(teacher(faces, tmp_path, **small), progress=False)
    other = teacher(faces, tmp_path, **small)
    other = other.model_copy(update={"member": {**other.member, "training": {"epochs": 1, "seed": 6, "threads": 1}}})
    with pytest.raises(SettingsError, match=r"general-00 holds a run with another training.batch, training.seed"):
        train_teacher(other, progress=False)


def test_the_published_numbers_stand_in_the_shipped_recipe() -> None:
    recipe = read_teacher_recipe(ROOT / "recipes" / "teachers" / "teacher.toml")
    assert (recipe.general.folds, recipe.children and recipe.children.members) == (11, 3)
    assert (recipe.switch, len(recipe.views)) == (12.0, 8)
    assert json.loads(recipe.model_dump_json())["name"] == "teacher"


def test_ages_are_those_of_the_labels(faces: Path, tmp_path: Path) -> None:
    from agewise.training.loading import open_faces

    chosen, valid = open_faces(members(teacher(faces, tmp_path))["children-0"])
    ages = np.array(read_manifest(faces)["age"].to_pylist())
    assert ages[chosen.rows].tolist() == ages[ages <= 12].tolist()
    assert valid is None
