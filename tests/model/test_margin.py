"""Margins: losses by hand and as torch's cross entropy, gradients in closed form, and a head that learns."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from agewise.model.margin import MarginHead, margin_loss


def random_cosines(count: int = 16, subjects: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    cosines = torch.rand(count, subjects, generator=generator) * 2 - 1
    return cosines, torch.randint(subjects, (count,), generator=generator)


def test_the_loss_by_hand() -> None:
    cosines = torch.tensor([[0.5, 0.1], [0.2, 0.8], [0.2, 0.8]])
    subject = torch.tensor([0, 1, 0])
    # logits 10 * (0.1, 0.1); 10 * (0.2, 0.4); 10 * (-0.2, 0.8)
    expected = [log(2.0), log(1 + exp(-2.0)), log(1 + exp(10.0))]
    assert margin_loss(cosines, subject, margin=0.4, scale=10.0).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_defaults_are_the_papers() -> None:
    cosines, subject = random_cosines()
    assert torch.equal(margin_loss(cosines, subject), margin_loss(cosines, subject, margin=0.4, scale=64.0))


@pytest.mark.parametrize("scale", [1.0, 64.0])
def test_without_a_margin_it_is_cross_entropy(scale: float) -> None:
    cosines, subject = random_cosines()
    expected = functional.cross_entropy(cosines * scale, subject, reduction="none")
    torch.testing.assert_close(margin_loss(cosines, subject, margin=0.0, scale=scale), expected)


def test_a_margin_only_adds_to_the_loss() -> None:
    cosines, subject = random_cosines()
    losses = [margin_loss(cosines, subject, margin=margin, scale=8.0) for margin in (0.0, 0.2, 0.4)]
    assert (losses[0] < losses[1]).all()
    assert (losses[1] < losses[2]).all()


def test_gradients_are_those_of_a_softmax() -> None:
    cosines, subject = random_cosines()
    before = cosines.clone()
    cosines.requires_grad_()
    margin_loss(cosines, subject, margin=0.3, scale=5.0).sum().backward()
    truth = functional.one_hot(subject, cosines.shape[1])
    expected = 5.0 * ((5.0 * (before - 0.3 * truth)).softmax(dim=1) - truth)
    torch.testing.assert_close(cosines.grad, expected)
    assert torch.equal(cosines.detach(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_worst_face_has_a_finite_loss_and_gradient(dtype: torch.dtype) -> None:
    cosines = torch.tensor([[-1.0, 1.0, 1.0], [1.0, -1.0, -1.0]], dtype=dtype, requires_grad=True)
    loss = margin_loss(cosines, torch.tensor([0, 0]), margin=1.0, scale=1000.0)
    assert loss.dtype == torch.float32
    assert loss.tolist() == pytest.approx([3000.0 + log(2.0), 0.0])
    loss.sum().backward()
    assert cosines.grad is not None
    assert cosines.grad.tolist() == [[-1000.0, 500.0, 500.0], [0.0, 0.0, 0.0]]


def test_cosines_are_those_of_torch_and_ignore_lengths() -> None:
    torch.manual_seed(0)
    head, features = MarginHead(8, 5), torch.randn(3, 8)
    cosines = head(features)
    expected = functional.cosine_similarity(features[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(cosines, expected)
    torch.testing.assert_close(head(features * 1000), cosines)
    torch.testing.assert_close(head(head.weight.detach()).diagonal(), torch.ones(5))


def test_cosines_stay_exact_under_autocast() -> None:
    torch.manual_seed(0)
    head, features = MarginHead(64, 9), torch.randn(4, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = head(features)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, head(features))


def test_a_face_without_features_resembles_nobody_and_breaks_nothing() -> None:
    head, features = MarginHead(4, 3), torch.zeros(1, 4, requires_grad=True)
    cosines = head(features)
    assert cosines.tolist() == [[0.0, 0.0, 0.0]]
    margin_loss(cosines, torch.tensor([1])).sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_a_head_learns_who_is_who() -> None:
    torch.manual_seed(0)
    centres = functional.normalize(torch.randn(6, 16), dim=1)
    subject = torch.arange(6).repeat(10)
    features = centres[subject] + 0.05 * torch.randn(60, 16)
    head = MarginHead(16, 6)
    optimiser = torch.optim.AdamW(head.parameters(), lr=0.05)
    before = float(margin_loss(head(features), subject, scale=16.0).mean().detach())
    for _ in range(60):
        optimiser.zero_grad()
        loss = margin_loss(head(features), subject, scale=16.0).mean()
        loss.backward()
        optimiser.step()
    cosines = head(features).detach()
    true = cosines.gather(1, subject[:, None])[:, 0]
    others = cosines.scatter(1, subject[:, None], -1.0).amax(dim=1)
    assert float(loss.detach()) < 0.1 * before
    assert (true - others > 0.4).all()


@pytest.mark.parametrize(
    ("subject", "changes", "message"),
    [
        ([0, -1], {}, r"subject holds -1\.\.0; 0\.\.2 is allowed"),
        ([3, 1], {}, r"subject holds 1\.\.3; 0\.\.2 is allowed"),
        ([1], {}, r"subject has shape \(1,\); \(2,\) is needed"),
        ([0, 1], {"margin": -0.1}, r"margin is -0\.1 and scale is 64; 0\.\.1 and above 0 are allowed"),
        ([0, 1], {"scale": 0.0}, r"margin is 0\.4 and scale is 0"),
    ],
)
def test_what_is_refused(subject: list[int], changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        margin_loss(torch.zeros(2, 3), torch.tensor(subject), **changes)


def test_a_head_for_nobody() -> None:
    with pytest.raises(ValueError, match="features is 8 and subjects is 1; 1 and 2 are the least"):
        MarginHead(8, 1)


def test_no_faces_have_no_losses() -> None:
    assert margin_loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)).shape == (0,)
