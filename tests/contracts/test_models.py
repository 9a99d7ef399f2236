"""What every kind of network promises with a head on it: it learns, has gradients, is saved and exported as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from agewise.ages import AgeDistribution
from agewise.data.settings import check
from agewise.deployment.export import export
from agewise.deployment.runtime import OnnxModel
from agewise.model.age_model import AgeModel, ModelSettings, TorchPredictor
from agewise.training.config import LossSettings, Recipe
from agewise.training.objective import Objective

NETWORKS: dict[str, dict[str, Any]] = {
    "timm": {"backbone": {"name": "test_resnet"}},
    "student": {"backbone": {"name": "mobilenetv3-small"}},
    "mivolo": {"backbone": {"name": "mivolo_tiny"}, "tasks": {"sex": {"labels": ["F", "M"]}}},
    "swinface": {
        "backbone": {"name": "swinface_tiny"},
        "tasks": {
            "sex": {"labels": ["F", "M"]},
            "marks": {"kind": "attributes", "labels": ["smile", "glasses"], "group": "age"},
            "person": {"kind": "identity", "column": "subject", "subjects": 8},
        },
    },
}
HEADS = {"categorical": "distribution", "regression": "l1", "coral": "ordinal", "forest": "tree-likelihood"}
"""One head of each kind, with a loss."""
AGES = np.linspace(6, 81, 16)


def made(network: str, head: str = "categorical") -> AgeModel:
    torch.manual_seed(0)
    settings = check({**NETWORKS[network], "head": head, "size": 32, "dropout": 0.0}, ModelSettings, network)
    model = AgeModel(settings)
    model.head.start(np.full(101, 1 / 101))
    return model


def faces() -> torch.Tensor:
    noise = np.random.default_rng(0).integers(-6, 7, (16, 32, 32, 3))
    return torch.from_numpy((30 + 2.2 * AGES[:, None, None, None] + noise).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("network", NETWORKS)
def test_it_learns_sixteen_faces(network: str, head: str) -> None:
    model, objective, crops = made(network, head), Objective(LossSettings(name=HEADS[head])), faces()
    wanted = torch.from_numpy(AgeDistribution.gaussian(AGES, np.full(16, 3.0)).probs).float()
    rate = 0.03 if head == "regression" else 3e-3
    optimizer = torch.optim.AdamW(
        [{"params": model.backbone.parameters(), "lr": 3e-3}, {"params": model.head.parameters(), "lr": 10 * rate}]
    )

    def error() -> float:
        with torch.no_grad():
            ages = model.train().probs(crops) @ torch.arange(101.0)  # batch norms see the batch, as in training
        return float((ages - torch.from_numpy(AGES)).abs().mean())

    before = error()
    for _ in range(60):
        optimizer.zero_grad()
        raw = model(crops)
        objective(model.head, raw, wanted).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.head.observe(raw.detach(), wanted)
    assert error() < before / 2


@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_are_finite_in_bfloat16(network: str) -> None:
    model = made(network).train()
    with torch.autocast("cpu", torch.bfloat16):
        raw, outputs = model.answers(faces()[:4])
        total = model.head.log_probs(raw).square().mean() + sum(
            part.float().square().mean() for part in outputs.values()
        )
    total.backward()
    assert set(outputs) == set(NETWORKS[network].get("tasks", {}))
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(gradients) > 0.9 * len(list(model.parameters()))
    assert all(torch.isfinite(found).all() for found in gradients)


@pytest.mark.parametrize("network", NETWORKS)
def test_it_is_the_same_after_saving_and_in_onnx(network: str, tmp_path: Path) -> None:
    model = made(network, "coral" if network == "mivolo" else "categorical").eval()
    run = tmp_path / "run"
    run.mkdir()
    recipe = Recipe(
        name=network,
        data={"train": "faces.parquet"},
        model=model.settings,
        loss={"name": "ordinal" if network == "mivolo" else "distribution"},
    )
    (run / "recipe.json").write_text(json.dumps(recipe.model_dump(mode="json")))
    (run / "run.json").write_text("{}")
    save_file(model.state_dict(), run / "model.safetensors")
    crops = np.random.default_rng(1).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)
    expected = TorchPredictor(model)(crops).probs
    again = AgeModel(model.settings)
    again.load_state_dict(load_file(run / "model.safetensors"))
    assert TorchPredictor(again)(crops).probs == pytest.approx(expected, abs=0)
    made_of = export(run, tmp_path / "model.onnx", half=False)
    assert made_of.probability < 1e-4
    assert OnnxModel(tmp_path / "model.onnx")(crops).probs == pytest.approx(expected, abs=1e-4)


def test_a_missing_body_is_black_and_a_body_changes_the_answer() -> None:
    model = made("mivolo").eval()
    crops = faces()[:3].numpy()
    predictor = TorchPredictor(model)
    alone = predictor(crops).probs
    assert predictor(crops, np.zeros_like(crops)).probs == pytest.approx(alone, abs=1e-6)
    assert np.abs(predictor(crops, 255 - crops).probs - alone).max() > 1e-5
