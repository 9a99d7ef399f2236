"""MORPH II (Ricanek and Tesafaye 2006): morph_2008_nonCommercial.csv, whose column photo is the picture's path."""

from __future__ import annotations

from collections.abc import Iterator

from agewise.data.sources.entry import Entry, picture
from agewise.data.sources.labels import records, sex
from agewise.data.sources.tree import Tree

_ETHNICITIES = {"W": "White", "B": "Black", "A": "Asian", "H": "Hispanic", "O": "Other", "I": "Indian"}
_NEED = ["id_num", "race", "gender", "age", "photo"]


def read(tree: Tree) -> Iterator[Entry]:
    """Every row; subject is id_num. The owners give no parts; random ones share people (docs/sources/morph2.md)."""
    here = tree.locate("[Mm][Oo][Rr][Pp][Hh]*.csv")
    for table in here.glob("[Mm][Oo][Rr][Pp][Hh]*.csv"):
        for row in records(here, table, _NEED):
            yield {
                "image": picture(here.base + row["photo"]),
                "age": row["age"],
                "age_kind": "real",
                "subject": row["id_num"] or None,
                "sex": sex(row["gender"]),
                "ethnicity": _ETHNICITIES.get(row["race"].upper(), row["race"] or None),
            }
