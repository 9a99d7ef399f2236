"""The heads and the losses that fit them, found in the registries: a new one is tested without being named here."""

from __future__ import annotations

import inspect

import numpy as np
import torch
from torch import Tensor

from agewise.ages import AgeDistribution
from agewise.model.heads import HEADS
from agewise.model.heads.head import Head
from agewise.training.config import LossSettings
from agewise.training.losses import losses_for
from agewise.training.objective import Objective

PAIRS = [(head, loss) for head in HEADS for loss in losses_for(HEADS[head])]
PRIOR = AgeDistribution(np.ones((1, 101))).probs[0]


def head_of(name: str, features: int = 16) -> Head:
    """A head as training begins with it; a forest renews its leaves often."""
    kind = HEADS[name]
    quick = {"every": 10, "memory": 64} if "every" in inspect.signature(kind).parameters else {}
    torch.manual_seed(0)
    head = kind(features, **quick)  # type: ignore[arg-type]
    head.start(PRIOR)
    return head


def objective_of(loss: str) -> Objective:
    return Objective(LossSettings(name=loss), torch.from_numpy(PRIOR).float())


def targets(ages: object, std: float = 3.0) -> Tensor:
    years = np.asarray(ages, dtype=float)
    return torch.from_numpy(AgeDistribution.gaussian(years, np.full(len(years), std)).probs).float()


def means(head: Head, raw: Tensor) -> Tensor:
    return head.probs(raw).double() @ torch.arange(101, dtype=torch.float64)
