"""IMDB-WIKI (Rothe, Timofte and Van Gool 2018): imdb.mat and wiki.mat beside their pictures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import date
from pathlib import PurePosixPath
from typing import Any, Literal

from agewise.data.sources.entry import Entry, Row, Skipped, picture
from agewise.data.sources.matlab import column, struct
from agewise.data.sources.tree import SourceError, Tree

_FIELDS = ("dob", "photo_taken", "full_path", "gender", "name", "face_location", "face_score", "second_face_score")
_BIRTH = re.compile(r"_(\d{4})-(\d{1,2})-(\d{1,2})_(\d{4})\.")
_SEXES = {0.0: "F", 1.0: "M"}
YOUNGEST, OLDEST = 1, 100
"""Ages that are kept (Greco et al. 2021): 0 is mostly a wrong year."""


def read(tree: Tree, *, second: Literal["skip", "keep"] = "skip") -> Iterator[Entry]:
    """Both parts, whichever are there; a picture with a second face is left out unless `second` is keep.

    The age is the year of the photo less the date of birth, the photo taken in the middle of its year. There is no
    official split; here identities, in order of first appearance and the same name in both parts being one, are
    valid where their number leaves 0 when divided by 10, test where it leaves 1 (Greco et al. 2021).
    """
    mats = [(part, name) for part in ("imdb", "wiki") for name in _mats(tree, part)]
    if not mats:
        raise SourceError(f"{tree.root}: no imdb.mat or wiki.mat there, nor up to two folders below")
    order: dict[str, int] = {}
    for part, name in mats:
        folder = name.removesuffix(f"{part}.mat")
        meta = struct(tree, name, part)
        cropped = PurePosixPath(folder).name.endswith("_crop")
        for values in zip(*(column(meta, field) for field in _FIELDS), strict=True):
            face = dict(zip(_FIELDS, values, strict=True))
            image = f"{folder}{face['full_path']}"
            why = _why_not(face, second == "keep")
            if why is None and not tree.has(image):
                why = "the image file is missing"
            if why is not None:
                yield Skipped(image, why)
                continue
            place = order.setdefault(str(face["name"]).casefold(), len(order)) % 10
            yield _row(face, image, "valid" if place == 0 else "test" if place == 1 else "train", not cropped)


def _mats(tree: Tree, part: str) -> list[str]:
    """The part's metadata: of several copies (photos and crops) the first folder's."""
    found = [name for depth in range(3) for name in tree.glob("*/" * depth + f"{part}.mat")]
    return found[:1]


def _row(face: dict[str, Any], image: str, split: str, boxed: bool) -> Row:
    box = face["face_location"]
    known = boxed and box is not None and len(box) == 4
    return {
        "image": picture(image),
        "age": _age(face),
        "age_kind": "real",
        "subject": str(face["name"]),
        "split": split,
        "sex": _SEXES.get(float(face["gender"])) if face["gender"] is not None else None,
        "face_score": float(face["face_score"]),
        # MATLAB counts pixels from 1 and both ends are inside: x0 is the left edge of that pixel, x1 the right one
        "source_box": [box[0] - 1, box[1] - 1, box[2], box[3]] if known else None,
    }


def _why_not(face: dict[str, Any], second: bool) -> str | None:
    """The first rule that a face breaks, or None."""
    if not str(face["name"] or "").strip():
        return "nobody is named"
    score, other = face["face_score"], face["second_face_score"]
    if score is None or not math.isfinite(score):
        return "the owners' detector found no face"
    if not second and other is not None and not math.isnan(other):
        return "the owners' detector found a second face"
    named = _BIRTH.search(str(face["full_path"]))
    if named and (int(named[2]) == 0 or int(named[3]) == 0):
        return "the date of birth has no month or day"
    age = _age(face)
    if age is None:
        return "the date of birth or the year of the photo is unknown"
    return None if YOUNGEST <= age <= OLDEST else f"the age is not {YOUNGEST}..{OLDEST}"


def _age(face: dict[str, Any]) -> int | None:
    """Years at the middle of the photo's year; None where a date cannot be."""
    born, taken = face["dob"], face["photo_taken"]
    if born is None or taken is None or not math.isfinite(born) or not math.isfinite(taken):
        return None
    try:
        birth = date.fromordinal(int(born) - 366)  # MATLAB counts days from the year 0
    except (ValueError, OverflowError):
        return None
    return int(taken) - birth.year - (birth.month >= 7)
