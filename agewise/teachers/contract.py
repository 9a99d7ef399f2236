"""What an outside age network expects and returns, as a small TOML file, and how it is opened as a Predictor."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from agewise.data.settings import Settings, read_settings


class Input(Settings):
    """The network's image input: pixels become (pixel - mean) / scale, in the order of `colours`."""

    name: str
    size: int = Field(ge=16, le=1024)
    layout: Literal["NCHW", "NHWC"]
    colours: Literal["RGB", "BGR"]
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @field_validator("scale")
    @classmethod
    def _divides(cls, scale: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(abs(value) for value in scale) == 0:
            raise ValueError(f"{list(scale)} holds a 0, by which no pixel can be divided")
        return scale


class Crop(Settings):
    """The window of the standard frame that the network was trained on (docs/geometry.md)."""

    x: float = Field(default=0.5, ge=0, le=1)
    y: float = Field(default=0.5, ge=0, le=1)
    side: float = Field(default=1.0, ge=0.05, le=2.0)


class Output(Settings):
    """How the network's output becomes a distribution.

    years: (N, 1) ages; a Gaussian of `std` years is put around each.
    classes: (N, C) probabilities, class i being the age `first` + i.
    logits: the same before the softmax.
    """

    name: str
    kind: Literal["years", "classes", "logits"]
    std: float = Field(default=5.0, gt=0, le=30)
    first: int = Field(default=0, ge=0, le=100)


class Contract(Settings):
    """One network, or an ensemble of other contracts; either may be recalibrated by age."""

    name: str
    licence: str = "unknown"
    source: str = ""
    file: str | None = None
    input: Input | None = None
    crop: Crop = Crop()
    output: Output | None = None
    members: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    recalibration: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Contract:
        network = [self.file, self.input, self.output]
        if self.members and any(part is not None for part in network):
            raise ValueError("a teacher has either members, or file, input and output")
        if not self.members and any(part is None for part in network):
            raise ValueError("a teacher needs file, [input] and [output], or members")
        if self.weights and (len(self.weights) != len(self.members) or min(self.weights) <= 0):
            raise ValueError(f"{len(self.members)} members need as many positive weights")
        return self


def read_contract(path: Path | str) -> Contract:
    """The contract in a TOML file. Raises SettingsError naming what is wrong."""
    return read_settings(path, Contract)
