"""What every head promises: distributions that sum to 1, gradients, losses that fit it, and faces that it can learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agewise.ages import AgeDistribution
from agewise.model.age_model import AgeModel, ModelSettings
from agewise.model.backbone import BackboneSettings
from agewise.model.heads import HEADS
from agewise.training.losses import FITS, LOSSES

PAIRS = [(head, loss) for head in HEADS for loss in FITS[head]]


def test_every_head_has_losses_that_exist() -> None:
    assert set(FITS) == set(HEADS)
    assert all(FITS.values())
    assert {loss for _, loss in PAIRS} == set(LOSSES)  # and no loss is for nothing


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_probs_are_distributions(name: str, kind: torch.dtype) -> None:
    head = HEADS[name](16).to(kind)
    raw = head(10 * torch.randn(7, 16, generator=torch.Generator().manual_seed(0)).to(kind))
    probs = head.probs(raw)
    assert (len(raw), probs.shape, probs.dtype) == (7, (7, 101), torch.float32)
    assert (probs >= 0).all()
    assert torch.allclose(probs.sum(dim=1), torch.ones(7), atol=1e-5)


@pytest.mark.parametrize(("name", "loss"), PAIRS)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_gradients_are_finite(name: str, loss: str, kind: torch.dtype) -> None:
    head = HEADS[name](16).to(kind)
    features = (100 * torch.randn(6, 16, generator=torch.Generator().manual_seed(0))).to(kind)
    targets = AgeDistribution.of_ages([0, 1, 50, 99, 100, 33.3]).probs
    LOSSES[loss](head(features), torch.from_numpy(targets).float(), 0.1).sum().backward()
    gradients = [parameter.grad for parameter in head.parameters()]
    assert all(found is not None and torch.isfinite(found).all() for found in gradients)
    assert any(found is not None and found.abs().max() > 0 for found in gradients)


@pytest.mark.parametrize(("name", "loss"), PAIRS)
def test_it_learns_sixteen_faces(name: str, loss: str) -> None:
    torch.manual_seed(0)
    ages = np.linspace(4, 79, 16)
    noise = np.random.default_rng(0).integers(-6, 7, (16, 32, 32, 3))
    crops = torch.from_numpy((40 + 2 * ages[:, None, None, None] + noise).clip(0, 255).astype(np.uint8))
    targets = torch.from_numpy(AgeDistribution.gaussian(ages, np.full(16, 3.0)).probs).float()
    model = AgeModel(ModelSettings(backbone=BackboneSettings(name="test_resnet"), head=name, size=32, dropout=0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def error() -> float:
        with torch.no_grad():
            means = model.probs(crops) @ torch.arange(101.0)
        return float((means - torch.from_numpy(ages)).abs().mean())

    model.train()
    before = error()
    for _ in range(60):
        optimizer.zero_grad()
        LOSSES[loss](model(crops), targets, 0.1).mean().backward()
        optimizer.step()
    assert before > 15
    assert error() < 4
