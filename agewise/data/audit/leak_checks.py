"""Leaks: subjects and pictures that stand on both sides of a split; and pictures that stand twice on one side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agewise.data.audit.duplicates import candidates, components, equal_rows
from agewise.data.audit.findings import MOST_LISTED, Finding, Place, named
from agewise.data.audit.scan import Pictures, Rows
from agewise.data.audit.twins import SIMILARITY, Embed, local_contrast, similarities

How = Literal["file", "pixels", "near"]
HOW: dict[How, str] = {"file": "the same file", "pixels": "the same pixels", "near": "near duplicates"}
"""How two rows are the same picture."""


@dataclass(frozen=True, slots=True)
class Twins:
    """Two rows `a` < `b` with the same picture, and how similar they are (cosine; 1 for equal pixels).

    differs: labels that are known of both and are not the same: age, subject or a group.
    """

    a: int
    b: int
    how: How
    similarity: float
    mirrored: bool
    differs: tuple[str, ...]


def find_twins(
    rows: Rows, pictures: Pictures, embed: Embed = local_contrast, similarity: float = SIMILARITY
) -> list[Twins]:
    """The pairs of rows with the same picture, equal ones first, then by similarity.

    Of equal pictures, each row is linked with the first one on its side, and that one with the first of all, so that k
    equal rows give k - 1 pairs. Near ones are looked for among those first ones.
    """
    readable = np.flatnonzero(~np.isnan(pictures.size))
    equal = np.arange(len(rows))
    equal[readable] = readable[equal_rows(pictures.pixels[readable])]
    sides = len(rows.side.names)
    _, first, of_side = np.unique(equal * sides + rows.side.codes, return_index=True, return_inverse=True)
    chief = first[of_side]  # the first equal row on the same side
    linked = np.where(chief == np.arange(len(rows)), equal, chief)
    twins = []
    for b in np.flatnonzero(linked != np.arange(len(rows))).tolist():
        same = bool(pictures.files[linked[b]] == pictures.files[b])
        twins.append(_twins(rows, int(linked[b]), b, "file" if same else "pixels", 1.0, False))
    nodes = readable[(chief[readable] == readable) & ~pictures.flat[readable]]
    pairs = candidates(pictures.hashes[nodes])
    pairs = replace(pairs, cut=nodes[pairs.cut], whole=nodes[pairs.whole])
    pairs = pairs[equal[pairs.cut] != equal[pairs.whole]]
    cosine = similarities(rows, pairs, embed)
    for number in np.argsort(-cosine, kind="stable").tolist():
        if cosine[number] >= similarity:
            a, b = sorted((int(pairs.cut[number]), int(pairs.whole[number])))
            twins.append(_twins(rows, a, b, "near", float(cosine[number]), bool(pairs.mirrored[number])))
    return twins


def leaks_of_pictures(rows: Rows, twins: Sequence[Twins]) -> Iterator[Finding]:
    """Pictures on two sides, by how they are the same and by the two sides."""
    found: dict[tuple[How, str, str], list[Twins]] = {}
    for pair in twins:
        s, t = sorted((int(rows.side.codes[pair.a]), int(rows.side.codes[pair.b])))
        if s != t:
            found.setdefault((pair.how, rows.side.names[s], rows.side.names[t]), []).append(pair)
    for (how, one, other), pairs in found.items():
        says = f"{len(pairs)} pairs of pictures of {one} and {other} are {HOW[how]}{_unequal(pairs)}"
        yield Finding(f"{how} across sides", "leak", len(pairs), says, _places(rows, pairs))


def repeats(rows: Rows, twins: Sequence[Twins]) -> Iterator[Finding]:
    """Pictures that stand twice on one side, and pairs of the same picture with unequal labels."""
    found: dict[tuple[How, str], list[Twins]] = {}
    for pair in twins:
        if rows.side_of(pair.a) == rows.side_of(pair.b):
            found.setdefault((pair.how, rows.side_of(pair.a)), []).append(pair)
    for (how, side), pairs in found.items():
        says = f"{len(pairs)} pairs of pictures within {side} are {HOW[how]}{_unequal(pairs)}"
        yield Finding(f"{how} within a side", "warning", len(pairs), says, _places(rows, pairs))
    differing = [pair for pair in twins if pair.differs]
    if differing:
        which = Counter(name for pair in differing for name in pair.differs).most_common()
        says = f"{len(differing)} pairs of the same picture have unequal labels: " + named(
            [f"{name} ({count})" for name, count in which]
        )
        yield Finding("unequal labels", "warning", len(differing), says, _places(rows, differing))


def leaks_of_subjects(rows: Rows) -> Iterator[Finding]:
    """Subjects with rows on two sides."""
    known = np.flatnonzero(rows.subject.codes >= 0)
    if not len(known):
        yield Finding("no subjects", "note", len(rows), "no row names its subject: who is on two sides is not known")
        return
    if len(known) < len(rows):
        says = f"{len(rows) - len(known)} rows name no subject: whether they are of a person of another side is unknown"
        yield Finding("no subjects", "note", len(rows) - len(known), says)
    met, first = np.unique(
        np.column_stack([rows.subject.codes[known], rows.side.codes[known]]), axis=0, return_index=True
    )
    on: dict[int, dict[int, int]] = {}
    for (subject, side), row in zip(met.tolist(), known[first].tolist(), strict=True):
        on.setdefault(subject, {})[side] = row
    for s, t in combinations(range(len(rows.side.names)), 2):
        both = {subject: sides for subject, sides in on.items() if s in sides and t in sides}
        if both:
            names = named([rows.subject.names[subject] for subject in both], 5)
            says = f"{len(both)} subjects are in {rows.side.names[s]} and in {rows.side.names[t]}: {names}"
            cases = [(rows.place(sides[s]), rows.place(sides[t])) for sides in both.values()]
            yield Finding("subjects across sides", "leak", len(both), says, tuple(cases[:MOST_LISTED]))


def shared(rows: Rows, twins: Sequence[Twins]) -> list[tuple[str, str, int, int]]:
    """(a side, another, rows of the first whose picture is also on the other, rows of the first), where there are any.

    Here pictures are the same through any number of pairs.
    """
    if not twins:
        return []
    ends = np.array([(pair.a, pair.b) for pair in twins])
    root = components(len(rows), ends[:, 0], ends[:, 1])
    on = {code: np.unique(root[rows.side.codes == code]) for code in range(len(rows.side.names))}
    found = []
    for s, one in enumerate(rows.side.names):
        mine = root[rows.side.codes == s]
        for t, other in enumerate(rows.side.names):
            count = int(np.isin(mine, on[t]).sum()) if s != t else 0
            if count:
                found.append((one, other, count, len(mine)))
    return found


def _twins(rows: Rows, a: int, b: int, how: How, similarity: float, mirrored: bool) -> Twins:
    ages = {name: rows.labels[name][[a, b]] for name in ("age", "age_low", "age_high")}
    differs = ["age"] if any(_unlike(values) for values in ages.values()) else []
    for name, column in {"subject": rows.subject, **rows.groups}.items():
        one, other = column.codes[a], column.codes[b]
        if one != other and min(one, other) >= 0:
            differs.append(name)
    return Twins(a, b, how, similarity, mirrored, tuple(differs))


def _unlike(values: NDArray[np.float64]) -> bool:
    return bool(abs(values[0] - values[1]) > 1e-6)  # a NaN is not known, and never unlike


def _unequal(pairs: Sequence[Twins]) -> str:
    count = sum("age" in pair.differs for pair in pairs)
    return f", {count} of them with unequal ages" if count else ""


def _places(rows: Rows, pairs: Sequence[Twins]) -> tuple[tuple[Place, ...], ...]:
    return tuple((rows.place(pair.a), rows.place(pair.b)) for pair in pairs[:MOST_LISTED])
