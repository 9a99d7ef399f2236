"""LFW+ (Han et al. 2018) as the MIVIA experiments laid it out: gender-access/lfw_theirs.csv and lfw_cropped/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from agewise.data.sources.entry import Entry, Skipped, picture
from agewise.data.sources.labels import cells
from agewise.data.sources.lfw import PERSON
from agewise.data.sources.tree import Tree


def read(tree: Tree) -> Iterator[Entry]:
    """Every row of the list, which has no header: gender code, age, file name. All of it is a test set.

    The age is the mean of three guesses: kind "apparent". What the gender codes stand for is not documented, so they
    stay codes. Subjects come from the file names.
    """
    here = tree.locate("gender-access/lfw_theirs.csv", "lfw_theirs.csv")
    folder = "gender-access/" if here.has("gender-access/lfw_theirs.csv") else ""
    for row in cells(here, f"{folder}lfw_theirs.csv", quote="|"):
        if len(row) < 3:
            yield Skipped(",".join(row), "the line has not three cells")
            continue
        person = PERSON.fullmatch(PurePosixPath(row[2]).stem)
        yield {
            "image": picture(f"{here.base}{folder}lfw_cropped/{row[2]}"),
            "age": row[1],
            "age_kind": "apparent",
            "subject": person[1] if person else None,
            "split": "test",
            "gender_code": row[0],
        }
