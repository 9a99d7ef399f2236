"""What only people know of a model: for what it is, what it rests on and under which licences, what is weak."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from agewise.data.settings import Settings, SettingsError, read_settings

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""Markdown; an empty line ends a paragraph."""
Role = Literal["trained on", "validated on", "tested on", "never used"]


class Use(Settings):
    """fit: what the model may be used for. unfit: what not. says: what its answer is, and is not."""

    fit: Text
    unfit: Text
    says: Text


class Source(Settings):
    """Data, their licence and what they were for; text: what else is to be said, such as who is on the pictures."""

    name: Text
    licence: Text
    role: Role
    text: Text


class Network(Settings):
    """A teacher, or the weights from which training started; training_data: what is known of the faces behind them."""

    name: Text
    licence: Text
    training_data: Text


class Figure(Settings):
    """A number that no report holds, and the command that reproduces it."""

    says: Text
    command: Text


class About(Settings):
    """The prose of a model's card.

    name: of the model, as in its file. made_by: how it can be made again. targets: what it was taught, and how that
    came to be. start: None is random weights. calibration: what the distributions' width was fitted on.
    measured: what has to be known of the figures, such as which data chose the model.
    """

    name: Text
    title: Text
    version: Text
    date: datetime.date
    contact: Text
    summary: Text
    made_by: Text
    use: Use
    data: Annotated[tuple[Source, ...], Field(min_length=1)]
    targets: Text
    teachers: tuple[Network, ...]
    start: Network | None = None
    calibration: Text | None = None
    measured: tuple[Text, ...] = ()
    figures: tuple[Figure, ...] = ()
    weaknesses: Annotated[tuple[Text, ...], Field(min_length=1)]


def read_about(path: Path | str, name: str) -> About:
    """The about file of the model of that name. Raises SettingsError where it is unusable, or of another model."""
    about = read_settings(path, About)
    if about.name != name:
        raise SettingsError(f"{path}: about {about.name!r}; the model is {name!r}")
    return about
