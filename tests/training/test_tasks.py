"""What a run begins with and learns from: another run's weights, other tasks, groups of ages, weights and draws."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import default_collate

from agewise.data.attributes import attributes, identities
from agewise.data.manifest import ManifestError
from agewise.data.settings import SettingsError, check
from agewise.model.age_model import AgeModel, ModelSettings
from agewise.training.config import Recipe
from agewise.training.fit import train
from agewise.training.loading import EpochSampler, loader, open_faces
from agewise.training.run_folder import load_run, start_from
from tests.training.test_schedules import NORMLESS, STILL, rows, weights

Make = Callable[..., Any]
NOTHING = {"epochs": 1, "rate": 1e-12, "warmup": 0, "decay": 0.0}
"""A rate at which weights stay what they are."""
KNOWN = {"sex": {"labels": ["F", "M"]}, "smile": {"kind": "attributes", "labels": ["bright", "dark"]}}


def settings_of(run: Path, **changes: Any) -> ModelSettings:
    recipe = check(json.loads((run / "recipe.json").read_text()), Recipe, "recipe")
    return ModelSettings.model_validate({**recipe.model.model_dump(), **changes})


def started(run: Path, **changes: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A model's weights before and after it was given those of a run."""
    model = AgeModel(settings_of(run, **changes), pretrained=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start_from(run, model)
    return before, model.state_dict()


def same(given: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], beginning: str) -> bool:
    names = [name for name in given if name.startswith(beginning)]
    assert names
    return all(torch.equal(given[name], expected[name]) for name in names)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, faces_of: Make, tiny_recipe: Make) -> Path:
    """A run that has learned age, sex (the brighter half are men), attributes and who it is; of `unknown` nothing."""
    folder = tmp_path_factory.mktemp("tasks")
    ages = [*range(2, 34, 2), *range(46, 78, 2)]
    bright = [age > 40 for age in ages]
    columns: dict[str, Any] = {
        "sex": ["M" if older else "F" for older in bright],
        "bright": [float(older) for older in bright],
        "dark": [None if index % 3 else 1.0 - float(older) for index, older in enumerate(bright)],
        "subject": [None if index % 5 == 0 else f"s{older}" for index, older in enumerate(bright)],
        "unknown": pa.array([None] * len(ages), pa.string()),
    }
    faces = faces_of(folder / "faces.parquet", ages, **columns)
    who = {"kind": "identity", "subjects": 2, "column": "subject", "scale": 8.0, "margin": 0.1}
    tasks = {**KNOWN, "who": who, "unknown": {"labels": ["a", "b"]}}
    training = {"epochs": 8, "rate": 5e-3, "head_rate": 1.0, "decay": 0.0}
    recipe = tiny_recipe(faces, folder, model={"tasks": tasks, "dropout": 0.0}, training=training, data={"valid": None})
    return Path(train(recipe, progress=False))


def test_tasks_are_learned_beside_the_age(taught: Path) -> None:
    recipe = check(json.loads((taught / "recipe.json").read_text()), Recipe, "recipe")
    faces, _ = open_faces(
        recipe.model_copy(update={"augmentation": recipe.augmentation.model_copy(update={**STILL, "erase": 0})})
    )
    batch = default_collate([faces[index] for index in range(len(faces))])
    with torch.no_grad():
        _, outputs = load_run(taught).answers(batch["crop"])
    sex = batch["tasks"]["sex"]
    assert float((outputs["sex"].argmax(dim=1) == sex).float().mean()) > 0.9
    known = batch["tasks"]["smile"]
    told = ~known.isnan()
    assert told.float().mean(dim=0).tolist() == pytest.approx([1.0, 11 / 32])
    assert float(((outputs["smile"] > 0) == (known == 1))[told].float().mean()) > 0.9
    who = batch["tasks"]["who"]
    assert float((outputs["who"].argmax(dim=1) == who)[who >= 0].float().mean()) > 0.9
    assert outputs["who"].shape == (32, 2)


