"""What there is: `agewise heads` lists heads and losses, `agewise models` the networks, a line each."""

from __future__ import annotations

import fnmatch
import json
from collections import Counter
from typing import Annotated, Any

import typer

MOST = 40
"""Networks of timm that one call counts: each is made to be counted."""

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def heads(as_json: Json = False) -> None:
    """The heads, the losses that fit each, and what they take as options in a recipe."""
    from agewise.data.choice import options_of
    from agewise.model.age_model import GIVEN
    from agewise.model.heads import HEADS
    from agewise.training.losses import HANDED, LOSSES, losses_for, view_of

    of_all = [loss for loss in LOSSES if view_of(loss) == "log_probs"]
    found: dict[str, Any] = {"heads": {}, "losses": {}}
    modules = Counter(loss.__module__ for loss in LOSSES.values())
    for name, head in HEADS.items():
        own = [loss for loss in losses_for(head) if loss not in of_all]
        options = list(options_of(head, GIVEN).model_fields)
        found["heads"][name] = {"says": _module_line(head), "own losses": own, "options": options}
    for name, loss in LOSSES.items():
        options = list(options_of(loss, HANDED).model_fields)
        says = _line(loss) if modules[loss.__module__] > 1 else _module_line(loss)
        found["losses"][name] = {"says": says, "reads": view_of(name), "options": options}
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print("Heads ([model] head = ...):")
    for name, said in found["heads"].items():
        its = _list(" Its own losses: ", said["own losses"])
        print(f"  {name:13} {said['says']}{its}{_list(' Options: ', said['options'])}")
    print("Losses ([loss] name = ...); those that read log_probs fit every head:")
    for name, said in found["losses"].items():
        print(f"  {name:15} {said['says']} Reads {said['reads']}.{_list(' Options: ', said['options'])}")


def models(
    pattern: Annotated[str | None, typer.Argument(help="Names, such as '*vit_tiny*'; our own if none.")] = None,
    as_json: Json = False,
) -> None:
    """The networks that a recipe may name, with parameters and multiply-adds as they are counted here."""
    from dataclasses import asdict

    from agewise.model.sizes import size_of

    rows = [size_of(name) for name in _names(pattern)]
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    width = max(len(row.name) for row in rows)
    for row in rows:
        sizes = f"{row.parameters / 1e6:7.2f} M parameters {row.operations / 1e6:9.1f} M multiply-adds"
        print(f"{row.name:{width}} {row.pixels:3d} px {sizes}  {row.says}")
    if pattern is None:
        print("and every network of timm: agewise models 'PATTERN' lists those of a name")


def _names(pattern: str | None) -> list[str]:
    from agewise.model import mivolo, swinface
    from agewise.model.students import STUDENTS

    own = [*STUDENTS, *mivolo.CONFIGURATIONS, *swinface.CONFIGURATIONS]
    if pattern is None:
        return own
    import timm

    names: list[str] = [*fnmatch.filter(own, pattern), *timm.list_models(pattern)]
    if not names:
        raise ValueError(f"there is no network like {pattern!r}; '*' stands for any letters, as in 'mobilenet*'")
    if len(names) > MOST:
        raise ValueError(f"{len(names)} networks are like {pattern!r}; {MOST} are counted at the most")
    return names


def _line(thing: Any) -> str:
    """The first line of a docstring."""
    assert thing.__doc__ is not None
    return str(thing.__doc__.splitlines()[0])


def _module_line(thing: Any) -> str:
    """The first line of the module that holds a head or a loss: what it is and whose."""
    import inspect

    module = inspect.getmodule(thing)
    assert module is not None
    return _line(module)


def _list(before: str, names: list[str]) -> str:
    return f"{before}{', '.join(names)}." if names else ""
