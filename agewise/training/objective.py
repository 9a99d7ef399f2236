"""What a run minimises: the recipe's loss on the view that it reads, and the interval where only a group is known."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from agewise.data.choice import checked_options
from agewise.model.heads.head import Head, single_precision
from agewise.training.config import LossSettings
from agewise.training.losses import HANDED, LOSSES, view_of
from agewise.training.losses.interval import interval


class Objective:
    """Callable: raw outputs (N, C), targets (N, 101), group_only (N,) -> losses (N,), in single precision."""

    def __init__(self, settings: LossSettings, prior: Tensor | None = None) -> None:
        """prior: the distribution (101,) of the training faces' ages, for the losses that ask for it."""
        self.loss = LOSSES[settings.name]
        self.view = view_of(settings.name)
        self.options = checked_options(settings, LOSSES, "loss", HANDED)
        self.intervals, self.group_weight = settings.groups == "interval", settings.group_weight
        asked = inspect.signature(self.loss).parameters
        self.prior = prior if "prior" in asked else None
        self.annealed = "progress" in asked
        self.bounded = "low" in asked

    def __call__(
        self,
        head: Head,
        raw: Tensor,
        target: Tensor,
        group_only: Tensor | None = None,
        progress: float = 1.0,
        known: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The loss of each face; progress: the share of the training that is done, 0..1.

        known: bounds (N,), (N,) of the known ages in years, NaN where there are none.
        """
        handed: dict[str, Any] = {"progress": progress} if self.annealed else {}
        if self.bounded:
            unknown = torch.full_like(target[:, 0], torch.nan)
            handed["low"], handed["high"] = known or (unknown, unknown)
        if self.prior is not None:
            handed["prior"] = self.prior.to(raw.device)
        with single_precision(raw):
            losses = self.loss(getattr(head, self.view)(raw), target, **handed, **self.options)
            if self.intervals and group_only is not None and bool(group_only.any()):
                losses = torch.where(group_only, self.group_weight * interval(head.log_probs(raw), target), losses)
        return losses
