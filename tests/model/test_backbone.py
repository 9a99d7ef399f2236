"""Backbones: names and weight files that fit or say why not, colours in order, and batch norms opened again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from agewise.data.settings import SettingsError, check
from agewise.model.age_model import AgeModel, ModelSettings, TorchPredictor
from agewise.model.backbone import Backbone, BackboneSettings, build, reopen_norms


def settings(**changes: Any) -> BackboneSettings:
    return BackboneSettings(**{"name": "test_resnet", **changes})


def crops(count: int = 4, side: int = 32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(
        SettingsError,
        match=r"no backbone 'test_resnot'; there are vgg-16, .*, mivolo_d1, .*, and timm's, such as test_byobnet, ",
    ):
        Backbone(settings(name="test_resnot"))
    with pytest.raises(SettingsError, match="such as mobilenet"):
        Backbone(settings(name="nothing-like-it"))


def test_an_option_that_the_network_has_not() -> None:
    with pytest.raises(SettingsError, match=r"backbone\.options: test_resnet does not take \{'wings': 2\}"):
        Backbone(settings(options={"wings": 2}))


def test_a_size_that_the_network_cannot_take() -> None:
    model = ModelSettings(backbone=settings(name="test_vit3"), size=32)
    with pytest.raises(SettingsError, match=r"model\.size: test_vit3 takes no 32 pixels: .*160"):
        AgeModel(model)
    assert AgeModel(ModelSettings(backbone=settings(name="test_vit3", options={"img_size": 32}), size=32)).training


def test_an_unknown_head_lists_the_heads() -> None:
    with pytest.raises(SettingsError, match=r"r: head: no head 'corall'; there are .*categorical"):
        check({"backbone": {"name": "test_resnet"}, "head": "corall"}, ModelSettings, "r")


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050", "test_vit"])
def test_the_width_is_what_comes_out(name: str) -> None:
    backbone = Backbone(settings(name=name)).eval()
    assert backbone(crops(2, 160 if name == "test_vit" else 32))["age"].shape == (2, backbone.features)


def test_a_weights_file_with_a_classifier_is_loaded(tmp_path: Path) -> None:
    source = build(settings(), pretrained=False)
    state = {name: torch.rand_like(value.float()) for name, value in source.state_dict().items()}
    state["conv1.weight" if "conv1.weight" in state else next(iter(state))].fill_(0.5)
    path = tmp_path / "w.safetensors"
    save_file({**state, "fc.weight": torch.zeros(3, 3)}, path)
    loaded = build(settings(weights=str(path)), pretrained=True).state_dict()
    assert all(torch.equal(value, state[name].to(value.dtype)) for name, value in loaded.items())
    untouched = build(settings(weights=str(path)), pretrained=False).state_dict()
    assert not all(torch.equal(value, loaded[name]) for name, value in untouched.items())


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    chosen = settings(weights=str(path))
    with pytest.raises(SettingsError, match=r"backbone\.weights: no file .*w\.safetensors"):
        Backbone(chosen)
    path.write_text("weights")
    with pytest.raises(SettingsError, match="is not a safetensors file"):
        Backbone(chosen)
    state = build(settings(), pretrained=False).state_dict()
    first = next(iter(state))
    save_file({name: value for name, value in state.items() if name != first}, path)
    with pytest.raises(SettingsError, match=f"does not fit the network: {first} differs"):
        Backbone(chosen)
    save_file({**state, first: torch.zeros(2, 2)}, path)
    with pytest.raises(SettingsError, match=f"does not fit the network: {first} differs"):
        Backbone(chosen)


def test_colours_are_reversed_and_normalised() -> None:
    seen = Backbone(settings(colours="BGR", mean=(1.0, 2.0, 3.0), scale=(2.0, 4.0, 5.0)))
    seen.network = nn.Identity()
    red, green, blue = 11, 22, 33
    pixel = seen(torch.tensor([[[[red, green, blue]]]], dtype=torch.uint8))["age"]
    assert pixel[0, :, 0, 0].tolist() == pytest.approx([(blue - 1) / 2, (green - 2) / 4, (red - 3) / 5])
    straight = Backbone(settings(mean=(1.0, 2.0, 3.0), scale=(2.0, 4.0, 5.0)))
    straight.network = nn.Identity()
    pixel = straight(torch.tensor([[[[red, green, blue]]]], dtype=torch.uint8))["age"]
    assert pixel[0, :, 0, 0].tolist() == pytest.approx([(red - 1) / 2, (green - 2) / 4, (blue - 3) / 5])


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050"])
def test_reopened_norms_keep_the_outputs_and_work_in_training(name: str) -> None:
    torch.manual_seed(0)
    backbone = Backbone(settings(name=name)).eval()
    for norm in norms(backbone):  # folded: a bias and nothing else
        norm.bias.uniform_(-0.5, 0.5)
        norm.weight.fill_((1 + norm.eps) ** 0.5)
    faces = crops(16)
    before = backbone(faces)["age"]
    reopen_norms(backbone, faces)
    assert torch.allclose(backbone(faces)["age"], before, atol=1e-3 * float(before.abs().max()))
    assert all(not torch.allclose(norm.running_var, torch.ones(1), atol=1e-3) for norm in norms(backbone))
    # in training mode the batch's own statistics now give nearly the same, which identity statistics would not
    assert torch.allclose(backbone.train()(faces)["age"], before, atol=0.1 * float(before.abs().max()))


def test_a_trained_model_is_a_predictor_that_cuts_its_window() -> None:
    model = AgeModel(ModelSettings(backbone=settings(), size=32))
    photos = crops(3, 64).numpy()
    ages = TorchPredictor(model)(photos)
    assert ages.probs.shape == (3, 101)
    outside = photos.copy()
    outside[:, :2] = 0  # the window is the middle 90 %
    assert np.array_equal(TorchPredictor(model)(outside).probs, ages.probs)
    assert not model.training