def test_what_is_not_known_teaches_nothing(taught: Path) -> None:
    recipe = check(json.loads((taught / "recipe.json").read_text()), Recipe, "recipe")
    torch.manual_seed(recipe.training.seed)
    untouched = AgeModel(recipe.model).state_dict()
    learned = weights(taught)
    assert same(learned, untouched, "tasks.unknown.")
    assert not same(learned, untouched, "tasks.sex.")


@pytest.mark.parametrize(
    ("column", "values", "text"),
    [
        ("sex", ["M", "X"], "column sex holds 'X'; the labels are F, M"),
        ("bright", [0.0, 2.0], "the attributes bright, dark hold other values than 0, 1 and null"),
        ("bright", ["yes", "no"], "the attributes bright, dark hold other values than 0, 1 and null"),
    ],
)
def test_labels_of_another_kind_are_one_line(
    tmp_path: Path, faces_of: Make, tiny_recipe: Make, column: str, values: list[Any], text: str
) -> None:
    columns: dict[str, Any] = {"sex": ["F", "M"], "bright": [0, 1], "dark": [True, None]}
    faces = faces_of(tmp_path / "f.parquet", [20, 60], **{**columns, column: values})
    recipe = tiny_recipe(faces, tmp_path, model={"tasks": KNOWN})
    with pytest.raises(ManifestError, match=f"f.parquet: {text}"):
        open_faces(recipe)


def test_people_are_counted_by_name(tmp_path: Path, faces_of: Make) -> None:
    faces = faces_of(tmp_path / "f.parquet", [20, 60, 70], subject=["b", None, "a"])
    assert identities(faces, "subject", 2).tolist() == [1, -1, 0]
    with pytest.raises(ManifestError, match="column subject holds 2 subjects; the task was made for 1"):
        identities(faces, "subject", 1)


def test_attributes_may_be_true_and_false(tmp_path: Path, faces_of: Make) -> None:
    faces = faces_of(tmp_path / "f.parquet", [20, 60, 70], dark=[True, None, False])
    assert np.array_equal(attributes(faces, ["dark"]), [[1.0], [np.nan], [0.0]], equal_nan=True)


def test_a_run_starts_from_another(taught: Path) -> None:
    expected = weights(taught)
    before, after = started(taught)
    assert same(after, expected, "")
    assert not same(before, expected, "backbone.")


def test_a_changed_head_begins_anew_and_a_changed_task_too(taught: Path) -> None:
    expected = weights(taught)
    before, after = started(taught, head={"name": "groups"}, tasks={**KNOWN, "sex": {"labels": ["M", "F"]}})
    assert same(after, expected, "backbone.")
    assert same(after, before, "head.")
    assert same(after, before, "tasks.sex.")  # of the same shape, but its first class is another one
    assert same(after, expected, "tasks.smile.")


def test_heads_of_one_shape_are_not_one_head(tmp_path: Path, faces_of: Make, tiny_recipe: Make) -> None:
    faces = faces_of(tmp_path / "f.parquet", [20, 60])
    changes = {"model": {"head": "regression"}, "training": {"epochs": 1, "batch": 2}, "data": {"valid": None}}
    run = train(tiny_recipe(faces, tmp_path, **changes), progress=False)
    expected = weights(run)
    same_head = {"name": "regression", "normalised": False}
    assert same(started(run, head=same_head)[1], expected, "head.")
    for head in ({"name": "regression", "normalised": True}, {"name": "coral"}):
        before, after = started(run, head=head)
        assert before["head.linear.weight"].shape == expected["head.linear.weight"].shape
        assert same(after, before, "head.")
        assert same(after, expected, "backbone.")


