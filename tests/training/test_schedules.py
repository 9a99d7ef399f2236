"""Rates, steps and epochs: what a schedule sets, what a step sums up, which epoch is kept, and when a run stops."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import default_collate

from agewise.data.dataset import Faces
from agewise.data.manifest import ManifestError
from agewise.data.settings import check
from agewise.faces.align import Window
from agewise.training.config import Recipe
from agewise.training.fit import train
from agewise.training.module import AgeModule
from agewise.training.run_folder import load_run

Make = Callable[..., Any]
STILL = {"rotation": 0, "scale": 0, "shift": 0, "skew": 0, "contrast": 0, "brightness": 0, "colour": 0, "grey": 0}
NORMLESS = {"backbone": {"name": "test_vit", "options": {"img_size": 32}}, "size": 32, "dropout": 0.0}
"""A network without batch norms, in which a batch of eight is two of four."""


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory, faces_of: Make) -> Path:
    return Path(faces_of(tmp_path_factory.mktemp("faces") / "faces.parquet", range(2, 82, 5)))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each training step found in the optimiser."""
    seen: list[dict[str, Any]] = []
    original = AgeModule.training_step

    def training_step(self: AgeModule, batch: Any, index: int) -> torch.Tensor:
        optimizer = self.trainer.optimizers[0]
        groups = [
            {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
        ]
        sizes = [{parameter.ndim for parameter in group["params"]} for group in optimizer.param_groups]
        count = sum(len(group["params"]) for group in optimizer.param_groups)
        seen.append({"epoch": self.current_epoch, "optimizer": optimizer, "groups": groups, "ndim": sizes, "n": count})
        return original(self, batch, index)

    monkeypatch.setattr(AgeModule, "training_step", training_step)
    return seen


def rates(steps: list[dict[str, Any]]) -> list[float]:
    return [step["groups"][0]["lr"] for step in steps]


def run(manifest: Path, folder: Path, tiny_recipe: Make, **changes: Any) -> Path:
    return Path(train(tiny_recipe(manifest, folder, **changes), progress=False))


def quick(**training: Any) -> dict[str, Any]:
    """Changes of a run of nothing but rates: 16 faces, two steps an epoch."""
    return {"data": {"valid": None}, "training": {"batch": 8, "rate": 0.01, "head_rate": 1.0, **training}}


def test_steps_fall_by_the_epoch(tmp_path: Path, faces: Path, tiny_recipe: Make, steps: list[Any]) -> None:
    changes = quick(epochs=5, schedule="step", step_epochs=2, step_factor=0.2, warmup=0, head_rate=3.0, accumulate=2)
    changes["training"]["batch"] = 4
    run(faces, tmp_path, tiny_recipe, **changes)
    assert rates(steps) == pytest.approx([0.01 * 0.2 ** (step["epoch"] // 2) for step in steps])
    assert [step["epoch"] for step in steps] == [epoch for epoch in range(5) for _ in range(4)]
    last = sorted({group["lr"] for group in steps[-1]["groups"]})
    assert last == pytest.approx([0.01 * 0.2**2, 3 * 0.01 * 0.2**2])


def test_warmup_and_then_nothing(tmp_path: Path, faces: Path, tiny_recipe: Make, steps: list[Any]) -> None:
    run(faces, tmp_path, tiny_recipe, **quick(epochs=3, schedule="constant", warmup=0.5))
    assert rates(steps) == pytest.approx([0.01 / 3, 0.02 / 3, 0.01, 0.01, 0.01, 0.01])


def test_cosine_ends_near_nothing(tmp_path: Path, faces: Path, tiny_recipe: Make, steps: list[Any]) -> None:
    run(faces, tmp_path, tiny_recipe, **quick(epochs=4, schedule="cosine", warmup=0.25))
    falling = [0.005 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    assert rates(steps) == pytest.approx([0.005, 0.01, *falling])


def test_sgd_has_its_momentum_and_decays_matrices_only(
    tmp_path: Path, faces: Path, tiny_recipe: Make, steps: list[Any]
) -> None:
    run(faces, tmp_path, tiny_recipe, **quick(epochs=1, optimizer="sgd", momentum=0.9, decay=0.001))
    first = steps[0]
    assert isinstance(first["optimizer"], torch.optim.SGD)
    assert {group["momentum"] for group in first["groups"]} == {0.9}
    decays = {1: set(), 2: set(), 4: set()}  # type: dict[int, set[float]]
    for group, sizes in zip(first["groups"], first["ndim"], strict=True):
        for ndim in sizes:
            decays[ndim].add(group["weight_decay"])
    assert decays == {1: {0.0}, 2: {0.001}, 4: {0.001}}
    model = load_run(tmp_path / "tiny")
    assert first["n"] == len(list(model.parameters()))


def test_a_step_of_sgd_by_hand(tmp_path: Path, faces: Path, tiny_recipe: Make) -> None:
    """Momentum carries nine tenths of the first step into the second: the same gradient twice moves by 1 and 1.9."""
    from agewise.model.age_model import AgeModel

    moved = {}
    for epochs in (1, 2):
        changes = quick(epochs=epochs, optimizer="sgd", momentum=0.9, decay=0.0, schedule="constant", warmup=0, clip=0)
        changes["training"].update(batch=16, rate=1e-5)
        recipe = tiny_recipe(
            faces, tmp_path / str(epochs), **changes, model=NORMLESS, augmentation={**STILL, "flip": 0, "erase": 0}
        )
        moved[epochs] = weights(train(recipe, progress=False))["head.linear.weight"]
    torch.manual_seed(0)
    start = AgeModel(recipe.model).head.linear.weight.detach()
    assert torch.allclose(moved[2] - start, 2.9 * (moved[1] - start), rtol=0.02, atol=1e-8)


def test_two_batches_in_one_step_are_a_larger_batch(tmp_path: Path, faces: Path, tiny_recipe: Make) -> None:
    sgd = {"optimizer": "sgd", "momentum": 0.9, "rate": 0.02, "epochs": 3}
    folders = [
        run(
            faces,
            tmp_path / str(batch),
            tiny_recipe,
            model=NORMLESS,
            training={**sgd, "batch": batch, "accumulate": 8 // batch},
        )
        for batch in (8, 4)
    ]
    whole, halves = (weights(folder) for folder in folders)
    assert max(float((whole[name] - halves[name]).abs().max()) for name in whole) < 1e-5
    for name in ("train_loss_epoch", "valid_excess"):
        curves = [[float(row[name]) for row in rows(folder) if row[name]] for folder in folders]
        assert curves[0] == pytest.approx(curves[1], abs=1e-5)
        assert max(curves[0]) - min(curves[0]) > 0.01  # something was learned


def excess(folder: Path) -> list[float]:
    return [float(row["valid_excess"]) for row in rows(folder) if row["valid_excess"]]


def excess_of(folder: Path, manifest: Path) -> float:
    """Mean absolute error of the model that a run has kept."""
    known = Faces(manifest, Window(side=0.9), 32)
    with torch.no_grad():
        probs = load_run(folder).probs(default_collate([known[index]["crop"] for index in range(len(known))]))
    ages = probs @ torch.arange(101.0)
    return float((ages - torch.from_numpy(known.low)).abs().mean())


PAST = {"epochs": 7, "rate": 0.006, "head_rate": 1.0, "schedule": "constant", "warmup": 0, "keep": "best"}


@pytest.fixture(scope="module")
def middling(tmp_path_factory: pytest.TempPathFactory, faces_of: Make) -> Path:
    """Faces as bright as 72 and 77 years, said to be 53 and 57: who learns from 40 years on passes them on the way."""
    return Path(faces_of(tmp_path_factory.mktemp("valid") / "valid.parquet", [77, 72], age=[57.0, 53.0]))


def past(middling: Path, **training: Any) -> dict[str, Any]:
    """Changes of a run whose best epoch is one in the middle."""
    still = {**STILL, "flip": 0, "erase": 0}
    training = {**PAST, **training}
    return {"data": {"valid": str(middling)}, "model": {"dropout": 0}, "augmentation": still, "training": training}


@pytest.mark.parametrize("ema", [0.0, 0.5], ids=["plain", "averaged"])
def test_the_best_epoch_is_kept(
    tmp_path: Path, faces: Path, middling: Path, tiny_recipe: Make, killed: Make, ema: float
) -> None:
    changes = past(middling, ema=ema)
    whole = run(faces, tmp_path / "whole", tiny_recipe, **changes)
    found = excess(whole)
    best = found.index(min(found))
    assert 1 < best < len(found) - 1
    assert abs(found[-1] - found[best]) > 1
    assert excess_of(whole, middling) == pytest.approx(found[best], abs=1e-3)
    dying = tiny_recipe(faces, tmp_path / "killed", **changes)
    # Killed once between best.ckpt and last.ckpt, so that the first is the newer one, and once after the best epoch.
    for epoch, step in ((best, -1), (best + 1, 0)):
        killed(dying, epoch, step)
        assert (tmp_path / "killed" / "tiny" / "best.ckpt").exists()
    resumed = train(dying, progress=False)
    expected, given = weights(whole), weights(resumed)
    assert all(torch.equal(given[name], expected[name]) for name in expected)
    # A score may differ in its seventh digit: a matrix product of MKL depends on where its inputs lie in memory.
    assert excess(resumed) == pytest.approx(found, rel=1e-5)


def test_patience_ends_a_run_and_a_later_call_does_not_go_on(
    tmp_path: Path, faces: Path, middling: Path, tiny_recipe: Make
) -> None:
    changes = past(middling, epochs=20, keep="last", patience=2)
    folder = run(faces, tmp_path, tiny_recipe, **changes)
    found = excess(folder)
    best = found.index(min(found))
    assert best > 1
    assert len(found) == best + 1 + 2 < 20
    expected, log = weights(folder), rows(folder)
    (folder / "model.safetensors").unlink()  # killed just before it was written
    assert run(faces, tmp_path, tiny_recipe, **changes) == folder
    assert all(torch.equal(weights(folder)[name], expected[name]) for name in expected)
    assert rows(folder) == log


@pytest.mark.parametrize("change", [{"keep": "best"}, {"patience": 1}])
def test_without_a_known_age_there_is_no_best(
    tmp_path: Path, faces: Path, faces_of: Make, tiny_recipe: Make, change: dict[str, Any]
) -> None:
    from agewise.ages import AgeDistribution
    from agewise.data.manifest import probs_column

    told = probs_column(AgeDistribution.of_ages([20.0, 30.0]))
    unknown = faces_of(tmp_path / "unknown.parquet", [20, 30], age=None, age_probs=told)
    with pytest.raises(ManifestError, match=r"unknown.parquet: no face of known age, to choose the best epoch by"):
        run(faces, tmp_path, tiny_recipe, data={"valid": str(unknown)}, training=change)


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_a_forest_remembers_its_faces_through_a_kill(
    tmp_path: Path, faces: Path, tiny_recipe: Make, killed: Make, ema: float
) -> None:
    forest = {"name": "forest", "trees": 2, "depth": 3, "outputs": 8, "every": 3, "memory": 12}
    changes: dict[str, Any] = {
        "model": {"head": forest},
        "loss": {"name": "tree-squares"},
        "training": {"epochs": 3, "ema": ema, "batch": 5},
    }
    whole = weights(run(faces, tmp_path / "whole", tiny_recipe, **changes))
    dying = tiny_recipe(faces, tmp_path / "killed", **changes)
    killed(dying, 2, 1)
    given = weights(train(dying, progress=False))
    assert all(torch.equal(given[name], whole[name]) for name in whole)
    assert whole["head.seen"].tolist() == [45, 9]  # three epochs of three batches of five; renewed in steps 3, 6 and 9
    assert whole["backbone.network.bn1.num_batches_tracked"] == 9
    assert (whole["head.recent"].abs().sum(dim=1) > 0).all()


def test_whole_numbers_are_not_averaged(tmp_path: Path, faces: Path, tiny_recipe: Make) -> None:
    folder = run(faces, tmp_path, tiny_recipe, training={"ema": 0.5, "epochs": 2})
    state = torch.load(folder / "last.ckpt", weights_only=True)
    averaged, current = state["state_dict"], state["current_model_state"]
    counts = [name for name, value in current.items() if not value.is_floating_point()]
    assert counts
    assert all(torch.equal(averaged[name], current[name]) for name in counts)
    assert averaged.keys() == current.keys()
    assert not torch.equal(averaged["model.head.linear.weight"], current["model.head.linear.weight"])


def test_the_paper_s_rates_over_its_seventy_epochs() -> None:
    """0.005 for 20 epochs, then a fifth of it each 20, at 37 steps an epoch."""
    from types import SimpleNamespace

    training = {"epochs": 70, "rate": 0.005, "schedule": "step", "step_epochs": 20, "step_factor": 0.2, "warmup": 0.0}
    values = {"name": "a", "data": {"train": "t"}, "model": {"backbone": {"name": "x"}}, "training": training}
    told = SimpleNamespace(recipe=check(values, Recipe, "r"))
    for epoch, rate in {0: 5e-3, 19: 5e-3, 20: 1e-3, 39: 1e-3, 40: 2e-4, 59: 2e-4, 60: 4e-5, 69: 4e-5}.items():
        for step in (0, 36):
            assert 0.005 * AgeModule._factor(told, epoch * 37 + step, 70 * 37) == pytest.approx(rate)  # type: ignore[arg-type]
