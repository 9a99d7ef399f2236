"""A recipe: everything that decides a training run, in one TOML file, saved whole with the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from agewise.data.augmentation.augment import Augmentation
from agewise.data.choice import Choice, checked_options
from agewise.data.settings import Settings, read_settings
from agewise.data.targets import TargetSettings
from agewise.model.age_model import ModelSettings
from agewise.model.heads import HEADS
from agewise.training.losses import HANDED, LOSSES, losses_for


class DataSettings(Settings):
    """Which faces, how often they are drawn, and how much they count."""

    train: str = Field(description="manifest to learn from")
    valid: str | None = Field(default=None, description="manifest that is only looked at")
    balance: float = Field(default=0.0, ge=0, le=1, description="draws; 0: faces as they come; 1: all ages alike")
    reweight: float = Field(default=0.0, ge=0, le=1, description="the same of each face's weight in the loss")
    even: tuple[str, ...] = Field(
        default=(), description="columns, such as sex, of whose values all are to have the same ages, by weights"
    )
    workers: int = Field(default=2, ge=0, le=64)
    limit: int | None = Field(default=None, ge=1, description="learn from the first rows only")
    ages: tuple[float, float] | None = Field(default=None, description="learn only from faces of these ages, in years")
    folds: int | None = Field(default=None, ge=2, description="deal the faces out by person into so many folds")
    fold: int = Field(default=0, ge=0, description="of the folds: not learned from, and looked at where no valid is")
    target: TargetSettings = TargetSettings()

    @model_validator(mode="after")
    def _there(self) -> DataSettings:
        if self.fold >= (self.folds or 1):
            raise ValueError(f"fold is {self.fold} of {self.folds or 1} folds, which are counted from 0")
        if self.ages is not None and not 0 <= self.ages[0] <= self.ages[1] <= 100:
            raise ValueError(
                f"ages are {self.ages[0]:g}..{self.ages[1]:g}; two of 0..100, the younger first, are needed"
            )
        return self


class LossSettings(Choice):
    """What is minimised; beside these, the options of the loss."""

    name: str = "distribution"
    groups: Literal["interval", "spread"] = Field(
        default="interval", description="a face of which only a group is known: any age of it, or all of them alike"
    )
    group_weight: float = Field(default=1.0, ge=0, description="of the intervals, which are in nats, beside the loss")

    @model_validator(mode="after")
    def _has(self) -> LossSettings:
        checked_options(self, LOSSES, "loss", HANDED, more=["groups", "group_weight"])
        return self


class TrainingSettings(Settings):
    """How it is minimised."""

    start: str | None = Field(default=None, description="run folder whose weights to begin with, as far as they fit")
    epochs: int = Field(default=20, ge=1)
    batch: int = Field(default=64, ge=1, description="faces a step, of one process")
    accumulate: int = Field(default=1, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    rate: float = Field(default=1e-3, gt=0, description="peak learning rate")
    decay: float = Field(default=0.02, ge=0, description="weight decay of matrices; biases and norms have none")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="of sgd")
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    step_epochs: int = Field(default=20, ge=1, description="step: epochs from one fall of the rate to the next")
    step_factor: float = Field(default=0.2, gt=0, le=1)
    head_rate: float = Field(default=1.0, gt=0, description="factor on the rate of the head and the tasks")
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of all steps, before any schedule")
    clip: float = Field(default=1.0, ge=0, description="largest norm of a gradient; 0: no limit")
    mixup: float = Field(default=0.0, ge=0, description="alpha of the Beta from which mixing shares come; 0: none")
    ema: float = Field(default=0.0, ge=0, lt=1, description="decay of the averaged weights, a step; 0: none")
    keep: Literal["last", "best"] = Field(default="last", description="best: at the lowest valid_excess")
    patience: int = Field(
        default=0, ge=0, description="stop after so many epochs without a lower valid_excess; 0: never"
    )
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: str = Field(default="auto", description="of Lightning: cpu, gpu, mps ...")
    devices: int = Field(default=1, ge=-1, description="processes of one machine; -1: as many as it has devices")
    nodes: int = Field(default=1, ge=1, description="machines")
    strategy: str = Field(default="auto", description="of Lightning: ddp, ddp_spawn, fsdp ...")
    seed: int = Field(default=0, ge=0, lt=2**32)
    threads: int = Field(default=0, ge=0, le=256, description="of torch; 0: as torch chooses")

    @model_validator(mode="after")
    def _means_something(self) -> TrainingSettings:
        if self.devices == 0:
            raise ValueError("devices is 0; 1 or more are needed, or -1 for all that there are")
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum is of sgd; {self.optimizer} has none to set")
        return self


class ImitationSettings(Settings):
    """Whose answers to the same views, clear ones, a student learns beside the labels (training/imitation.py)."""

    teacher: str | None = Field(default=None, description="run folder of agewise train; none: labels alone")
    share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="of the divergence from the teacher's ages, for all faces of any weight alike; labels the rest",
    )
    features: float = Field(default=0.0, ge=0, description="weight of the distance to the teacher's features")


class Recipe(Settings):
    """A whole run. Raises SettingsError, when it is read, for a head and a loss that do not fit."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
    runs: str = "runs"
    data: DataSettings
    model: ModelSettings
    loss: LossSettings = LossSettings()
    augmentation: Augmentation = Augmentation()
    training: TrainingSettings = TrainingSettings()
    imitation: ImitationSettings = ImitationSettings()

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        head = self.model.head.name
        fits = losses_for(HEADS[head])
        if self.loss.name not in fits:
            raise ValueError(f"the loss {self.loss.name!r} does not fit the head {head!r}; these do: {', '.join(fits)}")
        if (self.training.keep == "best" or self.training.patience) and not (self.data.valid or self.data.folds):
            raise ValueError("training.keep = best and training.patience need data.valid or folds, faces to choose by")
        return self

    @property
    def folder(self) -> Path:
        """Where the run is written."""
        return Path(self.runs) / self.name


def read_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a TOML file after `name=value` overrides; paths in it are relative to the working directory."""
    return read_settings(path, Recipe, overrides)
