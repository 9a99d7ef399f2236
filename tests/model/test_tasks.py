"""Tasks beside the age: losses that leave out what is unknown, settings, and networks that answer them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from agewise.data.settings import SettingsError, check
from agewise.model.age_model import AgeModel, ModelSettings
from agewise.model.margin import MarginHead
from agewise.model.tasks import TaskSettings, groups_of, task_head, task_loss
from agewise.training.config import Recipe
from agewise.training.module import AgeModule

SEX = {"labels": ["female", "male"], "column": "gender"}
LOOKS = {"kind": "attributes", "labels": ["glasses", "beard", "smile"], "group": "face"}
WHO = {"kind": "identity", "subjects": 5}
TASKS = {"sex": SEX, "looks": LOOKS, "who": WHO}


def model(name: str, tasks: dict[str, Any] | None = None, **changes: Any) -> AgeModel:
    torch.manual_seed(0)
    values = {"backbone": {"name": name}, "size": 32, "tasks": TASKS if tasks is None else tasks, **changes}
    return AgeModel(check(values, ModelSettings, "r")).eval()


def crops(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (*shape, 32, 32, 3), dtype=np.uint8))


def noise(*shape: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# Losses


def test_classes_are_cross_entropy_where_known() -> None:
    task, outputs = TaskSettings(labels=("a", "b", "c")), noise(5, 3)
    known = torch.tensor([0, 2, -1, 1, -1])
    expected = functional.cross_entropy(outputs, known, ignore_index=-1, reduction="none")
    given = task_loss(task, outputs, known)
    torch.testing.assert_close(given, expected)
    assert given[[2, 4]].tolist() == [0, 0]


def test_attributes_are_the_mean_over_what_is_known_of_a_face() -> None:
    task = TaskSettings(kind="attributes", labels=("a", "b", "c"))
    outputs, nan = noise(3, 3), float("nan")
    known = torch.tensor([[1, 0, 1], [nan, 1, nan], [nan] * 3])
    terms = functional.binary_cross_entropy_with_logits(outputs, known.nan_to_num(0), reduction="none")
    expected = torch.stack([terms[0].mean(), terms[1, 1], torch.tensor(0.0)])
    torch.testing.assert_close(task_loss(task, outputs, known), expected)


def test_an_identity_is_a_softmax_of_cosines_with_a_margin() -> None:
    task = TaskSettings(kind="identity", subjects=4, margin=0.3, scale=10.0)
    cosines, known = noise(3, 4).tanh(), torch.tensor([1, -1, 3])
    harder = 10 * (cosines - 0.3 * functional.one_hot(known.clamp_min(0), 4))
    expected = functional.cross_entropy(harder, known, ignore_index=-1, reduction="none")
    torch.testing.assert_close(task_loss(task, cosines, known), expected)


@pytest.mark.parametrize(
    ("task", "known"),
    [
        (SEX, torch.tensor([0, -1])),
        (LOOKS, torch.tensor([[0.0, float("nan"), 1.0], [float("nan")] * 3])),
        (WHO, torch.tensor([2, -1])),
    ],
)
def test_what_is_unknown_teaches_nothing(task: dict[str, Any], known: Tensor) -> None:
    settings = TaskSettings.model_validate(task)
    outputs = (noise(2, settings.outputs) / 9).clamp(-1, 1).to(torch.bfloat16).requires_grad_()
    losses = task_loss(settings, outputs, known)
    assert losses.dtype == torch.float32
    assert losses[0] > 0.01
    assert losses[1] == 0
    losses.sum().backward()
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all()
    assert outputs.grad[0].abs().max() > 0
    assert (outputs.grad[1] == 0).all()
    if known.ndim == 2:
        assert outputs.grad[0].tolist()[1] == 0  # the unknown one of the three


def test_heads_are_as_wide_as_their_answers() -> None:
    assert isinstance(task_head(TaskSettings.model_validate(WHO), 7), MarginHead)
    for task, count in ((SEX, 2), (LOOKS, 3), (WHO, 5)):
        settings = TaskSettings.model_validate(task)
        assert task_head(settings, 7)(noise(4, 7)).shape == (4, count) == (4, settings.outputs)


def test_a_task_weighs_in_the_whole_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Age's loss + weight * task's loss of each face, times the face's weight."""
    tasks = {"sex": {**SEX, "weight": 0.25}, "looks": {**LOOKS, "weight": 3.0}}
    values: dict[str, Any] = {"name": "a", "data": {"train": "t"}, "loss": {"name": "cross-entropy"}}
    values["model"] = {"backbone": {"name": "test_resnet"}, "size": 32, "tasks": tasks}
    recipe = check(values, Recipe, "r")
    module = AgeModule(recipe, model("test_resnet", tasks), torch.full((101,), 1 / 101))
    monkeypatch.setattr(module, "_progress", lambda: 0.5)
    known = {"sex": torch.tensor([1, -1]), "looks": torch.tensor([[1.0, 0, 1], [0, float("nan"), 0]])}
    batch = {"weight": torch.tensor([1.0, 2.0]), "target": torch.eye(101)[[20, 60]], "tasks": known}
    batch["group_only"] = torch.zeros(2, dtype=torch.bool)
    batch["low"] = batch["high"] = torch.full((2,), torch.nan)
    outputs = {"sex": noise(2, 2), "looks": noise(2, 3)}
    raw = noise(2, 101)
    age = functional.cross_entropy(raw, torch.tensor([20, 60]), reduction="none")
    sex = functional.cross_entropy(outputs["sex"], known["sex"], ignore_index=-1, reduction="none")
    bce = functional.binary_cross_entropy_with_logits(outputs["looks"], known["looks"].nan_to_num(0), reduction="none")
    looks = torch.stack([bce[0].mean(), bce[1, [0, 2]].mean()])
    total, weight = module._loss(raw, outputs, batch)  # type: ignore[arg-type]
    expected = ((age + 0.25 * sex + 3 * looks) * torch.tensor([1.0, 2.0])).sum()
    assert (total.item(), weight.item()) == (pytest.approx(expected.item(), rel=1e-5), 3.0)


