"""A teacher's recipe: one recipe that all members share, how many there are of each kind, and what sets them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from agewise.data.settings import Settings, SettingsError, check, read_settings
from agewise.teachers.contract import SWITCH
from agewise.teachers.views import VIEWS, checked_views
from agewise.training.config import Recipe


class General(Settings):
    """The members for all ages: each leaves out another fold, by person."""

    folds: int = Field(default=11, ge=2, le=100)
    changes: dict[str, Any] = Field(default={}, description="what differs from [member]")


class Children(Settings):
    """The members for children: the same faces, other seeds."""

    members: int = Field(default=3, ge=1, le=100)
    changes: dict[str, Any] = Field(default={}, description="what differs from [member], data.ages at least")


class TeacherRecipe(Settings):
    """A whole teacher (Antipov et al. 2016: 11 general and 3 children's networks, 8 views). `members` makes recipes.

    member: a recipe without its name (recipes/README.md). views: the variants of a face that vote. parallel: members
    trained at a time, each in a process of its own.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
    runs: str = "runs"
    licence: str = "unknown"
    switch: float = Field(default=SWITCH, ge=0, le=100)
    views: tuple[str, ...] = tuple(VIEWS)
    parallel: int = Field(default=1, ge=1, le=64)
    general: General = General()
    children: Children | None = None
    member: dict[str, Any]

    @field_validator("views")
    @classmethod
    def _known(cls, views: tuple[str, ...]) -> tuple[str, ...]:
        return checked_views(views)

    @model_validator(mode="after")
    def _whole(self) -> TeacherRecipe:
        try:
            check({**self.member, "name": "member"}, Recipe, "member")
            made = members(self)
        except SettingsError as error:
            raise ValueError(str(error)) from error
        if any(name.startswith("children") and one.data.ages is None for name, one in made.items()):
            raise ValueError("children.changes.data.ages is needed, such as [0, 12]: what they learn from")
        return self

    @property
    def folder(self) -> Path:
        """Where the members' runs are, and the contract that makes one teacher of them."""
        return Path(self.runs) / self.name


def read_teacher_recipe(path: Path | str, overrides: Sequence[str] = ()) -> TeacherRecipe:
    """The recipe in a TOML file after `name=value` overrides, such as member.training.epochs=2."""
    return read_settings(path, TeacherRecipe, overrides)


def members(recipe: TeacherRecipe) -> dict[str, Recipe]:
    """Each member's own recipe by its name, general-00 ..., children-0 ...; seeds count up from that of [member]."""
    made = {}
    training = recipe.member.get("training")
    seed = training.get("seed") if isinstance(training, Mapping) else None
    first = seed if isinstance(seed, int) else 0  # what is wrong with them, the check of each recipe says
    for fold in range(recipe.general.folds):
        own = {"data": {"folds": recipe.general.folds, "fold": fold}, "training": {"seed": first + fold}}
        made[f"general-{fold:02d}"] = _merged(recipe.member, recipe.general.changes, own)
    children = recipe.children
    for number in range(children.members if children else 0):
        own = {"training": {"seed": first + recipe.general.folds + number}}
        made[f"children-{number}"] = _merged(recipe.member, children.changes if children else {}, own)
    return {
        name: check({**values, "name": name, "runs": str(recipe.folder)}, Recipe, f"member {name}")
        for name, values in made.items()
    }


def _merged(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Tables laid over each other, the last one on top; a choice with another name takes no options over."""
    made: dict[str, Any] = {}
    for table in tables:
        for key, value in table.items():
            below = made.get(key)
            if not isinstance(value, Mapping) or not isinstance(below, Mapping) or "name" in value:
                made[key] = value
            else:
                made[key] = _merged(below, value)
    return made
