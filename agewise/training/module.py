"""The training step: objective, tasks, optimiser, schedule and the scores that are logged."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from agewise.model.age_model import AgeModel
from agewise.model.heads.head import single_precision
from agewise.model.tasks import task_loss
from agewise.training.config import Recipe
from agewise.training.imitation import Imitation
from agewise.training.objective import Objective

Batch = dict[str, Any]


class AgeModule(L.LightningModule):
    """An AgeModel under a recipe."""

    def __init__(self, recipe: Recipe, model: AgeModel, prior: Tensor, teacher: AgeModel | None = None) -> None:
        """prior: the distribution (101,) of the training faces' ages; teacher: of recipe.imitation."""
        super().__init__()
        self.recipe = recipe
        self.model = model
        self.objective = Objective(recipe.loss, prior)
        self.imitation = Imitation(teacher, model.backbone.features) if teacher else None
        self._seen: tuple[Tensor, Tensor, Tensor]

    def training_step(self, batch: Batch, _index: int) -> Tensor:
        """The weighted mean loss of a batch; mixed faces have the mixed losses of both (Zhang et al. 2018, mixup)."""
        share = self._share()
        crops = _mixed(batch["crop"], share)
        features = self.model.backbone(crops)
        raw, outputs = self.model.of_features(features)
        total, weight = self._loss(raw, outputs, batch)
        if share < 1:
            other, others = self._loss(raw, outputs, _rolled(batch))
            total, weight = share * total + (1 - share) * other, share * weight + (1 - share) * others
        loss = total / self._everywhere(weight).clamp_min(1e-6)
        if self.imitation is not None:
            loss = self._imitating(loss, batch, share, features["age"], raw)
        if not torch.isfinite(loss):
            raise ValueError(f"the loss is {loss.item()} at step {self.global_step}: try a lower training.rate")
        target, group_only = batch["target"], batch["group_only"]
        if share < 1:
            target = share * target + (1 - share) * target.roll(1, 0)
            group_only = group_only | group_only.roll(1, 0)
        self._seen = raw.detach(), target, group_only
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True, batch_size=len(raw), sync_dist=True)
        return loss

    def _imitating(self, loss: Tensor, batch: Batch, share: float, features: Tensor, raw: Tensor) -> Tensor:
        """The labels' loss and the teacher's, by their shares; the latter of all faces alike but those of weight 0."""
        assert self.imitation is not None
        settings = self.recipe.imitation
        crops = _mixed(batch["teacher_crop"], share)
        counted = (batch["weight"] > 0).to(raw.dtype)
        counted = share * counted + (1 - share) * counted.roll(1, 0)
        total = self._everywhere(counted.sum()).clamp_min(1e-6)
        ages, inner = (
            (one * counted).sum() / total for one in self.imitation(crops, features, self.model.head.log_probs(raw))
        )
        self.log("train_divergence", ages, batch_size=len(raw), sync_dist=True)
        return (1 - settings.share) * loss + settings.share * ages + settings.features * inner

    def on_fit_start(self) -> None:
        """Takes the teacher to where the student is."""
        if self.imitation is not None:
            self.imitation.to_device(self.device)

    def _loss(self, raw: Tensor, outputs: dict[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum of the weighted losses, the tasks' included, and sum of the weights."""
        weights = batch["weight"]
        known = batch["low"], batch["high"]
        losses = self.objective(self.model.head, raw, batch["target"], batch["group_only"], self._progress(), known)
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

    def on_after_backward(self) -> None:
        """Only now may the head learn without a gradient: the one of the loss was made with what it held before."""
        seen = self._seen
        if self.trainer.world_size > 1:
            seen = tuple(self.all_gather(part).flatten(0, 1) for part in seen)  # type: ignore[union-attr,assignment]
        with single_precision(seen[0]):
            self.model.head.observe(*seen)

    def validation_step(self, batch: Batch, _index: int) -> None:
        """Years outside what is known of each face, the share inside, and the share of right classes of each task."""
        raw, outputs = self.model.answers(batch["crop"])
        for name, task in self.recipe.model.tasks.items():
            told = batch["tasks"][name] >= 0 if name in batch["tasks"] else torch.zeros(1)
            if task.kind == "classes" and told.any():
                right = outputs[name].argmax(dim=1) == batch["tasks"][name]
                self.log(f"valid_{name}", right[told].float().mean(), batch_size=int(told.sum()), sync_dist=True)
        known = ~(batch["low"].isnan() | batch["high"].isnan())
        if not known.any():
            return
        with single_precision(raw):
            probs = self.model.head.probs(raw[known]).double()
        age = probs @ torch.arange(101, device=self.device, dtype=torch.float64)
        outside = torch.maximum(batch["low"][known] - age, age - batch["high"][known]).clamp_min(0.0).float()
        self.log("valid_excess", outside.mean(), prog_bar=True, batch_size=len(age), sync_dist=True)
        self.log("valid_inside", (outside == 0).float().mean(), batch_size=len(age), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser after a linear warm-up; biases and norms are not decayed."""
        settings = self.recipe.training
        backbone = list(self.model.backbone.parameters())
        inside = {id(parameter) for parameter in backbone}
        heads = [parameter for parameter in self.parameters() if id(parameter) not in inside]
        groups = []
        spared = _undecayed(self)
        for part, rate in ((backbone, 1.0), (heads, settings.head_rate)):
            for decay in {settings.decay, 0.0}:
                kept = [p for p in part if p.requires_grad]
                chosen = [p for p in kept if (settings.decay > 0 and id(p) not in spared) == (decay > 0)]
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


def _mixed(crops: Tensor, share: float) -> Tensor:
    """Each face and the one before it in one picture."""
    return crops if share == 1 else share * crops.float() + (1 - share) * crops.roll(1, 0).float()


def _rolled(batch: Batch) -> Batch:
    """The batch in which each face has the labels of the one before it."""
    labels = {name: value for name, value in batch.items() if isinstance(value, Tensor) and "crop" not in name}
    rolled = {name: value.roll(1, 0) for name, value in labels.items()}
    return {**rolled, "tasks": {name: value.roll(1, 0) for name, value in batch["tasks"].items()}}


def _undecayed(model: nn.Module) -> set[int]:
    """Parameters that weight decay spares: biases, norms, and what stands for places and classes in transformers."""
    spared = {id(parameter) for parameter in model.parameters() if parameter.ndim < 2}
    for module in model.modules():
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.modules.batchnorm._BatchNorm):
            spared |= {id(parameter) for parameter in module.parameters()}
        for name, parameter in module.named_parameters(recurse=False):
            if name in ("pos_embed", "cls_token", "relative_position_bias_table", "height_rel", "width_rel"):
                spared.add(id(parameter))
    return spared


def channels_last(model: nn.Module) -> nn.Module:
    """The model with its weights laid out as CPUs convolve them fastest."""
    return model.to(memory_format=torch.channels_last)
