"""What every head promises: distributions that sum to 1, gradients, faces that it can learn, and files of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from agewise.ages import AgeDistribution
from agewise.model.heads import HEADS
from agewise.model.heads.categorical import CategoricalHead
from agewise.model.heads.regression import RegressionHead
from agewise.training.losses import view_of
from tests.contracts.pairs import PAIRS, head_of, means, objective_of, targets


def test_every_head_has_a_loss_and_every_option_a_default() -> None:
    assert {head for head, _ in PAIRS} == set(HEADS)
    assert all(HEADS[name].__module__.startswith("agewise.model.heads.") for name in HEADS)
    assert all(len(list(head_of(name).parameters())) > 0 for name in HEADS)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 300.0])
def test_probs_are_distributions(name: str, scale: float) -> None:
    head = head_of(name)
    raw = head(scale * torch.randn(7, 16, generator=torch.Generator().manual_seed(0)))
    probs = head.probs(raw)
    assert (len(raw), probs.shape, probs.dtype) == (7, (7, 101), torch.float32)
    assert (probs >= 0).all()
    assert torch.allclose(probs.sum(dim=1), torch.ones(7), atol=1e-5)
    assert torch.isfinite(head.log_probs(raw)).all()


@pytest.mark.parametrize(("name", "loss"), PAIRS)
@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_are_finite(name: str, loss: str, autocast: bool) -> None:
    head = head_of(name)
    features = 100 * torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    wanted = torch.from_numpy(AgeDistribution.of_ages([0, 1, 50, 99, 100, 33.3]).probs).float()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        objective_of(loss)(head, head(features), wanted).sum().backward()
    gradients = [parameter.grad for parameter in head.parameters()]
    assert all(found is not None and torch.isfinite(found).all() for found in gradients)
    assert any(found is not None and found.abs().max() > 0 for found in gradients)


@pytest.mark.parametrize(("name", "loss"), PAIRS)
@pytest.mark.parametrize("group_only", [False, True])
def test_it_learns_sixteen_faces(name: str, loss: str, group_only: bool) -> None:
    """From age-dependent features; or told no more than a group of nine years around each age."""
    torch.manual_seed(0)
    ages = np.linspace(6, 86, 16)
    bumps = np.exp(-0.5 * ((ages[:, None] - np.arange(0, 100, 4)) / 4) ** 2)
    features = torch.from_numpy(bumps).float()
    head, objective = head_of(name, features.shape[1]), objective_of(loss)
    wanted, censored = targets(ages), torch.full((16,), group_only)
    if group_only:
        wanted = torch.from_numpy(AgeDistribution.of_groups(ages.round() - 4, ages.round() + 4).probs).float()
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=3.0 if isinstance(head, RegressionHead) else 0.3, weight_decay=0
    )

    def error() -> float:
        with torch.no_grad():
            return float((means(head, head(features)) - torch.from_numpy(ages)).abs().mean())

    before, losses = error(), []
    for step in range(150):
        for group in optimizer.param_groups:
            group["lr"] *= 0.98
        optimizer.zero_grad()
        raw = head(features)
        value = objective(head, raw, wanted, censored, step / 150).mean()
        losses.append(value.item())
        value.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        head.observe(raw.detach(), wanted)
    assert before > 10
    own = view_of(loss) != "log_probs" or HEADS[name] is CategoricalHead
    if own or group_only:
        assert error() < (6 if group_only else 4)
    if own or loss != "unimodal":  # whose slopes, weighted by 1000, other heads than its own do not follow
        assert losses[-1] < losses[0] - 0.1 * abs(losses[0])


@pytest.mark.parametrize("name", HEADS)
def test_it_is_the_same_after_saving(name: str, tmp_path: Path) -> None:
    head = head_of(name)
    for _ in range(20):  # what is learned without gradients is saved too
        head.observe(torch.randn(32, head(torch.zeros(1, 16)).shape[1]), targets(np.linspace(0, 90, 32)))
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    again = head_of(name)
    again.load_state_dict(load_file(tmp_path / "head.safetensors"))
    features = torch.randn(5, 16)
    assert torch.equal(again.eval().probs(again(features)), head.eval().probs(head(features)))


class _Whole(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.head = head_of(name)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.head.probs(self.head(features))


@pytest.mark.parametrize("name", HEADS)
def test_it_exports(name: str, tmp_path: Path) -> None:
    whole, path = _Whole(name).eval(), tmp_path / "head.onnx"
    features = 3 * torch.randn(4, 16, generator=torch.Generator().manual_seed(2))
    batch = {"features": {0: torch.export.Dim("N", min=1, max=64)}}
    torch.onnx.export(
        whole, (features[:2],), path, input_names=["features"], dynamic_shapes=batch, opset_version=18, dynamo=True,
        external_data=False, verbose=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = session.run(None, {"features": features.numpy()})[0]
    with torch.no_grad():
        assert np.abs(given - whole(features).numpy()).max() < 1e-4
