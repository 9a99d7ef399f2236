"""All-Age-Faces (Cheng et al. 2019): 00000A02.jpg is person 00000 at 2 years; `image sets` has the parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Literal

from agewise.data.sources.entry import Entry, Skipped, picture
from agewise.data.sources.labels import lines
from agewise.data.sources.tree import SourceError, Tree

_NAME = re.compile(r"(\d{5})A(\d{2,3})")
_SEXES = {"0": "F", "1": "M"}
LAST_WOMAN = 7380
"""The owners numbered the women 0 to 7380 and the men 7381 to 13321."""


def read(tree: Tree, *, pictures: Literal["original", "aligned"] = "original") -> Iterator[Entry]:
    """The original or the aligned pictures; the owners' train and val lists are split train and valid."""
    lists = _lists(tree)
    found = False
    for name in tree.images():
        if not _FOLDERS[pictures].search(name):
            continue
        found = True
        stem = PurePosixPath(name).stem
        parts = _NAME.fullmatch(stem)
        if parts is None:
            yield Skipped(name, "the name is not [person]A[age].jpg")
            continue
        split, sex = lists.get(stem, (None, None))
        yield {
            "image": picture(name),
            "age": parts[2],
            "age_kind": "real",
            "subject": parts[1],
            "split": split,
            "sex": sex or ("F" if int(parts[1]) <= LAST_WOMAN else "M"),
        }
    if not found:
        raise SourceError(f"{tree.root}: no folder '{pictures} {_WHAT[pictures]}' with pictures there")


_WHAT = {"original": "images", "aligned": "faces"}
_FOLDERS = {kind: re.compile(rf"(^|/){kind}[ _]?(images?|faces?)/", re.IGNORECASE) for kind in _WHAT}


def _lists(tree: Tree) -> dict[str, tuple[str, str | None]]:
    """Part and sex by file stem, of `image sets/train.txt` and `val.txt`: lines such as `00000A02.jpg 0`."""
    known: dict[str, tuple[str, str | None]] = {}
    for list_name, split in (("train.txt", "train"), ("val.txt", "valid")):
        for file in (*tree.glob(list_name), *tree.glob(f"*/{list_name}"), *tree.glob(f"*/*/{list_name}")):
            for line in lines(tree, file):
                words = line.split()
                if words:
                    stem = words[0].removesuffix(".jpg")
                    known[stem] = (split, _SEXES.get(words[-1]) if len(words) > 1 else None)
    return known
