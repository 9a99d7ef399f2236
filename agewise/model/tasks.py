"""Other things that a network may learn beside the age: classes, attributes, who it is (Qin et al. 2023, SwinFace)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from agewise.data.settings import Settings
from agewise.model.margin import MarginHead, margin_loss


class TaskSettings(Settings):
    """One task, by its name in `[model.tasks]`."""

    kind: Literal["classes", "attributes", "identity"] = "classes"
    column: str | None = Field(default=None, description="of the manifest; the task's name if none")
    labels: tuple[str, ...] = Field(default=(), description="the classes; or the attributes' columns, of 0, 1 or null")
    subjects: int = Field(default=0, ge=0, description="of an identity: how many people the manifest holds at most")
    weight: float = Field(default=1.0, ge=0)
    group: str | None = Field(default=None, description="tasks of a group share SwinFace's attention; `age` is one")
    margin: float = Field(default=0.4, ge=0, lt=1)
    scale: float = Field(default=64.0, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> TaskSettings:
        least = 1 if self.kind == "attributes" else 2
        if self.kind == "identity" and self.subjects < 2:
            raise ValueError(f"an identity has {self.subjects} subjects; 2 or more are needed")
        if self.kind != "identity" and len(set(self.labels)) < least:
            raise ValueError(f"{self.kind} have the labels {list(self.labels)}; {least} or more are needed")
        twice = next((label for label in self.labels if self.labels.count(label) > 1), None)
        if twice is not None:
            raise ValueError(f"{self.kind} have the label {twice!r} twice")
        return self

    @property
    def outputs(self) -> int:
        """Numbers that the task's head puts out."""
        return self.subjects if self.kind == "identity" else len(self.labels)


def task_head(task: TaskSettings, features: int) -> nn.Module:
    """Features (N, D) -> outputs (N, C) of a task."""
    if task.kind == "identity":
        return MarginHead(features, task.subjects)
    return nn.Linear(features, task.outputs)


def said(task: TaskSettings, outputs: Tensor) -> Tensor:
    """Outputs (N, C) as they are read: probabilities of classes or of each attribute, cosines with each subject."""
    outputs = outputs.float()
    if task.kind == "classes":
        return outputs.softmax(dim=1)
    return outputs.sigmoid() if task.kind == "attributes" else outputs


def task_loss(task: TaskSettings, outputs: Tensor, known: Tensor) -> Tensor:
    """Losses (N,), 0 where nothing is known.

    known: class or subject (N,), -1 if unknown; or attributes (N, A), NaN if unknown.
    """
    outputs = outputs.float()
    if task.kind == "attributes":
        told = ~known.isnan()
        losses = binary_cross_entropy_with_logits(outputs, known.nan_to_num(0.0), reduction="none")
        return (losses * told).sum(dim=1) / told.sum(dim=1).clamp_min(1)
    safe = known.clamp_min(0)
    if task.kind == "identity":
        losses = margin_loss(outputs, safe, task.margin, task.scale)
    else:
        losses = cross_entropy(outputs, safe, reduction="none")
    return torch.where(known >= 0, losses, torch.zeros_like(losses))


def groups_of(tasks: Mapping[str, TaskSettings]) -> tuple[dict[str, str], str | None]:
    """The group whose features each task reads, the age's own included, and the name of the identity task's, if any.

    A task's group is its own name where none is given. Raises ValueError on a task in the group of an identity,
    which never shares, and on a name that no module of torch can have.
    """
    bad = next((name for name in tasks if not name or "." in name or hasattr(nn.ModuleDict(), name)), None)
    if bad is not None:
        raise ValueError(f"a task is named {bad!r}; a word without dots, none of torch's, is needed")
    identity = next((name for name, task in tasks.items() if task.kind == "identity"), None)
    lost = next((name for name, task in tasks.items() if identity is not None and task.group == identity != name), None)
    if lost is not None:
        raise ValueError(f"the task {lost} is in the group {identity}, an identity, which never shares")
    groups = {name: name if name == identity else task.group or name for name, task in tasks.items()}
    return {"age": "age", **groups}, identity