# Settings


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ({"sex": {"labels": ["female"]}}, r"tasks\.sex: classes have the labels \['female'\]; 2 or more are needed"),
        ({"sex": {}}, r"tasks\.sex: classes have the labels \[\]; 2 or more"),
        ({"looks": {"kind": "attributes"}}, r"tasks\.looks: attributes have the labels \[\]; 1 or more"),
        ({"sex": {"labels": ["a", "b", "a"]}}, r"tasks\.sex: classes have the label 'a' twice"),
        ({"looks": {"kind": "attributes", "labels": ["a", "a"]}}, "attributes have the label 'a' twice"),
        ({"who": {"kind": "identity"}}, r"tasks\.who: an identity has 0 subjects; 2 or more are needed"),
        ({"who": {"kind": "identity", "subjects": 1}}, "an identity has 1 subjects"),
        ({"who": {**WHO, "margin": 1.0}}, r"tasks\.who\.margin: .* less than 1 \(given: 1\.0\)"),
        ({"who": {**WHO, "scale": 0}}, r"tasks\.who\.scale: .* greater than 0"),
        ({"sex": {**SEX, "weight": -1}}, r"tasks\.sex\.weight: .* greater than or equal to 0 \(given: -1\)"),
        ({"sex": {**SEX, "kind": "class"}}, r"tasks\.sex\.kind: .*'classes', 'attributes' or 'identity'"),
        ({"sex": {**SEX, "wieght": 1}}, r"no setting tasks\.sex\.wieght; there are kind, column, labels"),
        ({"age": SEX}, "tasks: no task is called 'age': that is the head"),
        ({"who": WHO, "whose": WHO}, "tasks: one task of the kind 'identity' is enough"),
    ],
)
def test_bad_settings_are_one_line(tasks: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        check({"backbone": {"name": "test_resnet"}, "tasks": tasks}, ModelSettings, "r")
    assert "\n" not in str(caught.value)


def test_groups_share_and_an_identity_does_not() -> None:
    tasks = {name: TaskSettings.model_validate(task) for name, task in TASKS.items()}
    groups = {"age": "age", "sex": "sex", "looks": "face", "who": "who"}
    assert groups_of(tasks) == (groups, "who")
    young = {"young": TaskSettings(labels=("no", "yes"), group="age")}
    assert groups_of(young) == ({"age": "age", "young": "age"}, None)
    alone = {"who": TaskSettings(kind="identity", subjects=3, group="age")}
    assert groups_of(alone)[0]["who"] == "who"
    assert groups_of({}) == ({"age": "age"}, None)


def test_a_group_that_is_the_identity_is_refused() -> None:
    tasks = {"who": WHO, "sex": {**SEX, "group": "who"}}
    with pytest.raises(SettingsError, match="the task sex is in the group who, an identity, which never shares"):
        model("swinface_tiny", tasks)


@pytest.mark.parametrize("name", ["", "a.b", "type", "keys", "training"])
def test_a_name_that_no_module_can_have_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"tasks: a task is (called|named) '{name}'; ") as caught:
        model("test_resnet", {name: SEX})
    assert "\n" not in str(caught.value)