def test_training_begins_where_the_other_run_ended(
    taught: Path, tmp_path: Path, faces_of: Make, tiny_recipe: Make
) -> None:
    faces = faces_of(tmp_path / "f.parquet", [20, 60])
    start = {**NOTHING, "start": str(taught), "batch": 2}
    run = train(
        tiny_recipe(faces, tmp_path, model={"head": "groups"}, training=start, data={"valid": None}), progress=False
    )
    given, expected = weights(run), weights(taught)
    parameters = {name for name, _ in load_run(run).backbone.named_parameters(prefix="backbone")}
    assert all(torch.allclose(given[name], expected[name], atol=1e-9) for name in parameters)
    assert given["head.linear.weight"].shape[0] == 8
    assert len(json.loads((run / "run.json").read_text())["start"]) == 64
    with pytest.raises(SettingsError, match="has another backbone: no backbone"):
        train(tiny_recipe(faces, tmp_path / "b", model=NORMLESS, training=start), progress=False)
    with pytest.raises(SettingsError, match=r"not a run folder \(it has no recipe.json\)"):
        train(tiny_recipe(faces, tmp_path / "c", training={**start, "start": str(tmp_path / "d")}), progress=False)


def test_rare_ages_count_more_or_come_more_often(tmp_path: Path, faces_of: Make, tiny_recipe: Make) -> None:
    """Three faces of 20 years and one of 70: a mean of 1, and as much for 70 as for 20."""
    faces = faces_of(tmp_path / "f.parquet", [20, 20, 20, 70], weight=[2.0, 1.0, 1.0, 1.0])
    weighed, _ = open_faces(tiny_recipe(faces, tmp_path, data={"reweight": 1.0}))
    assert weighed.weights == pytest.approx([4 / 3, 2 / 3, 2 / 3, 2.0], rel=1e-5)
    halfway, _ = open_faces(tiny_recipe(faces, tmp_path, data={"reweight": 0.5}))
    assert halfway.weights[3] / halfway.weights[1] == pytest.approx(np.sqrt(3), rel=1e-5)
    recipe = tiny_recipe(faces, tmp_path, data={"balance": 1.0})
    drawn, _ = open_faces(recipe)
    assert drawn.weights == pytest.approx([2.0, 1.0, 1.0, 1.0])
    sampler = loader(drawn, recipe, training=True).sampler
    assert isinstance(sampler, EpochSampler)
    assert sampler.weights == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0], rel=1e-5)
    counts = np.zeros(4)
    for epoch in range(200):
        sampler.set_epoch(epoch)
        counts += np.bincount(list(sampler), minlength=4)
    assert counts[3] / 200 == pytest.approx(2.0, abs=0.25)  # of four faces, chance repeats some


@pytest.mark.parametrize("groups", ["interval", "spread"])
def test_a_group_is_any_of_its_ages(tmp_path: Path, faces_of: Make, tiny_recipe: Make, groups: str) -> None:
    """The logged loss by hand: -log p(age), -log p(30..39) or the divergence from evenly spread ages, weighted."""
    labels: dict[str, Any] = {"age": [20.0, None, None], "age_low": [None, 30.0, 60.0], "age_high": [None, 39.0, 100.0]}
    faces = faces_of(tmp_path / "f.parquet", [20, 35, 70], **labels, weight=[1.0, 2.0, 5.0])
    recipe = tiny_recipe(
        faces,
        tmp_path,
        model=NORMLESS,
        loss={"name": "distribution", "groups": groups},
        data={"valid": None},
        training={**NOTHING, "batch": 3},
    )
    run = train(recipe, progress=False)
    known, _ = open_faces(recipe)
    crops = torch.stack([known[index]["crop"] for index in range(3)])
    with torch.no_grad():
        probs = load_run(run).probs(crops).double().numpy()
    if groups == "interval":
        others = [-np.log(probs[1, 30:40].sum()), -np.log(probs[2, 60:].sum())]
    else:
        others = [(-np.log(probs[1, 30:40]) - np.log(10)).mean(), (-np.log(probs[2, 60:]) - np.log(41)).mean()]
    by_hand = np.average([-np.log(probs[0, 20]), *others], weights=[1, 2, 5])
    logged = [float(row["train_loss_step"]) for row in rows(run) if row["train_loss_step"]]
    assert logged == pytest.approx([by_hand], rel=1e-5)
