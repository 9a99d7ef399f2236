"""Folded networks answer as before, and are left alone where they would not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from agewise.model.age_model import AgeModel, ModelSettings, TorchPredictor
from agewise.model.folding import folded


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def made(backbone: str, head: str = "categorical") -> AgeModel:
    """An untrained network whose batch norms do something."""
    torch.manual_seed(0)
    settings = ModelSettings.model_validate({"backbone": {"name": backbone}, "size": 64, "head": head})
    model = AgeModel(settings, pretrained=False)
    for norm in norms(model):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        nn.init.normal_(norm.running_mean, 0.0, 0.2)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0.0, 0.2)
    return model.eval()


@pytest.mark.parametrize(
    ("backbone", "head", "left"),
    [("mobilenetv1_100", "categorical", 0), ("test_resnet", "coral", 0), ("mobilenetv3_small_050", "categorical", 0)],
)
def test_it_answers_as_before_without_its_norms(backbone: str, head: str, left: int) -> None:
    model = made(backbone, head)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    crops = np.random.default_rng(1).integers(0, 256, (31, 80, 80, 3), dtype=np.uint8)
    before = TorchPredictor(model)(crops)
    fast = folded(model)
    assert len(norms(fast)) == left < len(norms(model))
    after = TorchPredictor(fast)(crops)
    assert after.probs == pytest.approx(before.probs, abs=1e-5)
    assert after.mean == pytest.approx(before.mean, abs=1e-3)
    assert np.ptp(before.mean) > 1e-3  # there is something to change
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())  # the model is as it was


class TwoUses(nn.Module):
    """The convolution's output goes past the norm too: folding would change that path."""

    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        seen = self.convolution(pixels)
        return (seen + self.norm(seen)).mean(dim=(2, 3))


class Again(TwoUses):
    """One convolution before two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.BatchNorm2d(8)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return (self.norm(self.convolution(pixels)) + self.second(self.convolution(-pixels))).mean(dim=(2, 3))


@pytest.mark.parametrize("network", [TwoUses, Again])
def test_a_network_that_it_would_change_is_left_as_it_is(network: type[TwoUses]) -> None:
    model = made("test_resnet")
    model.backbone.network = network()
    model.head = type(model.head)(8, dropout=0.0)
    for norm in norms(model):
        nn.init.uniform_(norm.weight, 2.0, 4.0)
    crops = np.random.default_rng(1).integers(0, 256, (4, 80, 80, 3), dtype=np.uint8)
    before = TorchPredictor(model)(crops)
    fast = folded(model)
    assert len(norms(fast)) == len(norms(model))
    assert np.array_equal(TorchPredictor(fast)(crops).probs, before.probs)


def test_passes_of_a_few_crops_are_the_whole_batch() -> None:
    model = made("test_resnet")
    crops = np.random.default_rng(1).integers(0, 256, (60, 80, 80, 3), dtype=np.uint8)
    each = np.concatenate([TorchPredictor(model)(crops[n : n + 1]).probs for n in range(60)])
    assert TorchPredictor(model)(crops).probs == pytest.approx(each, abs=1e-6)
    assert len(TorchPredictor(model)(crops[:0])) == 0
