"""TOML files checked against pydantic models, with overrides such as `training.epochs=3` and one-line errors."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError


class SettingsError(ValueError):
    """A settings file that cannot be used; the message is one line for the user."""


class Settings(BaseModel):
    """Base of all settings: frozen, and a name that does not exist is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


def read_settings(path: Path | str, kind: type[S], overrides: Sequence[str] = ()) -> S:
    """The settings in a TOML file, after the overrides `a.b=value` (a value is TOML; a bare word is a string)."""
    source = Path(path)
    try:
        values = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{source}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{source}: not a TOML file ({error})") from error
    for override in overrides:
        _put(values, override)
    return check(values, kind, str(source))


def check(values: dict[str, Any], kind: type[S], where: str) -> S:
    """Values as settings; the first thing that is wrong is said in one line."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or kind.__name__.lower()
        if first["type"] == "value_error":  # of a validator here, which says itself what was given
            raise SettingsError(f"{where}: {name}: {first['ctx']['error']}") from error
        given = "" if first["type"] == "missing" else f" (given: {first['input']!r})"
        if first["type"] == "extra_forbidden":
            parent = _model_at(kind, first["loc"][:-1])
            raise SettingsError(f"{where}: no setting {name}; there are {', '.join(parent.model_fields)}") from error
        raise SettingsError(f"{where}: {name}: {first['msg']}{given}") from error


def _put(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise SettingsError(f"{override!r} is no override; write name=value, such as training.epochs=3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = name.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise SettingsError(f"{override!r}: {parent} is a value, not a table")
    values[last] = value


def _model_at(kind: type[BaseModel], path: Sequence[Any]) -> type[BaseModel]:
    for name in path:
        field = kind.model_fields.get(str(name))
        annotation = field.annotation if field else None
        models = [part for part in get_args(annotation) or (annotation,) if isinstance(part, type)]
        inner = next((part for part in models if issubclass(part, BaseModel)), None)  # also of `Table | None`
        if inner is None:
            return kind
        kind = inner
    return kind
