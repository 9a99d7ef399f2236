"""The training step: objective, tasks, optimiser, schedule and the scores that are logged."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from agewise.model.age_model import AgeModel
from agewise.model.tasks import task_loss
from agewise.training.config import Recipe
from agewise.training.objective import Objective

Batch = dict[str, Any]


class AgeModule(L.LightningModule):
    """An AgeModel under a recipe."""

    def __init__(self, recipe: Recipe, model: AgeModel, prior: Tensor) -> None:
        """prior: the distribution (101,) of the training faces' ages."""
        super().__init__()
        self.recipe = recipe
        self.model = model
        self.objective = Objective(recipe.loss, prior)

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """The weighted mean loss of a batch; mixed faces have the mixed losses of both (Zhang et al. 2018, mixup)."""
        share = self._share()
        crops = batch["crop"]
        if share < 1:
            crops = share * crops.float() + (1 - share) * crops.roll(1, 0).float()
        raw, outputs = self.model.answers(crops)
        total, weight = self._loss(raw, outputs, batch)
        if share < 1:
            other, others = self._loss(raw, outputs, _rolled(batch))
            total, weight = share * total + (1 - share) * other, share * weight + (1 - share) * others
        loss = total / self._everywhere(weight).clamp_min(1e-6)
        if not torch.isfinite(loss):
            raise ValueError(f"the loss is {loss.item()} at step {self.global_step}: try a lower training.rate")
        self._observe(raw.detach(), batch["target"])
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=len(raw), sync_dist=True)
        return loss

    def _loss(self, raw: Tensor, outputs: dict[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum of the weighted losses, the tasks' included, and sum of the weights."""
        weights = batch["weight"]
        losses = self.objective(self.model.head, raw, batch["target"], batch["group_only"], self._progress())
        for name, task in self.recipe.model.tasks.items():
            losses = losses + task.weight * task_loss(task, outputs[name], batch["tasks"][name])
        return (losses * weights).sum(), weights.sum()

    def _share(self) -> float:
        """How much of each face is its own in this step."""
        alpha = self.recipe.training.mixup
        if alpha == 0:
            return 1.0
        rng = np.random.default_rng((self.recipe.training.seed, self.global_step))
        return float(rng.beta(alpha, alpha))

    def _progress(self) -> float:
        return min(1.0, self.global_step / max(1, int(self.trainer.estimated_stepping_batches)))

    def _everywhere(self, weight: Tensor) -> Tensor:
        """The weight in this process, or its mean over all of them: gradients are averaged over processes alike."""
        if self.trainer.world_size == 1:
            return weight
        gathered = self.all_gather(weight)
        assert isinstance(gathered, Tensor)
        return gathered.mean()

    def _observe(self, raw: Tensor, target: Tensor) -> None:
        if self.trainer.world_size > 1:
            raw, target = (self.all_gather(part).flatten(0, 1) for part in (raw, target))  # type: ignore[union-attr]
        self.model.head.observe(raw, target)

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Years outside what is known of each face, and the share inside; faces of unknown age are left out."""
        known = ~(batch["low"].isnan() | batch["high"].isnan())
        if not known.any():
            return
        probs = self.model.probs(batch["crop"][known]).double()
        age = probs @ torch.arange(101, device=self.device, dtype=torch.float64)
        outside = torch.maximum(batch["low"][known] - age, age - batch["high"][known]).clamp_min(0.0).float()
        self.log("valid_excess", outside.mean(), prog_bar=True, batch_size=len(age), sync_dist=True)
        self.log("valid_inside", (outside == 0).float().mean(), batch_size=len(age), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser after a linear warm-up; biases and norms are not decayed."""
        settings = self.recipe.training
        backbone = list(self.model.backbone.parameters())
        inside = {id(parameter) for parameter in backbone}
        heads = [parameter for parameter in self.model.parameters() if id(parameter) not in inside]
        groups = []
        for part, rate in ((backbone, 1.0), (heads, settings.head_rate)):
            for decay in {settings.decay, 0.0}:
                chosen = [p for p in part if p.requires_grad and (p.ndim > 1 and settings.decay > 0) == (decay > 0)]
                groups.append({"params": chosen, "lr": settings.rate * rate, "weight_decay": decay})
        groups = [group for group in groups if group["params"]]
        optimizer: torch.optim.Optimizer
        if settings.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, lr=settings.rate, momentum=settings.momentum)
        else:
            optimizer = torch.optim.AdamW(groups)
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._factor(step, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _factor(self, step: int, total: int) -> float:
        """The learning rate at a step, as a share of its peak."""
        settings = self.recipe.training
        warmup = round(settings.warmup * total)
        if step < warmup:
            return (step + 1) / warmup
        if settings.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, total - warmup))))
        if settings.schedule == "step":
            epoch = step * settings.epochs // max(1, total)
            return float(settings.step_factor ** (epoch // settings.step_epochs))
        return 1.0


def _rolled(batch: Batch) -> Batch:
    """The batch in which each face has the labels of the one before it."""
    rolled = {name: value.roll(1, 0) for name, value in batch.items() if isinstance(value, Tensor) and name != "crop"}
    return {**rolled, "tasks": {name: value.roll(1, 0) for name, value in batch["tasks"].items()}}


def channels_last(model: nn.Module) -> nn.Module:
    """The model with its weights laid out as CPUs convolve them fastest."""
    return model.to(memory_format=torch.channels_last)
