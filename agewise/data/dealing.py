"""Who goes to which part of a split: each by its key alone, or dealt out by age, or as an earlier split has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agewise.data.manifest import ManifestError, open_manifest
from agewise.data.persons import Keys, keys_of, names_of, rows_of
from agewise.metrics import Floats

_DECADES = 11  # of age: 0..9, 10..19 ... 90 and above, and the unknown age


def drawn(persons: Keys, earlier: NDArray[np.intp], shares: Mapping[str, float]) -> NDArray[np.intp]:
    """The part (P,) of each person: its key, which the seed has scattered evenly, falls into the share of one."""
    bounds = np.cumsum(list(shares.values()))[:-1]
    return np.where(earlier >= 0, earlier, np.searchsorted(bounds, persons / 2.0**64, side="right"))


def dealt(
    persons: Keys,
    of_row: NDArray[np.intp],
    ages: Floats,
    earlier: NDArray[np.intp],
    shares: Mapping[str, float],
) -> NDArray[np.intp]:
    """The part (P,) of each person: those with many faces first, then by age, each to where such faces are scarcest.

    Scarcest is the least growth of the sum of load^2 / share over decades of age, all faces, and years from the mean
    age in standard deviations; ties go by the key. Persons in order of age are dealt like cards, alike within a decade
    too; those of two years are in order of their keys, so that another seed puts other persons together.
    """
    unknown = np.isnan(ages)
    decade = np.where(unknown, _DECADES - 1, np.minimum(np.nan_to_num(ages), 99) // 10).astype(np.intp)
    cells = np.bincount(of_row * _DECADES + decade, minlength=len(persons) * _DECADES).reshape(-1, _DECADES)
    known = ages[~unknown] if not unknown.all() else np.zeros(1)
    faces = cells.sum(axis=1)
    mean = np.bincount(of_row, np.where(unknown, known.mean(), ages)) / faces
    away = faces * (mean - known.mean()) / (known.std() or 1)
    count = np.column_stack([cells, faces, away]).astype(np.float32)
    share = np.array(list(shares.values()))
    load = np.stack([count[earlier == number].sum(axis=0, dtype=np.float64) for number in range(len(share))])
    part = earlier.copy()
    order = [one for one in np.lexsort((persons, mean // 2, -faces)).tolist() if part[one] < 0]
    for left, one in zip(range(len(order), 0, -1), order, strict=True):
        growth = (load + count[one] / 2) @ count[one] / share
        empty = load[:, _DECADES] == 0
        if left <= np.count_nonzero(empty):  # the last ones see to it that no part is empty
            growth[~empty] = np.inf
        turn = int(persons[one] % len(share))
        part[one] = (int(np.roll(growth, turn).argmin()) - turn) % len(share)
        load[part[one]] += count[one]
    return part


def earlier_parts(keep: Path, persons: Keys, names: list[str], seed: int) -> NDArray[np.intp]:
    """The part (P,) of each person in an earlier split, -1 for who is not in it."""
    part_of: dict[int, str] = {}
    done = 0
    open_manifest(keep, need=["split"])
    for table in rows_of(keep, ["split"]):
        who, _ = names_of(table, keep, done)
        for key, name, part in zip(keys_of(who, seed).tolist(), who, table["split"].to_pylist(), strict=True):
            if part not in names:
                raise ManifestError(f"{keep}: its parts have {part!r}; the new ones are {', '.join(names)}")
            if part_of.setdefault(key, part) != part:
                raise ManifestError(f"{keep}: {name} is in {part_of[key]} and in {part}; nobody may be in two parts")
        done += len(table)
    number = {name: place for place, name in enumerate(names)}
    return np.array([number[part_of[key]] if key in part_of else -1 for key in persons.tolist()], dtype=np.intp)
