"""Narrower networks: the strongest filters stay, in blocks; what is lost is only what was left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from agewise.data.settings import SettingsError
from agewise.model.age_model import AgeModel, ModelSettings
from agewise.model.backbone import BackboneSettings, build
from agewise.model.narrowing import narrow
from agewise.training.run_folder import load_run, start_from

WIDE = ModelSettings(backbone=BackboneSettings(name="mobilenetv1_100"), size=32, dropout=0.0)


def mobilenet(seed: int = 0) -> nn.Module:
    """With norms that are not the identity."""
    torch.manual_seed(seed)
    network: nn.Module = timm.create_model("mobilenetv1_100", num_classes=0).eval()
    for norm in (part for part in network.modules() if isinstance(part, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0.0, 0.1)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return network


def silence(network: nn.Module, share: float) -> None:
    """Takes all effect from the last part of the filters of each layer."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d) and part.groups == 1:
            nn.init.zeros_(part.weight[round(share * part.out_channels) :])
        if isinstance(part, nn.BatchNorm2d):
            silent = slice(round(share * part.num_features), None)
            nn.init.zeros_(part.bias[silent])
            nn.init.zeros_(part.running_mean[silent])  # type: ignore[index]


def test_without_filters_that_do_nothing_the_answers_are_the_same() -> None:
    network, crops = mobilenet(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        silence(network, 0.5)
        whole = network(crops)
        kept = narrow(network, 0.5)
        assert torch.allclose(network(crops), whole[:, kept], atol=1e-6)
    assert torch.equal(kept, torch.arange(512))
    assert whole.abs().max() > 0.01


@pytest.mark.parametrize(
    ("share", "widths"), [(0.75, [48, 96, 192, 384, 768]), (0.5, [32, 64, 128, 256, 512]), (0.01, [16] * 5)]
)
def test_that_share_stays_in_whole_blocks(share: float, widths: list[int]) -> None:
    network = mobilenet()
    narrow(network, share)
    found = [stage[-1].conv_pw.out_channels for stage in network.blocks]  # type: ignore[union-attr]
    assert found == widths
    assert network.num_features == widths[-1]
    assert network(torch.rand(1, 3, 64, 64)).shape == (1, widths[-1])


def test_the_norm_decides_with_the_weights() -> None:
    network = nn.Sequential(nn.Conv2d(3, 32, 1), nn.BatchNorm2d(32)).eval()
    with torch.no_grad():
        network[0].weight.fill_(1.0)  # type: ignore[union-attr]
        network[1].weight.copy_(torch.arange(32.0))  # type: ignore[union-attr]
    assert narrow(network, 0.5).tolist() == list(range(16, 32))


@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv3-small",
        "efficientnet_b0",
        "lcnet_050",
        "test_resnet",
        "test_vit",
        "vit_tiny_patch16_224",
    ],
)
def test_networks_of_more_than_one_path_are_refused(name: str) -> None:
    torch.manual_seed(0)  # a bare comparison would let some of them pass with these weights
    with pytest.raises(SettingsError, match=r"^backbone\.width: "):
        build(BackboneSettings(name=name, width=0.5), size=160)


def test_a_narrower_model_starts_from_a_run(tmp_path: Path) -> None:
    recipe = {"name": "wide", "data": {"train": "a"}, "model": WIDE.model_dump(mode="json")}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    torch.manual_seed(1)
    save_file(AgeModel(WIDE).state_dict(), tmp_path / "model.safetensors")
    settings = WIDE.model_copy(update={"backbone": BackboneSettings(name="mobilenetv1_100", width=0.75)})
    model = AgeModel(settings).eval()
    start_from(tmp_path, model)
    wide = load_run(tmp_path)
    kept = narrow(wide.backbone.network, 0.75)
    crops = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = wide.backbone(crops)["age"] @ wide.head.linear.weight[:, kept].T + wide.head.linear.bias
        assert torch.allclose(model(crops), expected, atol=1e-5)
    assert model.head.linear.weight.shape == (101, 768)
