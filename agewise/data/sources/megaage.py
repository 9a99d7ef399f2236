"""MegaAge and MegaAge-Asian (Zhang et al. 2017): list/train_name.txt, train_age.txt, train_dis.txt, and of test."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

import numpy as np

from agewise.data.sources.entry import Entry, Remark, picture
from agewise.data.sources.labels import lines
from agewise.data.sources.tree import SourceError, Tree


def read(tree: Tree) -> Iterator[Entry]:
    """Both parts. Ages were found by people who compared faces: kind "apparent".

    `age_std` is the spread of the published distribution; its place on the axis is not used, as the two sets begin
    their axes differently.
    """
    here = tree.locate("list/train_name.txt", "list/test_name.txt")
    for part in ("train", "test"):
        names = f"list/{part}_name.txt"
        if not here.has(names):
            continue
        spreads = f"list/{part}_dis.txt"
        if not here.has(spreads):
            yield Remark(f"no {spreads}: age_std of {part} is not known")
        columns = [names, f"list/{part}_age.txt", spreads if here.has(spreads) else names]
        for name, age, chances in zip_longest(*(_filled(here, column) for column in columns)):
            if name is None or age is None or chances is None:
                raise SourceError(f"{tree.root}: {', '.join(columns)} have not the same number of lines")
            yield {
                "image": picture(f"{here.base}{part}/{name}"),
                "age": age,
                "age_std": _spread(chances) if here.has(spreads) else None,
                "age_kind": "apparent",
                "split": part,
            }


def _filled(tree: Tree, name: str) -> Iterator[str]:
    return (line.strip() for line in lines(tree, name) if line.strip())


def _spread(text: str) -> float | None:
    """The standard deviation, in years, of a distribution over consecutive ages; None where it is none."""
    try:
        chances = np.array(text.replace(",", " ").split(), dtype=np.float64)
    except ValueError:
        return None
    total = chances.sum()
    if not (np.isfinite(chances).all() and (chances >= 0).all() and total > 0):
        return None
    years = np.arange(len(chances))
    mean = (chances * years).sum() / total
    return float(np.sqrt((chances * (years - mean) ** 2).sum() / total))
