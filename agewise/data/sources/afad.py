"""AFAD (Niu et al. 2016): folders age/111 (men) and age/112 (women)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from agewise.data.sources.entry import Entry, Skipped, picture
from agewise.data.sources.tree import SourceError, Tree

_NAME = re.compile(r"(?:.*/)?(\d{1,3})/(111|112)/((\d+)-\d+|[^/]+)\.\w+")
_SEXES = {"111": "M", "112": "F"}


def read(tree: Tree) -> Iterator[Entry]:
    """Every picture of AFAD-Full or AFAD-Lite below the root.

    The owners document no people; the number before the dash of 292943-1.jpg is taken for one, because keeping its
    pictures together can only make a split stricter.
    """
    found = False
    for name in tree.images():
        parts = _NAME.fullmatch(name)
        if parts is None:
            yield Skipped(name, "the picture is not in a folder [age]/111 or [age]/112")
            continue
        found = True
        yield {
            "image": picture(name),
            "age": parts[1],
            "age_kind": "real",
            "subject": parts[4],
            "sex": _SEXES[parts[2]],
        }
    if not found:
        raise SourceError(f"{tree.root}: no folder [age]/111 or [age]/112 with pictures there")
