"""CACD (Chen, Chen and Hsu 2014): file names age_name_number.jpg, and celebrity2000_meta.mat for the parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from agewise.data.sources.entry import Entry, Remark, Skipped, picture
from agewise.data.sources.matlab import column, struct
from agewise.data.sources.tree import SourceError, Tree

META = "celebrity2000_meta.mat"
_NAME = re.compile(r"(\d{1,3})_(.+)_(\d{4})")


def read(tree: Tree) -> Iterator[Entry]:
    """Every picture below the root; subject is the celebrity's name.

    Where celebrity2000_meta.mat is there, split follows the rank that the owners gave within a year of birth: they
    cleaned the labels of the 200 celebrities of rank 1 to 5 by hand, tuned on ranks 1 and 2 and tested on 3 to 5.
    """
    splits = _splits(tree)
    if splits is None:
        yield Remark(f"no {META}: split is not known")
    found = False
    for name in tree.images():
        found = True
        parts = _NAME.fullmatch(PurePosixPath(name).stem)
        if parts is None:
            yield Skipped(name, "the name is not age_name_number.jpg")
            continue
        yield {
            "image": picture(name),
            "age": parts[1],
            "age_kind": "real",
            "subject": parts[2],
            "split": (splits or {}).get(parts[2]),
        }
    if not found:
        raise SourceError(f"{tree.root}: no picture named age_name_number.jpg there")


def _splits(tree: Tree) -> dict[str, str] | None:
    """The part of each celebrity, by the name in the file names."""
    found = [*tree.glob(META), *tree.glob(f"*/{META}")]
    if not found:
        return None
    meta = struct(tree, found[0], "celebrityImageData")
    parts: dict[str, str] = {}
    for file, rank in zip(column(meta, "name"), column(meta, "rank"), strict=True):
        name = _NAME.fullmatch(PurePosixPath(str(file)).stem)
        if name is not None:
            parts[name[2]] = "valid" if rank <= 2 else "test" if rank <= 5 else "train"
    return parts
