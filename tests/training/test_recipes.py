"""The recipes of the repository: all can be read, say what their sources say, and train where faces are given."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from agewise.data.augmentation.paper import MARGIN
from agewise.data.manifest import write_manifest
from agewise.model.backbone import Backbone, BackboneSettings
from agewise.model.students import STUDENTS
from agewise.training.config import Recipe, read_recipe
from agewise.training.fit import train
from agewise.training.run_folder import load_run
from tests.training.test_schedules import rows, weights

Make = Callable[..., Any]
RECIPES = Path(__file__).parents[2] / "recipes"
MEANS = np.array([91.4953, 103.8827, 131.0912])
"""Of VGGFace2: blue, green, red."""


def read(name: str, *overrides: str) -> Recipe:
    return read_recipe(RECIPES / f"{name}.toml", overrides)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_is_read_and_stands_in_the_table(path: Path) -> None:
    assert read_recipe(path).name == path.stem
    table = re.findall(r"^\| `([^`]+)` \|", (RECIPES / "README.md").read_text(), re.MULTILINE)
    assert table.count(path.stem) == 1
    assert {f"{name}.toml" for name in table} <= {found.name for found in RECIPES.glob("*.toml")}


@pytest.mark.parametrize("name", STUDENTS)
def test_the_paper_s_students(name: str) -> None:
    recipe = read(f"paper-{name}")
    model, training = recipe.model, recipe.training
    assert (model.backbone.name, model.backbone.weights, model.frame) == (name, "timm", "square")
    box = 1 / (1 + 2 * model.margin)
    assert model.window.side == pytest.approx(box * (1 + 2 * MARGIN))
    assert (model.window.x, model.window.y) == (0.5, 0.5)
    assert model.size == (96 if name == "mobilenetv3-small" else 224)
    assert (model.head.name, model.dropout, recipe.loss.name, recipe.loss.options) == ("regression", 0.0, "l2", {})
    assert (training.optimizer, training.momentum, training.decay, training.head_rate) == ("sgd", 0.0, 0.0, 1.0)
    assert training.rate == (5e-5 if name == "vgg-16" else 5e-3)
    assert (training.schedule, training.step_epochs, training.step_factor) == ("step", 20, 0.2)
    assert (training.epochs, training.batch, training.accumulate, training.keep) == (70, 128, 1, "best")
    assert (training.warmup, training.clip, training.ema, training.mixup) == (0.0, 0.0, 0.0, 0.0)
    assert (recipe.data.balance, recipe.data.reweight, recipe.augmentation.policy) == (0.0, 0.0, "paper")


@pytest.mark.parametrize("name", STUDENTS)
def test_pixels_of_the_paper_s_students(name: str) -> None:
    """Blue, green, red less VGGFace2's means and nothing else; VGG-16's are x / 127.5 - 1 after that."""
    said = read(f"paper-{name}").model.backbone
    pixels = BackboneSettings(name="test_resnet", colours=said.colours, mean=said.mean, scale=said.scale)
    crops = torch.arange(48, dtype=torch.uint8).reshape(1, 4, 4, 3) * 5
    given = Backbone(pixels)._pixels(crops)[0].permute(1, 2, 0).double().numpy()
    expected = crops[0].numpy()[..., ::-1] - MEANS
    assert np.allclose(given, expected / 127.5 - 1 if name == "vgg-16" else expected, atol=1e-4)


def test_the_paper_s_second_steps() -> None:
    first, lap, adience = (read(f"paper-{name}") for name in ("mobilenetv3-small", "lap", "adience"))
    for recipe in (lap, adience):
        assert recipe.training.start == str(first.folder)
        assert recipe.model.backbone == first.model.backbone.model_copy(update={"weights": None})
        assert recipe.model.model_copy(update={"head": first.model.head, "dropout": 0.0, "backbone": None}) == (
            first.model.model_copy(update={"backbone": None})
        )
        assert recipe.training.rate == pytest.approx(first.training.rate / 10)
    assert lap.model.head == first.model.head
    assert (lap.training.schedule, lap.training.momentum, lap.training.keep) == ("constant", 0.0, "best")
    assert (lap.training.epochs, lap.training.batch, lap.data.valid) == (70, 128, "work/lap-valid.parquet")
    assert (adience.model.head.options, adience.model.dropout, adience.loss.name) == (
        {"scheme": "adience"},
        0.5,
        "cross-entropy",
    )
    training = adience.training
    assert (training.momentum, training.decay, training.batch, training.epochs) == (0.9, 0.001, 32, 35)
    assert (training.schedule, training.step_epochs, training.step_factor) == ("step", 20, 0.2)
    assert (training.keep, adience.data.valid) == ("last", None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, faces_of: Make) -> Path:
    """Square crops with exact ages and with Adience's groups, and upright ones with sex and ethnicity."""
    place = tmp_path_factory.mktemp("recipes")
    labels = read("swinface-small").model.tasks["ethnicity"].labels
    others = {"sex": ["F", "M"] * 7 + [None, "F"], "ethnicity": [*labels, *labels, None, labels[0]]}
    faces_of(place / "aligned.parquet", range(2, 82, 5), **others)
    bounds: dict[str, Any] = {
        "age": [None] * 4,
        "age_low": [0.0, 8.0, 25.0, 60.0],
        "age_high": [2.0, 12.0, 32.0, 100.0],
    }
    for name, ages, columns in (("square", range(2, 82, 5), {}), ("groups", [1, 10, 28, 70], bounds)):
        path = faces_of(place / f"{name}.parquet", ages, **columns)
        write_manifest(pq.read_table(path), path, {"frame": "square", "margin": 0.5})
    return place


