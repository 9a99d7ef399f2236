"""A backbone and a head: crops -> distribution over the ages, trainable, and a Predictor once trained."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor, nn

from agewise.ages import AgeDistribution
from agewise.data.settings import Settings, SettingsError
from agewise.faces.align import Window, cut
from agewise.model.backbone import Backbone, BackboneSettings
from agewise.model.heads import HEADS


class WindowSettings(Settings):
    """The part of the standard frame that the network sees (docs/geometry.md)."""

    x: float = Field(default=0.5, ge=0, le=1)
    y: float = Field(default=0.5, ge=0, le=1)
    side: float = Field(default=0.9, ge=0.05, le=2.0)


class ModelSettings(Settings):
    """A whole network: what it sees, its backbone and its head."""

    backbone: BackboneSettings
    head: str = "categorical"
    size: int = Field(default=112, ge=16, le=512, description="pixels of the input's side")
    window: WindowSettings = WindowSettings()
    dropout: float = Field(default=0.2, ge=0, lt=1)

    @field_validator("head")
    @classmethod
    def _known(cls, head: str) -> str:
        if head not in HEADS:
            raise ValueError(f"no head {head!r}; there are {', '.join(sorted(HEADS))}")
        return head


class AgeModel(nn.Module):
    """uint8 RGB crops (N, size, size, 3) of the window -> raw outputs of the head."""

    def __init__(self, settings: ModelSettings, pretrained: bool = True) -> None:
        super().__init__()
        self.settings = settings
        self.backbone = Backbone(settings.backbone, pretrained)
        self.head = HEADS[settings.head](self.backbone.features, settings.dropout)
        self._try()

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
        """The part of the standard frame that goes in."""
        return Window(**self.settings.window.model_dump())

    def forward(self, crops: Tensor) -> Tensor:
        """Raw outputs (N, C) of the head."""
        return self.head(self.backbone(crops))

    def probs(self, crops: Tensor) -> Tensor:
        """Probabilities (N, 101) over the ages."""
        return self.head.probs(self(crops))


class TorchPredictor:
    """A trained AgeModel as a Predictor."""

    def __init__(self, model: AgeModel) -> None:
        self.model = model.eval()

    @torch.inference_mode()
    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        """Ages of crops (N, H, H, 3) in the standard frame."""
        seen = cut(crops, self.model.window, self.model.settings.size)
        return AgeDistribution(self.model.probs(torch.from_numpy(seen)).numpy())
