"""Runs: what their folder holds, that a resumed one ends as if nothing had happened, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from agewise.data.manifest import ManifestError, fingerprint
from agewise.data.settings import SettingsError, check
from agewise.model.age_model import AgeModel, TorchPredictor
from agewise.model.heads import HEADS
from agewise.training.config import Recipe, read_recipe
from agewise.training.fit import _ramped_mean, train
from agewise.training.loading import EpochSampler
from agewise.training.losses import LOSSES
from agewise.training.module import AgeModule
from agewise.training.run_folder import load_run, read_json

Make = Callable[..., Any]


@pytest.fixture
def faces(tmp_path: Path, faces_of: Make) -> Path:
    return Path(faces_of(tmp_path / "faces.parquet", range(2, 82, 5)))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_run_folder_says_what_it_is(tiny_run: Path) -> None:
    assert {"last.ckpt", "metrics.csv", "model.safetensors", "recipe.json", "run.json"} <= {
        path.name for path in tiny_run.iterdir()
    }
    assert len(list(tiny_run.glob("events.out.tfevents.*"))) == 1
    assert not list(tiny_run.glob("*.partial"))
    recipe = check(json.loads((tiny_run / "recipe.json").read_text()), Recipe, "recipe.json")
    assert (recipe.name, recipe.training.epochs, recipe.augmentation.rotation) == ("tiny", 2, 5.0)
    run = json.loads((tiny_run / "run.json").read_text())
    manifest = recipe.data.train
    assert (run["seed"], run["manifests"]) == (0, {manifest: fingerprint(manifest)})
    assert run["versions"]["torch"] == torch.__version__
    epochs = [row for row in rows(tiny_run) if row["valid_excess"]]
    assert [row["epoch"] for row in epochs] == ["0", "1"]
    assert all(0 <= float(row["valid_inside"]) <= 1 for row in epochs)


def test_a_finished_run_is_not_trained_again(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = check(json.loads((tiny_run / "recipe.json").read_text()), Recipe, "recipe.json")
    monkeypatch.setattr(AgeModule, "training_step", None)
    before = (tiny_run / "model.safetensors").stat().st_mtime_ns
    assert train(recipe, progress=False) == tiny_run
    assert (tiny_run / "model.safetensors").stat().st_mtime_ns == before


def test_it_learns(tmp_path: Path, faces: Path, tiny_recipe: Make) -> None:
    calm = {"rotation": 0, "contrast": 0, "brightness": 0, "colour": 0, "grey": 0, "erase": 0}
    recipe = tiny_recipe(faces, tmp_path, training={"epochs": 25}, augmentation=calm, model={"dropout": 0})
    found = [float(row["valid_excess"]) for row in rows(train(recipe, progress=False)) if row["valid_excess"]]
    assert found[0] > 15
    assert found[-1] < 8


@pytest.mark.parametrize(
    ("workers", "ema", "epoch", "step"),
    [(0, 0.0, 1, 1), (1, 0.9, 1, 0), (0, 0.9, 0, 1)],
    ids=["mid-epoch", "workers-ema", "before-any-checkpoint"],
)
def test_a_resumed_run_ends_as_one_that_was_not_killed(
    tmp_path: Path, faces: Path, tiny_recipe: Make, killed: Make, workers: int, ema: float, epoch: int, step: int
) -> None:
    mixup = 0.4 if ema else 0.0
    changes: dict[str, Any] = {
        "training": {"epochs": 3, "ema": ema, "mixup": mixup},
        "data": {"workers": workers, "balance": 0.5},
    }
    whole = train(tiny_recipe(faces, tmp_path / "whole", **changes), progress=False)
    recipe = tiny_recipe(faces, tmp_path / "killed", **changes)
    killed(recipe, epoch, step)
    assert not (recipe.folder / "model.safetensors").exists()
    with pytest.raises(SettingsError, match="this run is not finished; agewise train resumes it"):
        load_run(recipe.folder)
    resumed = train(recipe, progress=False)
    expected, given = weights(whole), weights(resumed)
    assert all(torch.equal(given[name], expected[name]) for name in expected)
    assert rows(resumed) == rows(whole)  # no row lost, and none twice


def test_mixup_has_the_losses_of_both_neighbours(
    faces: Path, tmp_path: Path, tiny_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(faces, tmp_path, training={"mixup": 0.4})
    module = AgeModule(recipe, AgeModel(recipe.model).eval(), torch.full((101,), 1 / 101))
    trainer = SimpleNamespace(world_size=1, estimated_stepping_batches=10, global_step=0)
    monkeypatch.setattr(AgeModule, "trainer", trainer)
    monkeypatch.setattr(module, "log", lambda *_args, **_options: None)
    crops = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    batch = {"crop": crops, "target": torch.eye(101)[[0, 50, 100]], "weight": torch.tensor([1.0, 1.0, 4.0])}
    batch.update({"group_only": torch.zeros(3, dtype=torch.bool), "tasks": {}})
    batch.update({"low": torch.full((3,), torch.nan), "high": torch.full((3,), torch.nan)})
    share = module._share()
    assert 0 < share < 1
    with torch.no_grad():
        raw = module.model(share * crops.float() + (1 - share) * crops[[2, 0, 1]].float())
        logs = raw.log_softmax(dim=1)
        given = module.training_step(batch, 0)
    own = -logs[[0, 1, 2], [0, 50, 100]] * torch.tensor([1.0, 1.0, 4.0])
    other = -logs[[0, 1, 2], [100, 0, 50]] * torch.tensor([4.0, 1.0, 1.0])
    distance = recipe.loss.options.get("mean_weight", 0.0)
    assert distance == 0
    assert float(given) == pytest.approx(float((share * own + (1 - share) * other).sum() / 6), rel=1e-5)


def test_the_averaged_weights_are_what_is_kept(tmp_path: Path, faces: Path, tiny_recipe: Make) -> None:
    plain = train(tiny_recipe(faces, tmp_path, name="plain"), progress=False)
    averaged = train(tiny_recipe(faces, tmp_path, name="averaged", training={"ema": 0.5}), progress=False)
    state = torch.load(averaged / "last.ckpt", weights_only=True)
    last = {name.removeprefix("model."): value for name, value in state["current_model_state"].items()}
    expected, kept = weights(plain), weights(averaged)
    assert all(torch.equal(last[name], expected[name]) for name in expected)  # averaging does not touch training
    name = "head.linear.weight"
    assert not torch.equal(kept[name], expected[name])
    assert torch.allclose(kept[name], expected[name], atol=0.02)
    found = TorchPredictor(load_run(averaged))(np.zeros((1, 40, 40, 3), np.uint8))
    assert found.probs.shape == (1, 101)


def test_folded_norms_are_opened_before_training(tmp_path: Path, faces: Path, tiny_recipe: Make) -> None:
    backbone = {"name": "test_resnet", "reopen_norms": True}
    changes = {"model": {"backbone": backbone}, "training": {"epochs": 1, "rate": 1e-12}, "data": {"valid": None}}
    recipe = tiny_recipe(faces, tmp_path, **changes)
    state = weights(train(recipe, progress=False))
    assert state["backbone.network.bn1.running_mean"].abs().max() > 0.05


def test_another_run_in_the_folder_is_refused(tiny_run: Path, faces_of: Make) -> None:
    recipe = check(json.loads((tiny_run / "recipe.json").read_text()), Recipe, "recipe.json")
    other = recipe.model_copy(update={"training": recipe.training.model_copy(update={"rate": 1.0})})
    with pytest.raises(SettingsError, match=r"holds a run with another training\.rate; give this one another name"):
        train(other, progress=False)
    assert json.loads((tiny_run / "recipe.json").read_text()) == recipe.model_dump(mode="json")
    before = recipe.model_dump(mode="json")
    del before["training"]["mixup"]  # a setting that came later is at its default in earlier runs
    (tiny_run / "recipe.json").write_text(json.dumps(before))
    assert train(recipe, progress=False) == tiny_run
    (tiny_run / "recipe.json").write_text(json.dumps(recipe.model_dump(mode="json"), indent=1))
    manifest = Path(recipe.data.train)
    faces = manifest.read_bytes()
    faces_of(manifest, range(3, 83, 5))
    with pytest.raises(SettingsError, match="another content of its manifests"):
        train(recipe, progress=False)
    manifest.write_bytes(faces)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"model": {"backbone": {"name": "test_resnot"}}}, "no backbone 'test_resnot'; there are vgg-16"),
        ({"model": {"backbone": {"name": "test_resnet", "weights": "absent"}}}, "no file absent"),
        ({"data": {"train": "absent.parquet"}}, "absent.parquet: no such manifest"),
    ],
)
def test_what_cannot_be_trained_leaves_no_folder(
    tmp_path: Path, faces: Path, tiny_recipe: Make, change: Any, wanted: str
) -> None:
    recipe = tiny_recipe(faces, tmp_path / "runs", **change)
    with pytest.raises(ValueError, match=wanted) as caught:
        train(recipe, progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_cannot_be_read_is_one_line(
    tmp_path: Path, faces_of: Make, tiny_recipe: Make, workers: int
) -> None:
    path = faces_of(tmp_path / "bad.parquet", range(8), image=[{"bytes": b"x", "path": None}] * 8)
    with pytest.raises(ManifestError, match=r"^.*bad\.parquet: row \d has no square picture [^\n]*$"):
        train(tiny_recipe(path, tmp_path, data={"workers": workers}), progress=False)


def test_faces_of_unknown_age_do_not_count_in_validation(tmp_path: Path, faces: Path, faces_of: Make) -> None:
    from agewise.ages import AgeDistribution
    from agewise.data.manifest import probs_column

    told = probs_column(AgeDistribution.of_ages([20.0] * 4))
    mixed = faces_of(tmp_path / "mixed.parquet", [20, 20, 20, 20], age=[20.0, None, None, None], age_probs=told)
    values = {
        "name": "a",
        "runs": str(tmp_path),
        "data": {"train": str(faces), "valid": str(mixed), "workers": 0},
        "model": {"backbone": {"name": "test_resnet"}, "size": 32},
        "training": {"epochs": 1, "batch": 2, "threads": 1},
    }
    row = next(row for row in rows(train(check(values, Recipe, "r"), progress=False)) if row["valid_excess"])
    assert 0 < float(row["valid_excess"]) < 100
    assert float(row["valid_inside"]) in (0.0, 1.0)


def test_a_head_and_a_loss_must_fit(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('name = "a"\n[data]\ntrain = "t"\n[model.backbone]\nname = "test_resnet"\n')
    assert read_recipe(path).folder == Path("runs/a")
    fits = (
        "these do: corn, distribution, distillation, teacher-bounded, cross-entropy, mean-variance, mean-residue, "
        "sord, unimodal, squared-emd"
    )
    losses, heads = ", ".join(LOSSES), ", ".join(HEADS)
    for overrides, text in {
        ("model.head=corn", "loss.name=l2"): f"{path}: recipe: the loss 'l2' does not fit the head 'corn'; {fits}",
        ("loss.name=l3",): f"{path}: loss: no loss 'l3'; there are {losses}",
        ("model.head=corrn",): f"{path}: model.head: no head 'corrn'; there are {heads}",
        ("loss.name=sord", "loss.powr=2"): f"{path}: loss: the loss 'sord' has no option powr; there are power, "
        "temperature, groups, group_weight",
        ("model.head.name=forest", "model.head.trees=0"): f"{path}: model.head: the head 'forest': trees: Input should "
        "be greater than or equal to 1 (given: 0)",
        ("model.head=regression", "loss.name=l2", "loss.unit=0"): f"{path}: loss: the loss 'l2': unit: Input should be "
        "greater than 0 (given: 0)",
        ("augmentation.policy=paper", "augmentation.erase=0.5"): f"{path}: augmentation: the policy 'paper' has no "
        "settings; erase is one of 'own'",
        ("training.devices=0",): f"{path}: training: devices is 0; 1 or more are needed, or -1 for all that there are",
        ("training.momentum=0.9",): f"{path}: training: momentum is of sgd; adamw has none to set",
        ("model.tasks.type.labels=['a','b']",): f"{path}: model.tasks: a task is named 'type'; a word without dots, "
        "none of torch's, is needed",
        ("training.patience=2",): f"{path}: recipe: training.keep = best and training.patience need data.valid "
        "or folds, faces to choose by",
        ("name=a/b",): f"{path}: name: String should match pattern '^[A-Za-z0-9_][A-Za-z0-9._-]*$' (given: 'a/b')",
    }.items():
        with pytest.raises(SettingsError) as caught:
            read_recipe(path, overrides)
        assert str(caught.value) == text


def test_what_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"not a run folder \(it has no recipe.json\)"):
        load_run(tmp_path)


def test_a_damaged_recipe_or_record_names_its_file(tmp_path: Path, tiny_run: Path) -> None:
    for name in ("model.safetensors", "recipe.json", "run.json"):
        (tmp_path / name).write_bytes((tiny_run / name).read_bytes())
    (tmp_path / "recipe.json").write_text('{"name": "ti')
    with pytest.raises(SettingsError, match=r"recipe.json: damaged \("):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(SettingsError, match=r"run.json: damaged \("):
        read_json(tmp_path / "run.json")


@pytest.mark.parametrize("setting", [{"threads": 99999}, {"seed": 2**32}])
def test_numbers_that_torch_or_numpy_cannot_take_are_refused(tmp_path: Path, tiny_recipe: Make, setting: Any) -> None:
    with pytest.raises(SettingsError, match=r"training\.(threads|seed): Input should be less than"):
        tiny_recipe(tmp_path / "m.parquet", tmp_path, training=setting)


def test_faces_are_drawn_by_weight_and_otherwise_without_repeats() -> None:
    even = EpochSampler(None, 50, 3)
    assert sorted(even) == list(range(50))
    first = list(even)
    even.set_epoch(1)
    assert list(even) != first
    weighed = EpochSampler(np.repeat([0.5, 1.5], 100), 200, 3)
    drawn: list[int] = []
    for epoch in range(40):
        weighed.set_epoch(epoch)
        drawn += list(weighed)
    counts = np.bincount(drawn, minlength=200)
    assert len(drawn) == 40 * len(weighed) == 8000
    assert counts[:100].mean() == pytest.approx(20, abs=1)
    assert counts[100:].mean() == pytest.approx(60, abs=1)
    assert counts[100:].min() >= 35  # each face one or two times an epoch, not by luck alone


def test_averaging_follows_closely_at_first_and_slowly_at_last() -> None:
    mean = _ramped_mean(0.99)
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    assert float(mean(zero, one, 0)) == pytest.approx(0.9)
    assert float(mean(zero, one, 10**6)) == pytest.approx(0.01)
