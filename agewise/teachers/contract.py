"""A teacher as a small TOML file: what an outside age network expects and returns, or whose votes make an ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from agewise.data.settings import Settings, read_settings
from agewise.teachers.views import checked_views

SWITCH = 12.0
"""Years up to which, included, the children's members decide (Antipov et al. 2016)."""


class TeacherError(ValueError):
    """A network and its contract that do not fit, or a member that fails; the message is one line for the user."""


OF_MEMBERS = ("weights", "children", "switch", "views")
"""Settings that only a teacher with members has."""


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
    """One network, or an ensemble; either may be recalibrated by age.

    members: other contracts (`.toml`) or run folders of `agewise train`, relative to the file that names them.
    children: the same, for faces that the members read as `switch` years or younger.
    views: the test-time views over which every member votes.
    readout: the file of a Bank of training faces, by which the ensemble's distributions are read (readout.py).
    """

    name: str
    licence: str = "unknown"
    source: str = ""
    file: str | None = None
    input: Input | None = None
    crop: Crop = Crop()
    output: Output | None = None
    members: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    children: tuple[str, ...] = ()
    switch: float = Field(default=SWITCH, ge=0, le=100)
    views: tuple[str, ...] = ("original",)
    recalibration: str | None = None
    readout: str | None = None

    @field_validator("views")
    @classmethod
    def _known(cls, views: tuple[str, ...]) -> tuple[str, ...]:
        return checked_views(views)

    @model_validator(mode="after")
    def _whole(self) -> Contract:
        network = [self.file, self.input, self.output]
        if self.members and any(part is not None for part in network):
            raise ValueError("a teacher has either members, or file, input and output")
        if not self.members and any(part is None for part in network):
            raise ValueError("a teacher needs file, [input] and [output], or members")
        alone = [] if self.members else [name for name in OF_MEMBERS if name in self.model_fields_set]
        if alone:
            raise ValueError(f"{' and '.join(alone)} without members; only an ensemble has them")
        if self.weights and (len(self.weights) != len(self.members) or min(self.weights) <= 0):
            raise ValueError(f"{len(self.members)} members need as many positive weights")
        return self


def read_contract(path: Path | str) -> Contract:
    """The contract in a TOML file. Raises SettingsError naming what is wrong."""
    return read_settings(path, Contract)
