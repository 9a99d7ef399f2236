"""IMDB-Clean (Lin et al. 2022): csvs/imdb_<part>_new.csv for IMDB-WIKI's photos, *_new_1024.csv for crops of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from agewise.data.sources.entry import Entry, Skipped, picture
from agewise.data.sources.labels import records, sex
from agewise.data.sources.tree import Tree

_PERSON = re.compile(r"(nm\d+)_")
_BOX = ("x_min", "y_min", "x_max", "y_max")
_PLACES = {
    "photos": ("_new.csv", ("data/imdb/", "imdb/", "")),
    "crops": ("_new_1024.csv", ("data/imdb-clean-1024/", "imdb-clean-1024/", "")),
}


def read(tree: Tree, *, pictures: Literal["photos", "crops"] = "photos") -> Iterator[Entry]:
    """The owners' three parts, of different people. The subject is IMDb's number of the person in the file name."""
    ending, folders = _PLACES[pictures]
    here = tree.locate(
        *(f"{folder}imdb_{part}{ending}" for folder in ("csvs/", "") for part in ("train", "valid", "test"))
    )
    for split in ("train", "valid", "test"):
        tables = [name for name in (f"csvs/imdb_{split}{ending}", f"imdb_{split}{ending}") if here.has(name)]
        folder = None
        for row in records(here, tables[0], ["filename", "age", "gender", *_BOX]) if tables else ():
            name = row["filename"]
            person = _PERSON.search(name)
            if person is None:
                yield Skipped(name, "the name has no nm[number] of a person")
                continue
            folder = folder or next((place for place in folders if here.has(f"{place}{name}")), None)
            yield {
                "image": picture(f"{here.base}{folder or folders[0]}{name}"),
                "age": row["age"],
                "age_kind": "real",
                "subject": person[1],
                "split": split,
                "sex": sex(row["gender"]),
                "yaw": row.get("head_yaw"),
                "pitch": row.get("head_pitch"),
                "roll": row.get("head_roll"),
                "source_box": [row[side] for side in _BOX],
            }
