"""A backbone and a head: crops -> distribution over the ages, trainable, and a Predictor once trained."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from agewise.ages import AgeDistribution
from agewise.data.choice import Choice, checked_options
from agewise.data.settings import Settings, SettingsError
from agewise.faces.align import Window, cut
from agewise.model.backbone import Backbone, BackboneSettings
from agewise.model.heads import HEADS
from agewise.model.heads.head import Head, single_precision
from agewise.model.students import STUDENTS
from agewise.model.tasks import TaskSettings, groups_of, said, task_head

GIVEN = ("self", "features", "dropout")
"""Parameters of a head that are no options of its own: the backbone and `model.dropout` say them."""
FEW = 25
"""Crops a pass: MobileNetV1 at 96 pixels takes 1.8 times as many a second as in passes of 100 (docs/LOG.md)."""
AUXILIARY = 0.5
"""Share of the patch tokens' strongest answer beside the class token's (Yuan et al. 2022, VOLO)."""


class WindowSettings(Settings):
    """The part of the frame that the network sees (docs/geometry.md)."""

    x: float = Field(default=0.5, ge=0, le=1)
    y: float = Field(default=0.5, ge=0, le=1)
    side: float = Field(default=0.9, ge=0.05, le=2.0)


class ModelSettings(Settings):
    """A whole network: what it sees, its backbone, its head, and other tasks where it has some."""

    backbone: BackboneSettings
    head: Choice = Choice(name="categorical")
    size: int = Field(default=112, ge=16, le=512, description="pixels of the input's side")
    frame: Literal["aligned", "square"] = "aligned"
    margin: float = Field(default=0.0, ge=0, le=2, description="of the square frame: agewise prepare --margin")
    window: WindowSettings = WindowSettings()
    dropout: float = Field(default=0.2, ge=0, lt=1)
    tasks: dict[str, TaskSettings] = Field(default={}, description="what is learned beside the age, by name")

    @model_validator(mode="before")
    @classmethod
    def _sized(cls, values: Any) -> Any:
        """A student of the paper has its paper's size where none is given."""
        backbone = values.get("backbone") if isinstance(values, dict) else None
        name = backbone.get("name") if isinstance(backbone, dict) else None
        if "size" in values or name not in STUDENTS:
            return values
        return {**values, "size": STUDENTS[name].size}

    @field_validator("head")
    @classmethod
    def _known(cls, head: Choice) -> Choice:
        checked_options(head, HEADS, "head", GIVEN)
        return head

    @field_validator("tasks")
    @classmethod
    def _others(cls, tasks: dict[str, TaskSettings]) -> dict[str, TaskSettings]:
        if "age" in tasks:
            raise ValueError("no task is called 'age': that is the head")
        if sum(task.kind == "identity" for task in tasks.values()) > 1:
            raise ValueError("one task of the kind 'identity' is enough")
        groups_of(tasks)
        return tasks


class AgeModel(nn.Module):
    """uint8 RGB crops (N, size, size, 3) of the window -> raw outputs of the head.

    A network of faces and bodies takes pairs (N, 2, size, size, 3) too; what is not there is black.
    """

    def __init__(self, settings: ModelSettings, pretrained: bool = True) -> None:
        super().__init__()
        self.settings = settings
        self.groups, identity = groups_of(settings.tasks)
        shared = tuple(name for name in dict.fromkeys(self.groups.values()) if name != identity)
        self.backbone = Backbone(settings.backbone, settings.size, shared, identity, pretrained)
        self.head = self._head()
        self.tokens = self._head() if self.backbone.tokens else None
        width = self.backbone.features
        self.tasks = nn.ModuleDict({name: task_head(task, width) for name, task in settings.tasks.items()})
        self._try()

    def _head(self) -> Head:
        kind = HEADS[self.settings.head.name]
        options: dict[str, Any] = checked_options(self.settings.head, HEADS, "head", GIVEN)
        return kind(self.backbone.features, dropout=self.settings.dropout, **options)

    @torch.no_grad()
    def _try(self) -> None:
        """Raises SettingsError where the backbone cannot take crops of the size set, as some transformers cannot."""
        size = self.settings.size
        training = self.training
        try:
            self.eval()(torch.zeros(1, size, size, 3, dtype=torch.uint8))
        except (AssertionError, RuntimeError, ValueError) as error:
            why = " ".join(str(error).split()) or "its layers do not fit"
            raise SettingsError(f"model.size: {self.settings.backbone.name} takes no {size} pixels: {why}") from error
        self.train(training)

    @property
    def window(self) -> Window:
        """The part of the frame that goes in."""
        return Window(**self.settings.window.model_dump())

    def forward(self, crops: Tensor) -> Tensor:
        """Raw outputs (N, C) of the head."""
        return self.raw(self.backbone(crops)["age"])

    def raw(self, features: Tensor) -> Tensor:
        """Raw outputs (N, C) from the age's features (N, D), or from tokens (N, 1 + T, D), in single precision."""
        with single_precision(features):
            features = features.float()
            if self.tokens is None:
                return self.head(features)
            return self.head(features[:, 0]) + AUXILIARY * self.tokens(features[:, 1:]).amax(dim=1)

    def answers(self, crops: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Raw outputs of the head and, by name, of the tasks."""
        return self.of_features(self.backbone(crops))

    def of_features(self, features: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The same from the backbone's features by group."""
        outputs = {}
        for name, head in self.tasks.items():
            given = features[self.groups[name]]
            outputs[name] = head(given if given.ndim == 2 else given[:, 0])
        return self.raw(features["age"]), outputs

    def probs(self, crops: Tensor) -> Tensor:
        """Probabilities (N, 101) over the ages."""
        raw = self(crops)
        with single_precision(raw):
            return self.head.probs(raw)


class TorchPredictor:
    """A trained AgeModel as a Predictor."""

    def __init__(self, model: AgeModel) -> None:
        self.model = model.eval()

    @property
    def body_size(self) -> int:
        """Pixels of the side of the bodies that may be given beside the crops; 0 where the network takes none."""
        return self.model.settings.size if self.model.tokens is not None else 0

    @torch.inference_mode()
    def tasks(self, crops: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """What the tasks say of crops: probabilities of classes (N, C) and attributes (N, A), cosines of subjects."""
        seen = torch.from_numpy(cut(crops, self.model.window, self.model.settings.size))
        found = self.model.answers(seen)[1]
        return {name: said(task, found[name]).numpy() for name, task in self.model.settings.tasks.items()}

    @property
    def window(self) -> Window:
        """The part of the frame that the network sees."""
        return self.model.window

    @property
    def size(self) -> int:
        """Pixels of the side of its input."""
        return self.model.settings.size

    def __call__(self, crops: NDArray[np.uint8], bodies: NDArray[np.uint8] | None = None) -> AgeDistribution:
        """Ages of crops (N, H, H, 3) in the model's frame, and of bodies (N, size, size, 3) if it takes them."""
        return self.of_window(cut(crops, self.window, self.size), bodies)

    @torch.inference_mode()
    def of_window(self, pixels: NDArray[np.uint8], bodies: NDArray[np.uint8] | None = None) -> AgeDistribution:
        """Ages of windows (N, size, size, 3) that are cut already."""
        seen = torch.from_numpy(pixels)
        if bodies is not None:
            seen = torch.stack([seen, torch.from_numpy(bodies)], dim=1)
        probs = [self.model.probs(seen[start : start + FEW]) for start in range(0, max(1, len(seen)), FEW)]
        return AgeDistribution(torch.cat(probs).numpy())
