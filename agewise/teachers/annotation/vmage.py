"""Ages in the form of the VMAGE release (Greco et al. 2021): `n000002/0001_01.jpg,34.125`, a line a face."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import IO

from agewise.teachers.annotation.answers import DECIMALS

NAME = "vmage.csv"


def write_ages(stream: IO[str], faces: Iterable[tuple[int, str | None, float]]) -> None:
    """Appends lines of (row of the manifest, path of the picture, age in years).

    As the released `train.age_detected.csv`: no header, the relative path first, the age last with three decimals,
    quoted by | where a path needs it. A picture without a path is called `row 12`, by its row in the manifest: no
    picture has that name, so that a reader which looks for its pictures passes over it.
    """
    writer = csv.writer(stream, quotechar="|", lineterminator="\n")
    for row, path, age in faces:
        writer.writerow([path or f"row {row}", f"{age:.{DECIMALS}f}"])