# Networks


@pytest.mark.parametrize("name", ["test_resnet", "swinface_tiny", "mivolo_tiny"])
def test_networks_answer_all_tasks(name: str) -> None:
    made = model(name)
    raw, outputs = made.answers(crops(3))
    assert raw.shape == (3, 101)
    assert {task: tuple(found.shape) for task, found in outputs.items()} == {
        "sex": (3, 2),
        "looks": (3, 3),
        "who": (3, 5),
    }
    assert torch.equal(raw, made(crops(3)))
    assert torch.equal(made.probs(crops(3)), made.head.probs(raw))
    assert (outputs["who"].abs() <= 1 + 1e-5).all()  # cosines
    made.train()
    raw, outputs = made.answers(crops(4))
    sum(found.square().sum() for found in (raw, *outputs.values())).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in made.tasks.parameters())
    assert all(parameter.grad is not None for parameter in made.head.parameters())


def test_without_tasks_there_are_no_answers_beside_the_age() -> None:
    raw, outputs = model("test_resnet", {}).answers(crops(2))
    assert (raw.shape, outputs) == ((2, 101), {})


def test_tasks_of_swinface_read_their_own_groups() -> None:
    """Sex and age by themselves, looks in the group of its name, who from the identity's embedding."""
    made = model("swinface_tiny", {**TASKS, "young": {"labels": ["no", "yes"], "group": "age"}})
    assert made.backbone.groups == ("age", "sex", "face", "who")
    features = made.backbone(crops(2))
    _, outputs = made.answers(crops(2))
    for task, group in {"sex": "sex", "looks": "face", "who": "who", "young": "age"}.items():
        torch.testing.assert_close(outputs[task], made.tasks[task](features[group]))
    assert all(not torch.allclose(features["age"], features[other]) for other in ("sex", "face", "who"))


def test_a_missing_body_is_black() -> None:
    made, faces = model("mivolo_tiny"), crops(2)
    pairs = torch.stack([faces, torch.zeros_like(faces)], dim=1)
    alone, given = made.answers(faces), made.answers(pairs)
    assert torch.equal(alone[0], given[0])
    assert all(torch.equal(alone[1][task], given[1][task]) for task in TASKS)
    both = made(torch.stack([faces, crops(2).flip(1)], dim=1))
    assert not torch.allclose(both, alone[0], atol=1e-3)
    assert made(torch.stack([torch.zeros_like(faces), faces], dim=1)).isfinite().all()


def test_tokens_answer_with_half_of_the_strongest_patch() -> None:
    """Class token's answer + half the largest answer of any patch, output by output (Yuan et al. 2022)."""
    made = model("mivolo_tiny")
    assert made.tokens is not None
    for part in (made.head, made.tokens):  # answers of a size at which the maximum tells
        nn.init.normal_(part.linear.weight, generator=torch.Generator().manual_seed(1))
    faces = crops(3)
    tokens = made.backbone(faces)["age"]
    assert tokens.shape == (3, 1 + 2 * 2, made.backbone.features)
    own, patches = made.head.linear, made.tokens.linear
    expected = tokens[:, 0] @ own.weight.T + own.bias
    answers = [tokens[:, place] @ patches.weight.T + patches.bias for place in range(1, 5)]
    expected = expected + 0.5 * torch.stack(answers).max(dim=0).values
    torch.testing.assert_close(made(faces), expected, rtol=1e-4, atol=1e-4)
    assert len({int(place) for place in torch.stack(answers).argmax(dim=0).flatten()}) > 1
    _, outputs = made.answers(faces)
    torch.testing.assert_close(outputs["sex"], made.tasks["sex"](tokens[:, 0]))  # tasks read the class token


def test_other_networks_have_no_tokens() -> None:
    made = model("test_resnet")
    assert made.tokens is None
    features = made.backbone(crops(2))["age"]
    torch.testing.assert_close(made(crops(2)), made.head(features))
