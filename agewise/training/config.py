"""A recipe: everything that decides a training run, in one TOML file, saved whole with the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from agewise.data.augment import Augmentation
from agewise.data.settings import Settings, read_settings
from agewise.model.age_model import ModelSettings
from agewise.training.losses import FITS, LOSSES


class DataSettings(Settings):
    """Which faces, and how they are drawn."""

    train: str = Field(description="manifest to learn from")
    valid: str | None = Field(default=None, description="manifest that is only looked at")
    balance: float = Field(default=0.0, ge=0, le=1, description="0: faces as they come; 1: all ages alike")
    workers: int = Field(default=2, ge=0, le=64)
    limit: int | None = Field(default=None, ge=1, description="learn from the first rows only")


class LossSettings(Settings):
    """What is minimised."""

    name: str = "distribution"
    mean_weight: float = Field(default=0.1, ge=0)


class TrainingSettings(Settings):
    """How it is minimised."""

    epochs: int = Field(default=20, ge=1)
    batch: int = Field(default=64, ge=1)
    accumulate: int = Field(default=1, ge=1)
    rate: float = Field(default=1e-3, gt=0, description="AdamW's peak learning rate")
    decay: float = Field(default=0.02, ge=0, description="weight decay of matrices; biases and norms have none")
    head_rate: float = Field(default=1.0, gt=0, description="factor on the head's learning rate")
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of all steps")
    clip: float = Field(default=1.0, ge=0, description="largest norm of a gradient; 0: no limit")
    mixup: float = Field(default=0.0, ge=0, description="alpha of the Beta from which mixing shares come; 0: none")
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay of the averaged weights, a step; 0: none")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0, description="of torch; 0: as torch chooses")


class Recipe(Settings):
    """A whole run. Raises SettingsError, when it is read, for a head and a loss that do not fit."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    runs: str = "runs"
    data: DataSettings
    model: ModelSettings
    loss: LossSettings = LossSettings()
    augmentation: Augmentation = Augmentation()
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if self.loss.name not in LOSSES:
            raise ValueError(f"no loss {self.loss.name!r}; there are {', '.join(sorted(LOSSES))}")
        if self.loss.name not in FITS[self.model.head]:
            fits = ", ".join(FITS[self.model.head])
            raise ValueError(f"the loss {self.loss.name!r} does not fit the head {self.model.head!r}; {fits} does")
        return self

    @property
    def folder(self) -> Path:
        """Where the run is written."""
        return Path(self.runs) / self.name


def read_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a TOML file after `name=value` overrides; paths in it are relative to the working directory."""
    return read_settings(path, Recipe, overrides)
