"""AgeDB (Moschoglou et al. 2017): the labels are in the file names, number_name_age_gender.jpg."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from agewise.data.sources.entry import Entry, Skipped, picture
from agewise.data.sources.tree import SourceError, Tree

_NAME = re.compile(r"\d+_(.+)_(\d{1,3})_([mf])", re.IGNORECASE)


def read(tree: Tree) -> Iterator[Entry]:
    """Every picture below the root; subjects are the names of celebrities, parts are not given."""
    found = False
    for name in tree.images():
        found = True
        parts = _NAME.fullmatch(PurePosixPath(name).stem)
        if parts is None:
            yield Skipped(name, "the name is not number_name_age_gender.jpg")
            continue
        yield {
            "image": picture(name),
            "age": parts[2],
            "age_kind": "real",
            "subject": parts[1],
            "sex": parts[3].upper(),
        }
    if not found:
        raise SourceError(f"{tree.root}: no picture named number_name_age_gender.jpg there")
