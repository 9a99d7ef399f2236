"""A head that knows only young ages, as the teacher's members for children: its own softmax, and nothing above."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from agewise.ages import AgeDistribution
from agewise.data.settings import SettingsError, check
from agewise.model.age_model import AgeModel, ModelSettings
from agewise.model.heads.categorical import CategoricalHead
from agewise.training.losses.cross_entropy import cross_entropy


def noise(rows: int, columns: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


def model_of(**options: Any) -> AgeModel:
    values = {"backbone": {"name": "test_resnet"}, "size": 32, "head": {"name": "categorical", **options}}
    return AgeModel(check(values, ModelSettings, "model"))


@pytest.mark.parametrize("oldest", [1, 12, 99, 100])
@pytest.mark.parametrize("scale", [0.0, 1.0, 300.0])
def test_all_probability_is_at_the_ages_it_knows(oldest: int, scale: float) -> None:
    head = CategoricalHead(8, oldest=oldest)
    raw = head(noise(7, 8, scale))
    probs = head.probs(raw)
    assert (raw.shape, probs.shape) == ((7, oldest + 1), (7, 101))
    torch.testing.assert_close(probs[:, : oldest + 1], raw.softmax(dim=1), rtol=1e-5, atol=1e-7)
    assert torch.allclose(probs.sum(dim=1), torch.ones(7), atol=1e-5)
    assert probs[:, oldest + 1 :].sum() < 1e-20
    assert torch.isfinite(head.log_probs(raw)).all()
    assert (AgeDistribution(probs.detach().numpy()).mean <= oldest + 1e-9).all()


def test_it_begins_with_the_young_part_of_the_ages() -> None:
    prior = AgeDistribution.gaussian([9.0, 40.0], [4.0, 10.0]).probs.mean(axis=0)
    head = CategoricalHead(8, oldest=12)
    head.start(prior)
    found = head.probs(head(torch.zeros(1, 8)))[0, :13].detach().numpy()
    np.testing.assert_allclose(found, (prior[:13] + 1e-4) / (prior[:13] + 1e-4).sum(), atol=1e-6)


def test_its_loss_is_that_of_thirteen_classes() -> None:
    raw, years = noise(5, 13), torch.tensor([0, 3, 7, 11, 12])
    head = CategoricalHead(8, oldest=12)
    wanted = torch.from_numpy(AgeDistribution.of_ages(years.numpy()).probs).float()
    expected = nn.functional.cross_entropy(raw, years, reduction="none")
    torch.testing.assert_close(cross_entropy(head.log_probs(raw), wanted, hard=True), expected)
    free = raw.clone().requires_grad_()
    older = torch.from_numpy(AgeDistribution.of_ages([30.0] * 5).probs).float()
    cross_entropy(head.log_probs(free), older).sum().backward()  # an age that it cannot say pulls it nowhere
    assert free.grad is not None
    assert free.grad.abs().max() == 0


def test_it_exports(tmp_path: Path) -> None:
    model, path = model_of(oldest=12).eval(), tmp_path / "young.onnx"

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, crops: Tensor) -> Tensor:
            return self.model.probs(crops)

    crops = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))
    batch = {"crops": {0: torch.export.Dim("N", min=1, max=64)}}
    torch.onnx.export(
        Whole().eval(), (crops[:2],), path, input_names=["crops"], dynamic_shapes=batch, opset_version=18, dynamo=True,
        external_data=False, verbose=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = session.run(None, {"crops": crops.numpy()})[0]
    with torch.no_grad():
        assert np.abs(given - model.probs(crops).numpy()).max() < 1e-4
    assert given[:, 13:].max() < 1e-20


@pytest.mark.parametrize("oldest", [0, 101, -3])
def test_ages_off_the_axis_are_refused(oldest: int) -> None:
    with pytest.raises(SettingsError, match="oldest"):
        model_of(oldest=oldest)
