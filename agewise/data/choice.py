"""A named thing with options of its own in a settings file; its function's signature says which options there are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model, model_validator

from agewise.data.settings import Settings, SettingsError, check


class Choice(BaseModel):
    """`name = "forest", trees = 5`, or the name alone where it has no options.

    >>> Choice.model_validate("coral").name, Choice.model_validate({"name": "forest", "trees": 3}).options
    ('coral', {'trees': 3})
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    name: str

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """What stands beside the name and the declared settings."""
        return dict(self.model_extra or {})


def checked_options(
    choice: Choice, kinds: dict[str, Any], what: str, handed: Sequence[str] = (), more: Sequence[str] = ()
) -> dict[str, Any]:
    """The options of a choice, in the types of the signature of what it names; `handed` parameters are none.

    more: names of declared settings, for the message. Raises ValueError: an unknown name (with those that there are),
    an unknown option, or a value of another type.
    """
    if choice.name not in kinds:
        raise ValueError(f"no {what} {choice.name!r}; there are {', '.join(kinds)}")
    allowed = options_of(kinds[choice.name], handed)
    wrong = next((name for name in choice.options if name not in allowed.model_fields), None)
    if wrong is not None:
        names = ", ".join([*allowed.model_fields, *more]) or "none"
        raise ValueError(f"the {what} {choice.name!r} has no option {wrong}; there are {names}")
    try:
        return check(choice.options, allowed, f"the {what} {choice.name!r}").model_dump()
    except SettingsError as error:
        raise ValueError(str(error)) from error


def options_of(function: Callable[..., Any], handed: Sequence[str] = ()) -> type[Settings]:
    """The parameters of a function (of a class: of its making) that are no `handed` ones and have a default."""
    target = function.__init__ if inspect.isclass(function) else function
    hints = get_type_hints(target, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], parameter.default)
        for name, parameter in inspect.signature(target).parameters.items()
        if name not in handed and parameter.default is not inspect.Parameter.empty
    }
    return create_model("Options", __base__=Settings, **fields)
