"""Adience (Eidinger, Enbar and Hassner 2014): fold_<n>_data.txt or fold_frontal_<n>_data.txt, faces/ and aligned/."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from agewise.data.sources.entry import Entry, Skipped, age_of, picture
from agewise.data.sources.labels import group, number, records
from agewise.data.sources.labels import sex as sex_of
from agewise.data.sources.tree import SourceError, Tree

CLASSES = ("(0, 2)", "(4, 6)", "(8, 12)", "(15, 20)", "(25, 32)", "(38, 43)", "(48, 53)", "(60, 100)")
"""The eight groups of the benchmark."""

_LEVI_HASSNER = {"(25, 23)": "(25, 32)"}
_NEAREST = {
    **_LEVI_HASSNER,
    **dict.fromkeys(("2", "3"), "(0, 2)"),
    **dict.fromkeys(("13", "(8, 23)"), "(8, 12)"),
    **dict.fromkeys(("22",), "(15, 20)"),
    **dict.fromkeys(("23", "29", "32", "34", "35", "(27, 32)"), "(25, 32)"),
    **dict.fromkeys(("36", "42", "45", "(38, 42)", "(38, 48)"), "(38, 43)"),
    **dict.fromkeys(("46", "55", "56"), "(48, 53)"),
    **dict.fromkeys(("57", "58"), "(60, 100)"),
}
REMAPPED: dict[str, dict[str, str]] = {"strict": {}, "levi_hassner": _LEVI_HASSNER, "nearest": _NEAREST}
"""Labels that are read as another. strict (Greco et al. 2021) reads none: a label that is no class leaves its row out.

levi_hassner repairs the misprint that Levi and Hassner (2015) name; nearest follows Kuprashevich and Tolstykh (2023),
who count every odd label as a class.
"""

_FACES = {"faces": "faces/{0}/coarse_tilt_aligned_face.{2}.{1}", "aligned": "aligned/{0}/landmark_aligned_face.{2}.{1}"}
_NEED = ["user_id", "original_image", "face_id", "age", "gender"]
_FOLDERS = ("", "annotations/", "folds/", "original_txt_files/")


def read(
    tree: Tree,
    *,
    labels: Literal["strict", "levi_hassner", "nearest", "as_written"] = "strict",
    folds: Literal["all", "frontal"] = "all",
    pictures: Literal["faces", "aligned"] = "faces",
    test: Literal["none", "0", "1", "2", "3", "4"] = "none",
) -> Iterator[Entry]:
    """The faces of the five folds, in column fold. `as_written` keeps every label with its own bounds.

    The benchmark is five tests of one fold each; `test` names the fold that split calls test, all others being train.
    Subject is the Flickr user, in whose albums there may be several people; no user is in two folds.
    """
    stem = "fold_frontal_" if folds == "frontal" else "fold_"
    here = tree.locate(*(f"{folder}{stem}0_data.txt" for folder in _FOLDERS))
    folder = next(folder for folder in _FOLDERS if here.has(f"{folder}{stem}0_data.txt"))
    for fold in range(5):
        table = f"{folder}{stem}{fold}_data.txt"
        if not here.has(table):
            raise SourceError(f"{tree.root}: no {table}; the benchmark has five folds")
        for row in records(here, table, _NEED, delimiter="\t"):
            name = _FACES[pictures].format(row["user_id"], row["original_image"], row["face_id"])
            bounds = _bounds(row["age"], labels)
            if labels == "strict" and "" in row.values():
                yield Skipped(here.base + name, "a field of the line is empty")
                continue
            if bounds is None:
                yield Skipped(here.base + name, f"the label {row['age'] or 'None'} is none of the eight groups")
                continue
            yield {
                "image": picture(here.base + name),
                **age_of(*bounds),
                "age_kind": "group" if bounds[0] != bounds[1] else "apparent",
                "subject": row["user_id"],
                "split": None if test == "none" else "test" if fold == int(test) else "train",
                "sex": sex_of(row["gender"]),
                "fold": fold,
            }


def _bounds(label: str, labels: str) -> tuple[float, float] | None:
    """The ages that a label allows under a filter; None where the row is left out."""
    if labels == "as_written":
        label = _LEVI_HASSNER.get(label, label)
        single = number(label) if re.fullmatch(r"\d+", label) else None
        return (single, single) if single is not None else group(label)
    label = REMAPPED[labels].get(label, label)
    return group(label) if label in CLASSES else None
