"""VGGFace2 (Cao et al. 2018) with the VMAGE ages of Greco et al. 2021: annotations/<part>.age_detected.csv."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from agewise.data.sources.entry import Entry, Remark, Skipped, picture
from agewise.data.sources.labels import cells, number, sex
from agewise.data.sources.tree import SourceError, Tree

IDENTITIES = 9131
"""Lines of the owners' identity_meta.csv; 8631 of them are people of the training part."""

FULL = 8631
_VALID = {1, 2}


def read(tree: Tree) -> Iterator[Entry]:
    """Faces with an age by the authors' ensemble of networks: kind "estimated".

    The paper validates on the training part's identities whose number, in order of first appearance among the pictures
    that are there and have an age, leaves 1 or 2 when divided by 10. That order changes with any missing picture, so
    column split is the split: keep the manifest. VGGFace2's own test identities are split test.
    """
    here = tree.locate("annotations/train.age_detected.csv", "annotations/test.age_detected.csv")
    meta = _identities(here)
    if meta is not None and len(meta) != IDENTITIES:
        yield Remark(f"identity_meta.csv lists {len(meta)} identities, not {IDENTITIES}: some have no sex")
    order: dict[str, int] = {}
    for part in ("train", "test"):
        if not here.has(f"annotations/{part}.age_detected.csv"):
            continue
        ages = _Ages(here, f"annotations/{part}.age_detected.csv")
        if not here.has(f"annotations/{part}.detected.csv"):
            yield Remark(
                f"no {part}.detected.csv: no source_box, and identities in the order of {part}.age_detected.csv"
            )
        for name, box in _faces(here, part):
            image = f"{here.base}{part}/{name}"
            age = ages.of(name)
            subject = name.split("/")[0]
            if age is None:
                yield Skipped(image, "the picture has no age in the list")
                continue
            if not tree.has(image):
                yield Skipped(image, "the image file is missing")
                continue
            place = order.setdefault(subject, len(order)) if part == "train" else -1
            yield {
                "image": picture(image),
                "age": age,
                "age_kind": "estimated",
                "subject": subject,
                "split": part if part == "test" else "valid" if place % 10 in _VALID else "train",
                "sex": (meta or {}).get(subject),
                "source_box": box,
            }
    if meta is not None and len(meta) != IDENTITIES and len(order) >= FULL:
        raise SourceError(
            f"{tree.root}: the full set, but identity_meta.csv lists {len(meta)} people, not {IDENTITIES}"
        )


def _identities(tree: Tree) -> dict[str, str | None] | None:
    """Sex by identity, from identity_meta.csv: `n000001, "14th_Dalai_Lama", 424, 0, m`; None without the file."""
    if not tree.has("annotations/identity_meta.csv"):
        return None
    rows = cells(tree, "annotations/identity_meta.csv")
    return {row[0]: sex(row[4]) for row in rows if len(row) >= 5 and row[0].startswith("n")}


def _faces(tree: Tree, part: str) -> Iterator[tuple[str, list[float] | None]]:
    """Picture and box in the list's order: columns 2 and 4..7 (x, y, width, height) of the detector's file."""
    detected = f"annotations/{part}.detected.csv"
    if not tree.has(detected):
        yield from ((row[0], None) for row in cells(tree, f"annotations/{part}.age_detected.csv", quote="|"))
        return
    for row in cells(tree, detected, quote="|"):
        if len(row) < 8:
            raise SourceError(f"{tree.root}: {detected} has {len(row)} columns; at least 8 are needed")
        try:
            x, y, width, height = (float(cell) for cell in row[4:8])
        except ValueError:
            yield row[2], None  # also a header, whose picture has no age
            continue
        yield row[2], [x, y, x + width, y + height]


class _Ages:
    """Ages by picture, 16 bytes each: the full list has 3.3 million."""

    def __init__(self, tree: Tree, name: str) -> None:
        keys, ages = array("Q"), array("d")
        for row in cells(tree, name, quote="|"):
            try:
                age = number(row[-1])
            except ValueError:
                continue  # a header
            if age is not None:
                keys.append(_key(row[0]))
                ages.append(age)
        order = np.argsort(np.frombuffer(keys, np.uint64), kind="stable")
        self.keys: NDArray[np.uint64] = np.frombuffer(keys, np.uint64)[order]
        self.ages: NDArray[np.float64] = np.frombuffer(ages, np.float64)[order]

    def of(self, name: str) -> float | None:
        """The age of a picture; None where the list has none."""
        key = np.uint64(_key(name))
        place = int(np.searchsorted(self.keys, key))
        return float(self.ages[place]) if place < len(self.keys) and self.keys[place] == key else None


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
