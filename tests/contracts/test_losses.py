"""What every loss promises: one value a face, lowest at the truth, no face's value depending on another's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agewise.ages import AgeDistribution
from agewise.model.heads import HEADS
from agewise.model.heads.forest import Forest
from agewise.model.heads.regression import RegressionHead
from agewise.training.losses import LOSSES, view_of
from tests.contracts.pairs import PAIRS, head_of, means, objective_of, targets

AGES = [30.0, 5.0, 72.0, 18.0, 50.0]
OWN = [(head, loss) for head, loss in PAIRS if view_of(loss) != "log_probs"]
OF_DISTRIBUTIONS = [loss for loss in LOSSES if view_of(loss) == "log_probs"]


def test_every_loss_reads_a_view_that_some_head_has() -> None:
    assert {loss for _, loss in PAIRS} == set(LOSSES)
    assert all(any(hasattr(head, view_of(loss)) for head in HEADS.values()) for loss in LOSSES)


@pytest.mark.parametrize("loss", OF_DISTRIBUTIONS)
def test_no_other_distribution_is_better_than_the_true_one(loss: str) -> None:
    made, objective, wanted = head_of("categorical"), objective_of(loss), targets(AGES, 2.0)
    at = {
        off: objective(made, targets(np.add(AGES, off), 2.0).log().clamp_min(-60), wanted) for off in (-5, -2, 0, 2, 9)
    }
    assert all((at[off] > at[0] + 0.01).all() for off in at if off)
    assert (objective(made, targets(AGES, 6.0).log().clamp_min(-60), wanted) > at[0] + 0.01).all()


@pytest.mark.parametrize(("head", "loss"), OWN)
def test_it_is_lowest_at_the_truth(head: str, loss: str) -> None:
    wanted, made, objective = targets(AGES, 2.0), head_of(head, 4), objective_of(loss)
    raw = fitted(head, loss, wanted, made(torch.zeros(5, 4)).detach())
    best = objective(made, raw, wanted, progress=0.5)
    assert best.shape == (5,)
    off = (means(made, raw) - torch.tensor(AGES)).abs().max()
    limit = 12 if isinstance(made, Forest) else 1
    assert off < limit, f"the loss is lowest {off:.1f} years from the mean of probs: do its view and probs disagree?"
    for other in range(1, 5):  # the truth of another face is worse for each
        assert (objective(made, raw.roll(other, 0), wanted, progress=0.5) > best + 1e-4).all()


def fitted(head: str, loss: str, wanted: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
    """Raw outputs at which gradient descent ends."""
    free, made, objective = raw.clone().requires_grad_(), head_of(head, 4), objective_of(loss)
    rate = 2.0 if isinstance(made, RegressionHead) and not made.normalised else 0.3  # whose raw output is in years
    optimizer = torch.optim.Adam([free], lr=rate)
    for step in range(300):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / 300)
        optimizer.zero_grad()
        objective(made, free, wanted, progress=0.5).sum().backward()
        optimizer.step()
    return free.detach()


@pytest.mark.parametrize(("head", "loss"), PAIRS)
def test_faces_do_not_mix(head: str, loss: str) -> None:
    made, objective, wanted = head_of(head, 4), objective_of(loss), targets(AGES)
    raw = made(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)))
    whole = objective(made, raw, wanted)
    alone = torch.cat([objective(made, raw[n : n + 1], wanted[n : n + 1]) for n in range(5)])
    assert torch.allclose(whole, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("head", "loss"), PAIRS)
def test_a_group_is_an_interval_for_every_head(head: str, loss: str) -> None:
    """-log of the probability inside, whatever the loss does with faces whose age is known."""
    made, objective = head_of(head, 4), objective_of(loss)
    raw = made(torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))
    wanted = torch.from_numpy(AgeDistribution.of_groups([20, 30], [29, 35]).probs).float()
    mixed = objective(made, raw, wanted, torch.tensor([True, False]))
    inside = made.probs(raw)[0, 20:30].sum()
    assert mixed[0].item() == pytest.approx(-np.log(inside.item()), rel=1e-4)
    assert mixed[1].item() == pytest.approx(objective(made, raw, wanted)[1].item(), rel=1e-5)
