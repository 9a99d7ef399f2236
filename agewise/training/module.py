"""The training step: loss, optimiser, schedule and the scores that are logged."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from agewise.model.age_model import AgeModel
from agewise.training.config import Recipe
from agewise.training.losses import LOSSES

Batch = dict[str, Tensor]


class AgeModule(L.LightningModule):
    """An AgeModel under a recipe."""

    def __init__(self, recipe: Recipe, model: AgeModel) -> None:
        super().__init__()
        self.recipe = recipe
        self.model = model
        self.loss = LOSSES[recipe.loss.name]

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """The weighted mean loss of a batch."""
        crops, targets, weights = batch["crop"], batch["target"], batch["weight"]
        if self.recipe.training.mixup:
            crops, targets, weights = self._mixed(crops, targets, weights)
        raw = self.model(crops)
        losses = self.loss(raw, targets, self.recipe.loss.mean_weight)
        loss = (losses * weights).sum() / weights.sum().clamp_min(1e-6)
        if not torch.isfinite(loss):
            raise ValueError(f"the loss is {loss.item()} at step {self.global_step}: try a lower training.rate")
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=len(raw))
        return loss

    def _mixed(self, crops: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each face blended with the next of its batch, as are their targets (Zhang et al. 2018, mixup)."""
        alpha = self.recipe.training.mixup
        rng = np.random.default_rng((self.recipe.training.seed, self.global_step))
        share = float(rng.beta(alpha, alpha))
        blended = share * crops.float() + (1 - share) * crops.roll(1, 0).float()
        return (
            blended,
            share * targets + (1 - share) * targets.roll(1, 0),
            share * weights + (1 - share) * weights.roll(1, 0),
        )

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Years outside what is known of each face, and the share inside; faces of unknown age are left out."""
        known = ~(batch["low"].isnan() | batch["high"].isnan())
        if not known.any():
            return
        age = self.model.probs(batch["crop"][known]) @ torch.arange(101.0, device=self.device)
        outside = torch.maximum(batch["low"][known] - age, age - batch["high"][known]).clamp_min(0.0)
        self.log("valid_excess", outside.mean(), prog_bar=True, batch_size=len(age))
        self.log("valid_inside", (outside == 0).float().mean(), batch_size=len(age))

    def configure_optimizers(self) -> Any:
        """AdamW with a linear warm-up and a cosine to zero; biases and norms are not decayed."""
        settings = self.recipe.training
        groups = []
        for part, rate in ((self.model.backbone, 1.0), (self.model.head, settings.head_rate)):
            for decay in (settings.decay, 0.0):
                parameters = [p for p in part.parameters() if p.requires_grad and (p.ndim > 1) == (decay > 0)]
                groups.append({"params": parameters, "lr": settings.rate * rate, "weight_decay": decay})
        optimizer = torch.optim.AdamW([group for group in groups if group["params"]])
        total = int(self.trainer.estimated_stepping_batches)
        warmup = max(1, round(settings.warmup * total))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def channels_last(model: nn.Module) -> nn.Module:
    """The model with its weights laid out as CPUs convolve them fastest."""
    return model.to(memory_format=torch.channels_last)
