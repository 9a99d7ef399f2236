"""What a step left out, each with its reason: the file beside a manifest that ends in `.rejects.csv`."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from agewise.data.replacing import replacing


def write_rejects(path: Path, rejects: Sequence[tuple[str, str]], what: str = "picture") -> None:
    """One line each: which and why. what: the heading of the first column."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", errors="replace", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([what, "reason"])
        writer.writerows(rejects)


def most_for(rejects: Sequence[tuple[str, str]]) -> str:
    """The reason of most rejects, for the end of a line; "" without any."""
    most = Counter(reason for _, reason in rejects).most_common(1)
    return f", most for: {most[0][0]}" if most else ""
