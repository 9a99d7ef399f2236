"""What is asked of which rows of a manifest, in which parts: the same plan on one machine and on many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from agewise.data.crops import Batch, parts, read_batches, with_bytes
from agewise.data.manifest import ManifestError, check_frame, fingerprint, first_fault, open_manifest
from agewise.data.places import Place, place_of
from agewise.data.shards import PART_ROWS
from agewise.teachers.votes import FORMS

LABELS = ("age", "age_low", "age_high", "age_std", "weight")

LARGE = 8
"""Parts whose rows may lie in one row group and still be read by different workers, each of which reads it whole."""

Run = tuple[int, int]
"""Parts that are read in one pass: the first, and the one after the last."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A manifest of `total` rows with its fingerprint, `rows` of them a part, and the teacher that is asked.

    manifest: a path or a URI that means the same on every machine. teacher: a fingerprint.
    batch: faces that the teacher gets at a time. votes: the form in which members' distributions are kept, if at all.
    carried: pictures that the manifest names by paths are taken along. ages: column `age_teacher` is written.
    """

    manifest: str
    content: str
    teacher: str
    total: int
    rows: int = PART_ROWS
    batch: int = 50
    votes: str | None = None
    carried: bool = True
    ages: bool = True

    @property
    def said(self) -> dict[str, Any]:
        """What the result depends on."""
        voted = {"votes": self.votes} if self.votes else {}
        return {"manifest": self.content, "teacher": self.teacher, **voted}

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-self.total // self.rows)

    def span(self, part: int) -> range:
        """The rows of the manifest that are in a part."""
        return range(part * self.rows, min((part + 1) * self.rows, self.total))

    def rows_of(self, parts: Iterable[int]) -> int:
        """How many rows those parts have."""
        return sum(len(self.span(part)) for part in parts)


@dataclass(frozen=True, slots=True)
class Piece:
    """A batch of a part, with the number of its first row; `last` where the part ends with it."""

    part: int
    first: int
    read: Batch
    last: bool


def make_plan(
    manifest: Path | str,
    identity: str,
    *,
    batch: int = 50,
    votes: str | None = None,
    rows: int = PART_ROWS,
    carried: bool = True,
    ages: bool = True,
) -> Plan:
    """The plan for a manifest. Raises ManifestError where it cannot be annotated, before any long work."""
    if batch < 1:
        raise ValueError(f"the batch is {batch} faces; at least 1 is needed")
    if votes is not None and votes not in FORMS:
        raise ValueError(f"no form of votes {votes!r}; there are {', '.join(FORMS)}")
    place = place_of(manifest)
    total = int(open_manifest(place, need=["image"]).metadata.num_rows)
    if total == 0:
        raise ManifestError(f"{place}: no row to annotate")
    check_frame(place, "aligned")
    _check_labels(place)
    return Plan(place.everywhere, fingerprint(place), identity, total, rows, batch, votes, carried, ages)


def pieces(plan: Plan, runs: Sequence[Run]) -> Iterator[Piece]:
    """The batches of some parts, in order, read and decoded; no batch holds rows of two parts."""
    source = place_of(plan.manifest)
    folder = source if source.is_folder() else source.parent
    for begin, end in runs:
        for part, table in enumerate(parts(source, begin, end, plan.rows), begin):
            first = part * plan.rows
            held = with_bytes(table, folder) if plan.carried else table
            for read in read_batches(held, folder, plan.batch):
                yield Piece(part, first, read, first + len(read.rows) == plan.span(part).stop)
                first += len(read.rows)


def runs_of(missing: Sequence[int]) -> list[Run]:
    """Parts in as few passes as they can be read in.

    >>> runs_of([0, 1, 2, 5, 6])
    [(0, 3), (5, 7)]
    """
    found: list[Run] = []
    for part in missing:
        if found and found[-1][1] == part:
            found[-1] = (found[-1][0], part + 1)
        else:
            found.append((part, part + 1))
    return found


def shares_of(plan: Plan, missing: Sequence[int]) -> list[Run]:
    """The parts as shares of work: one part each, but parts of a very large row group together.

    Parquet is read by row groups. Were the thousand parts of a group of a million rows read apart, each reader would
    walk over half of the group to find its own.
    """
    ends = accumulate(open_manifest(plan.manifest).group_rows, initial=0)
    bounds = sorted({min(end // plan.rows, plan.parts) for end in ends} | {plan.parts})
    groups = list(pairwise(bounds))
    alone = {part for low, high in groups if high - low <= LARGE for part in range(low, high)}
    found: list[Run] = []
    for begin, end in runs_of([part for part in missing if part not in alone]):
        cuts = [begin, *(bound for bound in bounds if begin < bound < end), end]
        found += list(pairwise(cuts))
    return sorted(found + [(part, part + 1) for part in missing if part in alone])


def _check_labels(place: Place) -> None:
    """Raises ManifestError for the first label that cannot be; a row group is looked at, at a time."""
    file, start = open_manifest(place), 0
    names = [name for name in LABELS if name in file.schema_arrow.names]
    for group in range(file.num_row_groups) if names else ():
        for batch in file.iter_batches(row_groups=[group], columns=names):
            if (wrong := first_fault(pa.Table.from_batches([batch]))) is not None:
                raise ManifestError(f"{place}: row {start + wrong[0]}: {wrong[1]}")
            start += len(batch)
