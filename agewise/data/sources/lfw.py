"""LFW (Huang et al. 2007): one folder a person; peopleDevTrain.txt and peopleDevTest.txt. It has no ages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from agewise.data.sources.entry import Entry, Skipped, picture
from agewise.data.sources.labels import lines
from agewise.data.sources.tree import SourceError, Tree

PERSON = re.compile(r"(.+)_\d{4}")
"""A file's stem: the person's name and the number of the picture."""

_LISTS = {"peopleDevTrain.txt": "train", "peopleDevTest.txt": "test"}


def read(tree: Tree) -> Iterator[Entry]:
    """Every picture in a folder of its person's name, without an age: for subjects, not for training.

    split is that of the owners' development view, where its two lists are there.
    """
    splits = {person: split for name, split in _LISTS.items() for person in _people(tree, name)}
    found = False
    for name in tree.images():
        path = PurePosixPath(name)
        parts = PERSON.fullmatch(path.stem)
        if parts is None or parts[1] != path.parent.name:
            yield Skipped(name, "the picture is not name/name_0001.jpg")
            continue
        found = True
        yield {
            "image": picture(name),
            "age": None,
            "age_kind": None,
            "subject": parts[1],
            "split": splits.get(parts[1]),
        }
    if not found:
        raise SourceError(f"{tree.root}: no picture name/name_0001.jpg there")


def _people(tree: Tree, name: str) -> Iterator[str]:
    """The people of a list: a line with their number, then `name<tab>pictures`."""
    for file in (*tree.glob(name), *tree.glob(f"*/{name}")):
        for line in lines(tree, file):
            words = line.split("\t")
            if len(words) >= 2:
                yield words[0].strip()
