"""What every loss promises: one value a face, lowest at the truth; and the divergence is the one of SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from agewise.ages import AgeDistribution
from agewise.model.heads import HEADS
from agewise.training.losses import FITS, LOSSES
from agewise.training.losses.distribution import distribution

PAIRS = [(head, loss) for head in HEADS for loss in FITS[head]]


def targets() -> torch.Tensor:
    rows = [
        AgeDistribution.gaussian([30.0, 2.0, 97.0], [4.0, 2.0, 6.0]).probs,
        AgeDistribution.of_groups([20], [29]).probs,
        AgeDistribution.of_ages([100.0]).probs,
    ]
    return torch.from_numpy(np.concatenate(rows)).float()


def fitted(head: str, loss: str, wanted: torch.Tensor, weight: float) -> torch.Tensor:
    """Raw outputs at which gradient descent ends; the head's own initial ones are where it starts."""
    raw = HEADS[head](4)(torch.zeros(len(wanted), 4)).detach().requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.3)
    for step in range(300):
        for group in optimizer.param_groups:
            group["lr"] = 0.3 * (1 - step / 300)
        optimizer.zero_grad()
        LOSSES[loss](raw, wanted, weight).sum().backward()
        optimizer.step()
    return raw.detach()


@pytest.mark.parametrize(("head", "loss"), PAIRS)
@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_it_is_lowest_at_the_truth(head: str, loss: str, weight: float) -> None:
    wanted, made = targets(), HEADS[head](4)
    raw = fitted(head, loss, wanted, weight)
    best = LOSSES[loss](raw, wanted, weight)
    assert best.shape == (len(wanted),)
    assert torch.allclose(made.probs(raw), wanted, atol=0.02)
    for other in range(1, len(wanted)):  # the truth of another face is worse for each
        assert (LOSSES[loss](raw.roll(other, 0), wanted, weight) > best + 0.05).all()


@pytest.mark.parametrize(("head", "loss"), PAIRS)
def test_faces_do_not_mix(head: str, loss: str) -> None:
    raw = HEADS[head](4)(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)))
    whole = LOSSES[loss](raw, targets(), 0.1)
    alone = torch.cat([LOSSES[loss](raw[n : n + 1], targets()[n : n + 1], 0.1) for n in range(5)])
    assert torch.allclose(whole, alone, atol=1e-6)


def test_the_divergence_is_scipys() -> None:
    raw = 3 * torch.randn(5, 101, generator=torch.Generator().manual_seed(1))
    probs = raw.double().softmax(dim=1).numpy()
    expected = entropy(targets().double().numpy(), probs, axis=1)
    assert distribution(raw, targets()).numpy() == pytest.approx(expected, rel=1e-5)
    ages = np.arange(101)
    apart = np.abs(probs @ ages - targets().numpy() @ ages)
    assert distribution(raw, targets(), 0.1).numpy() == pytest.approx(expected + 0.1 * apart, rel=1e-4)