def tiny(name: str, folder: Path, train_on: str, *overrides: str) -> Recipe:
    """A recipe with nothing changed but its faces, where it writes, and how much there is to do."""
    train_on = str(folder / f"{train_on}.parquet")
    valid = [f"data.valid={train_on}"] if read(name).data.valid else []
    few = ["training.epochs=1", "training.batch=4", "training.threads=1", "data.workers=0", "model.size=32"]
    return read(name, f"runs={folder}", f"data.train={train_on}", *valid, *few, *overrides)


@pytest.fixture(scope="module")
def paper(folder: Path) -> Path:
    """An epoch of the paper's smallest student, from a local file of (random) weights."""
    torch.manual_seed(0)
    network = Backbone(BackboneSettings(name="mobilenetv3-small"), 32).network
    save_file(network.state_dict(), folder / "weights.safetensors")
    local = f"model.backbone.weights={folder / 'weights.safetensors'}"
    return train(tiny("paper-mobilenetv3-small", folder, "square", local), progress=False)


def test_a_paper_s_recipe_runs(paper: Path) -> None:
    losses = [float(row["train_loss_epoch"]) for row in rows(paper) if row["train_loss_epoch"]]
    assert len(losses) == 1
    assert 100 < losses[0] < 3000  # squared years, from the mean age on: the variance of the ages is 531
    assert (paper / "best.ckpt").exists()
    assert load_run(paper).probs(torch.zeros(1, 32, 32, 3, dtype=torch.uint8)).shape == (1, 101)


@pytest.mark.parametrize(("name", "faces"), [("paper-lap", "square"), ("paper-adience", "groups")])
def test_second_steps_start_from_it(folder: Path, paper: Path, name: str, faces: str) -> None:
    still = ("training.rate=1e-12", "training.decay=0.0")
    expected = weights(paper)
    run = train(tiny(name, folder, faces, f"training.start={paper}", *still), progress=False)
    given = weights(run)
    model = load_run(run)
    parameters = dict(model.backbone.named_parameters(prefix="backbone"))
    assert all(torch.allclose(given[name], expected[name], atol=1e-7) for name in parameters)
    head = given["head.linear.weight"]
    assert head.shape[0] == (1 if name == "paper-lap" else 8)
    if name == "paper-lap":
        assert torch.allclose(head, expected["head.linear.weight"], atol=1e-7)
        assert torch.allclose(given["head.linear.bias"], expected["head.linear.bias"], atol=1e-6)
    else:
        loss = next(float(row["train_loss_epoch"]) for row in rows(run) if row["train_loss_epoch"])
        assert 1 < loss < 6  # of eight groups as yet unknown, ln 8 = 2.1, and within a group a share of its ages


@pytest.mark.parametrize(
    ("name", "backbone"),
    [("modern", "test_resnet"), ("mivolo-small", "mivolo_tiny"), ("swinface-small", "swinface_tiny")],
)
def test_modern_recipes_train(folder: Path, name: str, backbone: str) -> None:
    (folder / "resnet.safetensors").unlink(missing_ok=True)
    changes = [f"model.backbone.name={backbone}", "training.precision=32-true"]
    if name == "modern":
        network = Backbone(BackboneSettings(name=backbone), 32).network
        save_file(network.state_dict(), folder / "resnet.safetensors")
        changes.append(f"model.backbone.weights={folder / 'resnet.safetensors'}")
    run = train(tiny(name, folder, "aligned", *changes), progress=False)
    scores = [float(row["valid_excess"]) for row in rows(run) if row["valid_excess"]]
    assert len(scores) == 1
    assert 0 < scores[0] < 60
    tasks = {"modern": set(), "mivolo-small": {"sex"}, "swinface-small": {"sex", "ethnicity"}}
    assert set(load_run(run).tasks) == tasks[name]
