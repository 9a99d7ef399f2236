"""Two processes train as one does: the same faces in a step, the same losses, the same weights, also after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from agewise.data.settings import SettingsError
from agewise.training.config import Recipe
from agewise.training.fit import train
from agewise.training.loading import EpochSampler, EpochSeed, loader, open_faces
from tests.training.test_schedules import rows, weights

Make = Callable[..., Any]
ROOT = Path(__file__).parents[2]
TOML = """
name = "{name}"
runs = "runs"
[data]
train = "faces.parquet"
valid = "valid.parquet"
workers = 0
[model]
size = 32
dropout = 0.0
[model.backbone]
name = "test_vit" # no batch norms, which see their own process's faces only
options = {{ img_size = 32 }}
[training]
epochs = 3
batch = {batch}
optimizer = "sgd"
momentum = 0.9
rate = 0.02
keep = "best"
accelerator = "cpu"
threads = 1
devices = {devices}
strategy = "{strategy}"
"""
KILLED = """
import os, sys
from pathlib import Path
from agewise.training.config import read_recipe
from agewise.training.fit import train
from agewise.training.module import AgeModule

original = AgeModule.training_step

def training_step(self, batch, index):
    if (self.current_epoch, index) == (1, 2) and not Path("killed").exists():
        self.trainer.strategy.barrier()
        Path("killed").touch()
        os._exit(9)
    return original(self, batch, index)

AgeModule.training_step = training_step
recipe = read_recipe("forked.toml")
try:
    train(recipe, progress=False)
except Exception as error:
    print("killed:", error)
