"""Learning from a teacher's answers: what the distances are, and what a run with a teacher makes of its student."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from agewise.data.augmentation.augment import Augmentation
from agewise.data.dataset import Faces
from agewise.data.settings import SettingsError
from agewise.faces.align import Window
from agewise.training.config import Recipe
from agewise.training.fit import train
from agewise.training.imitation import Imitation
from agewise.training.module import AgeModule
from agewise.training.run_folder import load_run

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory, faces_of: Make) -> Path:
    return Path(faces_of(tmp_path_factory.mktemp("faces") / "faces.parquet", range(2, 82, 5)))


def views(count: int = 6, side: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, side, side, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_who_answers_as_the_teacher_is_at_no_distance(tiny_run: Path) -> None:
    teacher = load_run(tiny_run)
    seen = views(side=teacher.settings.size)
    features = teacher.backbone(seen)["age"]
    imitation = Imitation(teacher, features.shape[1])
    with torch.no_grad():
        imitation.projection.weight.copy_(torch.eye(features.shape[1]))
        imitation.projection.bias.zero_()
    divergence, away = imitation(seen, features, teacher.head.log_probs(teacher.raw(features)))
    assert divergence.abs().max() < 1e-5
    assert away.abs().max() < 1e-6


def test_the_divergence_is_kullbacks_and_leiblers(tiny_run: Path) -> None:
    teacher = load_run(tiny_run)
    seen = views(side=teacher.settings.size)
    flat = torch.full((len(seen), 101), 1 / 101).log()
    divergence, _ = Imitation(teacher, 3)(seen, torch.zeros(len(seen), 3), flat)
    probs = teacher.probs(seen)
    expected = torch.nn.functional.kl_div(flat, probs, reduction="none").sum(dim=1)
    assert torch.allclose(divergence, expected, atol=1e-5)
    assert (divergence > 0).all()


def test_a_teacher_is_shown_the_same_view_in_its_own_window(faces: Path) -> None:
    """Of a wider window at the same scale, the middle is what the student sees, turned and lit alike."""
    placed = {"rotation": 10.0, "scale": 0.1, "shift": 0.0, "brightness": 30.0, "flip": 0.5, "erase": 0.0}
    known = Faces(faces, Window(side=0.4), 16, Augmentation(**placed), seed=3)
    assert "teacher_crop" not in known[0]
    known.teacher = Window(side=0.8), 32
    for index in range(len(known)):
        item = known[index]
        student, teacher = (item[name].numpy().astype(float) for name in ("crop", "teacher_crop"))
        assert teacher.shape == (32, 32, 3)
        assert abs(teacher[8:24, 8:24] - student).mean() < 2.0


def test_a_teacher_is_shown_the_clear_view_where_the_student_is_not(faces: Path) -> None:
    clear, worse = (Faces(faces, Window(), 32, Augmentation(degrade=share), seed=3) for share in (0.0, 1.0))
    for known in (clear, worse):
        known.teacher = Window(), 32
    assert sum(not torch.equal(worse[index]["crop"], clear[index]["crop"]) for index in range(len(clear))) > 8
    for index in range(len(clear)):
        assert torch.equal(worse[index]["teacher_crop"], clear[index]["crop"])


def test_a_teacher_is_neither_saved_nor_trained(tiny_run: Path) -> None:
    imitation = Imitation(load_run(tiny_run), 3)
    assert {name for name, _ in imitation.named_parameters()} == {"projection.weight", "projection.bias"}
    assert set(imitation.state_dict()) == {"projection.weight", "projection.bias"}


def test_a_run_comes_nearer_to_its_teacher(faces: Path, tiny_run: Path, tiny_recipe: Make, tmp_path: Path) -> None:
    """From the same random weights, on the same faces: by the labels alone, and by the teacher alone."""
    teacher = load_run(tiny_run)
    seen = views(32, teacher.settings.size)
    far: dict[float, float] = {}
    for share in (0.0, 1.0):
        imitation = {"teacher": str(tiny_run), "share": share}
        training = {"epochs": 20, "rate": 3e-3, "seed": 7}
        folder = train(tiny_recipe(faces, tmp_path / str(share), training=training, imitation=imitation), False)
        assert set(load_file(folder / "model.safetensors")) == set(teacher.state_dict())
        with torch.no_grad():
            far[share] = float((load_run(folder).probs(seen) - teacher.probs(seen)).abs().sum(dim=1).mean())
    assert far[1.0] < 0.7 * far[0.0]


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_a_face_of_weight_0_teaches_nothing(faces: Path, tiny_run: Path, tiny_recipe: Make, share: float) -> None:
    """The second view is mixed with the first, the third with the second: neither of its faces counts."""
    recipe = tiny_recipe(faces, faces.parent, imitation={"teacher": str(tiny_run), "features": 0.5})
    model = load_run(tiny_run)
    module = AgeModule(recipe, model, torch.full((101,), 1 / 101), load_run(tiny_run))
    module.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    module._everywhere = lambda weight: weight  # type: ignore[method-assign]
    raw = torch.randn(4, model.head.linear.out_features, requires_grad=True)
    batch = {"teacher_crop": views(4, model.settings.size), "weight": torch.tensor([2.5, 0.0, 0.0, 0.4])}
    features = torch.zeros(4, model.backbone.features, requires_grad=True)
    module._imitating(torch.zeros(()), batch, share, features, raw).backward()
    taught = raw.grad.abs().sum(dim=1) > 0
    assert taught.tolist() == [True, share < 1, False, True]
    assert features.grad is not None


def test_what_fits_the_features_to_the_teacher_learns_too(
    faces: Path, tiny_run: Path, tiny_recipe: Make, tmp_path: Path
) -> None:
    folder = train(tiny_recipe(faces, tmp_path, imitation={"teacher": str(tiny_run), "features": 1.0}), False)
    state = torch.load(folder / "last.ckpt", weights_only=True)
    learned = sum(one["exp_avg"].numel() for one in state["optimizer_states"][0]["state"].values())
    model = load_run(folder)
    width = model.backbone.features
    assert learned == sum(parameter.numel() for parameter in model.parameters()) + width * (width + 1)


def test_a_run_that_imitates_ends_as_one_that_was_not_killed(
    faces: Path, tiny_run: Path, tiny_recipe: Make, tmp_path: Path, killed: Make
) -> None:
    changes: dict[str, Any] = {
        "imitation": {"teacher": str(tiny_run)},
        "training": {"epochs": 2, "mixup": 0.4, "ema": 0.9},
    }
    whole = train(tiny_recipe(faces, tmp_path / "whole", **changes), progress=False)
    recipe = tiny_recipe(faces, tmp_path / "killed", **changes)
    killed(recipe, 1, 1)
    given, expected = (load_file(folder / "model.safetensors") for folder in (train(recipe, progress=False), whole))
    assert all(torch.equal(given[name], expected[name]) for name in expected)


def test_a_teacher_that_is_not_there(faces: Path, tiny_recipe: Make, tmp_path: Path) -> None:
    recipe = tiny_recipe(faces, tmp_path, imitation={"teacher": str(tmp_path / "nobody")})
    with pytest.raises(SettingsError, match="nobody: not a run folder"):
        train(recipe, progress=False)


def test_a_run_of_another_teacher_is_another_run(
    faces: Path, tiny_run: Path, tiny_recipe: Make, tmp_path: Path
) -> None:
    def recipe(**imitation: Any) -> Recipe:
        found: Recipe = tiny_recipe(faces, tmp_path, imitation=imitation)
        return found

    train(recipe(teacher=str(tiny_run)), progress=False)
    with pytest.raises(SettingsError, match=r"another imitation\.share"):
        train(recipe(teacher=str(tiny_run), share=0.9), progress=False)


def test_a_run_whose_teacher_has_changed_is_refused(
    faces: Path, tiny_run: Path, tiny_recipe: Make, tmp_path: Path
) -> None:
    teacher = Path(shutil.copytree(tiny_run, tmp_path / "teacher"))
    recipe = tiny_recipe(faces, tmp_path, imitation={"teacher": str(teacher)}, training={"mixup": 0.4})
    train(recipe, progress=False)
    state = {name: value * 1.01 for name, value in load_file(teacher / "model.safetensors").items()}
    save_file(state, teacher / "model.safetensors")
    with pytest.raises(SettingsError, match=r"another content of imitation\.teacher"):
        train(recipe, progress=False)


def test_a_teacher_of_another_frame_is_refused(faces: Path, tiny_run: Path, tiny_recipe: Make, tmp_path: Path) -> None:
    teacher = Path(shutil.copytree(tiny_run, tmp_path / "teacher"))
    said = json.loads((teacher / "recipe.json").read_text())
    said["model"] |= {"frame": "square", "margin": 0.5}
    (teacher / "recipe.json").write_text(json.dumps(said))
    with pytest.raises(SettingsError, match=r"sees the frame 'square' with margin 0\.5, this recipe 'aligned'"):
        train(tiny_recipe(faces, tmp_path, imitation={"teacher": str(teacher)}), progress=False)


def test_a_teacher_of_bodies_is_refused(faces: Path, tiny_run: Path, tiny_recipe: Make, tmp_path: Path) -> None:
    model = {"backbone": {"name": "mivolo_tiny"}, "size": 32}
    recipe = tiny_recipe(faces, tmp_path, model=model, imitation={"teacher": str(tiny_run)})
    with pytest.raises(SettingsError, match="the student sees pairs"):
        train(recipe, progress=False)
