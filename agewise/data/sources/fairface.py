"""FairFace (Karkkainen and Joo 2021): fairface_label_train.csv and fairface_label_val.csv beside train/ and val/."""

from __future__ import annotations

from collections.abc import Iterator

from agewise.data.sources.entry import Entry, Skipped, age_of, picture
from agewise.data.sources.labels import group, records, sex
from agewise.data.sources.tree import Tree

_SPLITS = {"train": "train", "val": "valid"}


def read(tree: Tree) -> Iterator[Entry]:
    """Both lists, whichever are there. Ages are groups as crowd workers saw them; 70 and over is 70..100.

    Groups that a spreadsheet took for dates (03-Sep for 3-9) are read back.
    """
    here = tree.locate("fairface_label_train.csv", "fairface_label_val.csv")
    for part, split in _SPLITS.items():
        table = f"fairface_label_{part}.csv"
        if not here.has(table):
            continue
        for row in records(here, table, ["file", "age", "gender", "race"]):
            bounds = group(row["age"])
            if bounds is None:
                yield Skipped(row["file"], f"{row['age']!r} is no age group")
                continue
            yield {
                "image": picture(here.base + row["file"]),
                **age_of(*bounds),
                "age_kind": "group",
                "split": split,
                "sex": sex(row["gender"]),
                "ethnicity": row["race"] or None,
                "service_test": row.get("service_test") or None,
            }