assert (recipe.folder / "last.ckpt").exists() and not (recipe.folder / "model.safetensors").exists()
train(recipe, progress=False)
"""
"""Dies in all processes of the second epoch, and begins again; forked, so that one interpreter is enough."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, faces_of: Make) -> Path:
    """Faces whose weights differ, and a recipe for one process, for two, and for two of one interpreter."""
    folder = tmp_path_factory.mktemp("two")
    faces_of(folder / "faces.parquet", range(2, 82, 3), weight=[1.0 + index % 5 for index in range(27)])
    faces_of(folder / "valid.parquet", [10, 50, 70])
    for name, devices, strategy in (("one", 1, "auto"), ("two", 2, "ddp"), ("forked", 2, "ddp_fork")):
        text = TOML.format(name=name, batch=8 // devices, devices=devices, strategy=strategy)
        (folder / f"{name}.toml").write_text(text)
    return folder


def started(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of this Python in the folder; the processes of a run find each other through the local machine."""
    said = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RANK", "LOCAL_RANK"))}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env={**environment, **said}, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def two(workplace: Path) -> Path:
    """The run of two processes, begun on the command line."""
    done = started(workplace, "-m", "agewise.apps.cli", "train", "two.toml")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return workplace / "runs" / "two"


def largest(one: Path, other: Path) -> float:
    mine, others = weights(one), weights(other)
    assert mine.keys() == others.keys()
    return max(float((mine[name] - others[name]).abs().max()) for name in mine)


def test_two_processes_are_one_with_a_batch_twice_as_large(
    workplace: Path, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agewise.training.config import read_recipe

    monkeypatch.chdir(workplace)
    one = workplace / train(read_recipe("one.toml"), progress=False)
    expected, given = rows(one), rows(two)
    assert [row["step"] for row in given] == [row["step"] for row in expected]
    for name in ("train_loss_step", "train_loss_epoch", "valid_excess"):
        curve = [float(row[name]) for row in expected if row[name]]
        assert len(curve) == 3
        assert max(curve) - min(curve) > 0.01
        assert [float(row[name]) for row in given if row[name]] == pytest.approx(curve, abs=2e-5)
    assert largest(one, two) < 1e-5
    assert {path.name for path in two.iterdir() if "events" not in path.name} == {
        *("best.ckpt", "last.ckpt", "metrics.csv", "hparams.yaml", "model.safetensors", "recipe.json", "run.json")
    }


def test_two_processes_end_as_if_they_had_not_been_killed(workplace: Path, two: Path) -> None:
    (workplace / "killed.py").write_text(KILLED)
    done = started(workplace, "killed.py")
    assert done.returncode == 0, done.stderr
    assert "killed: process" in done.stdout
    forked = workplace / "runs" / "forked"
    assert largest(two, forked) == 0
    assert rows(forked) == rows(two)


@pytest.mark.parametrize(("count", "processes"), [(16, 2), (23, 2), (23, 3), (2, 3)])
@pytest.mark.parametrize("weighed", [False, True])
def test_each_process_has_its_share_of_every_step(count: int, processes: int, weighed: bool) -> None:
    ages = np.linspace(0.5, 1.5, count) if weighed else None
    whole = list(EpochSampler(ages, count, 3))
    shares = []
    for rank in range(processes):
        sampler = EpochSampler(ages, count, 3, processes)
        sampler.rank = rank
        assert len(list(sampler)) == len(sampler)
        shares.append(list(sampler))
    together = [face for step in zip(*shares, strict=True) for face in step]
    assert together[:count] == whole
    assert together[count:] == (whole * processes)[count : len(together)]  # what does not go round begins anew


@pytest.mark.parametrize("count", [15, 16, 17, 27])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_any_number_of_processes_makes_as_many_steps(
    tmp_path: Path, faces_of: Make, tiny_recipe: Make, count: int, devices: int
) -> None:
    faces = faces_of(tmp_path / "f.parquet", [30] * count)
    recipe = tiny_recipe(faces, tmp_path, training={"devices": devices, "batch": 8 // devices})
    assert len(loader(open_faces(recipe)[0], recipe, training=True)) == count // 8


def test_fewer_faces_than_a_step_wants_are_all_seen(tmp_path: Path, faces_of: Make, tiny_recipe: Make) -> None:
    faces = faces_of(tmp_path / "f.parquet", [30] * 5)
    recipe = tiny_recipe(faces, tmp_path, training={"devices": 2, "batch": 8})
    batches = loader(open_faces(recipe)[0], recipe, training=True)
    assert [len(batch["weight"]) for batch in batches] == [3]


def test_more_processes_than_the_recipe_says_are_refused() -> None:
    """As where a scheduler starts other numbers than `devices` and `nodes`: each would have trained on all faces."""
    callback = EpochSeed(0, EpochSampler(None, 8, 0, processes=2))
    module: Any = None
    trainer: Any = SimpleNamespace(world_size=2, global_rank=1)
    callback.setup(trainer, module, "fit")
    assert callback.sampler.rank == 1
    trainer.world_size = 4
    text = "4 processes were launched; training.devices and training.nodes ask for 2"
    with pytest.raises(SettingsError, match=text):
        callback.setup(trainer, module, "fit")


def test_processes_do_not_drop_the_same_features() -> None:
    """Each process draws dropout of its own, and the first the same as a single one."""
    drawn = []
    for rank in (0, 1):
        trainer: Any = SimpleNamespace(current_epoch=2, global_rank=rank)
        module: Any = None
        EpochSeed(5, EpochSampler(None, 8, 5)).on_train_batch_start(trainer, module, {}, 0)
        drawn.append(torch.rand(4))
    torch.manual_seed(int(np.random.SeedSequence((5, 2)).generate_state(1)[0]))
    assert torch.equal(drawn[0], torch.rand(4))
    assert not torch.equal(drawn[0], drawn[1])


def test_a_recipe_counts_its_processes(tiny_recipe: Make, tmp_path: Path) -> None:
    from agewise.training.loading import processes_of

    recipe: Recipe = tiny_recipe(tmp_path, tmp_path, training={"devices": 4, "nodes": 3})
    assert processes_of(recipe) == 12
