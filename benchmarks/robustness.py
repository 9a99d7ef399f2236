"""Models side by side under the 65 corruptions, by kind, sex and ethnicity: docs/robustness.md and .png.

python benchmarks/robustness.py NAME=FOLDER ... [mean=A+B]

A FOLDER is what `agewise robustness MODEL MANIFEST --out FOLDER` wrote of a manifest of age groups, the same for all;
`mean` is the mean of two of them. Intervals are over faces, drawn alike for all models; differences are paired.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agewise.data.replacing import replacing
from agewise.evaluation.corruptions import CORRUPTIONS, SEVERITIES
from agewise.evaluation.page import png
from agewise.metrics import bootstrap

DOCS = Path(__file__).parents[1] / "docs"
TEMPLATE = Path(__file__).with_name("robustness.template.md")
Floats = NDArray[np.float64]
FEWEST = 30
"""Faces of a group that has a column."""


class Cells:
    """Years outside the known group, of each face: clean (N,), by kind (N,) averaged over severities."""

    def __init__(self, ages: dict[str, Floats], low: Floats, high: Floats) -> None:
        self.ages = ages
        beyond = {name: np.maximum(np.maximum(low - mean, mean - high - 1), 0.0) for name, mean in ages.items()}
        self.clean = beyond["clean.0"]
        self.kinds = {kind: np.mean([beyond[f"{kind}.{n}"] for n in SEVERITIES], axis=0) for kind in CORRUPTIONS}
        self.every: Floats = np.mean(list(self.kinds.values()), axis=0)


def main(words: list[str]) -> None:
    """Reads the cells, then writes the page and its picture."""
    given = dict(word.split("=", 1) for word in words)
    both = given.pop("mean", "")
    first = Path(next(iter(given.values()))) / "cells" / "clean.0.parquet"
    table = pq.read_table(first, columns=["age_low", "age_high", "sex", "ethnicity"])
    low, high = (table[name].to_numpy().astype(float) for name in ("age_low", "age_high"))
    ages = {name: read(Path(folder)) for name, folder in given.items()}
    if both:
        one, other = (ages[name] for name in both.split("+"))
        ages[f"mean of {both.replace('+', ' and ')}"] = {cell: (one[cell] + other[cell]) / 2 for cell in one}
    models = {name: Cells(cells, low, high) for name, cells in ages.items()}
    groups = {
        f"{column}: {value}": np.array([name == value for name in table[column].to_pylist()])
        for column in ("sex", "ethnicity")
        for value in sorted({str(one) for one in table[column].to_pylist()})
    }
    said = {
        "faces": str(len(low)),
        "kinds": lines(kind_rows(models)),
        "paired": lines(paired_rows(models)),
        "groups": lines(group_rows(models, groups)),
    }
    text = TEMPLATE.read_text()
    for key, value in said.items():
        text = text.replace(f"<<{key}>>", value)
    with replacing(DOCS / "robustness.md") as partial:
        partial.write_text(text)
    with replacing(DOCS / "robustness.png") as partial:
        partial.write_bytes(png(figure(models)))
    print(text)


def read(folder: Path) -> dict[str, Floats]:
    """The mean age (N,) of each face by cell."""
    files = sorted((folder / "cells").glob("*.parquet"))
    found = {path.stem: pq.read_table(path, columns=["mean"])["mean"].to_numpy().astype(float) for path in files}
    if missing := [f"{kind}.{n}" for kind in CORRUPTIONS for n in SEVERITIES if f"{kind}.{n}" not in found]:
        sys.exit(f"{folder}: {len(missing)} of 65 cells are missing, such as {missing[0]}")
    return found


def kind_rows(models: dict[str, Cells]) -> list[list[str]]:
    """A row a kind, a column a model; below, how many times the clean error all are."""
    rows = [["", *models], ["clean", *(shown(one.clean) for one in models.values())]]
    rows += [[kind.replace("_", " "), *(shown(one.kinds[kind]) for one in models.values())] for kind in CORRUPTIONS]
    rows.append(["all 13", *(shown(one.every) for one in models.values())])
    rows.append(["times the clean", *(f"{one.every.mean() / one.clean.mean():.2f}" for one in models.values())])
    rows.append(["rise", *(shown(one.every - one.clean) for one in models.values())])
    return rows


def paired_rows(models: dict[str, Cells]) -> list[list[str]]:
    """What each other model errs more than the first: clean, under all, and the difference of the rises."""
    (name, first), *others = models.items()
    rows = [[f"less {name}", "clean", "all 13", "rise"]]
    for other, cells in others:
        clean, every = cells.clean - first.clean, cells.every - first.every
        rows.append([other, shown(clean), shown(every), shown(every - clean)])
    return rows


def group_rows(models: dict[str, Cells], groups: dict[str, NDArray[np.bool_]]) -> list[list[str]]:
    """Clean and all 13 of each group of enough faces."""
    heads = [f"{name}, {what}" for name in models for what in ("clean", "all 13")]
    rows = [["", "faces", *heads]]
    for group, inside in groups.items():
        if inside.sum() >= FEWEST:
            cells = [shown(part[inside]) for one in models.values() for part in (one.clean, one.every)]
            rows.append([group, str(inside.sum()), *cells])
    return rows


def shown(values: Floats) -> str:
    """A mean and its interval."""
    low, high = bootstrap(values) or (np.nan, np.nan)
    return f"{values.mean():.2f} [{low:.2f}, {high:.2f}]"


def lines(rows: list[list[str]]) -> str:
    """Rows as a Markdown table."""
    head, *rest = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rest])


def figure(models: dict[str, Cells]) -> Figure:
    """Bars by kind, the model's clean error as a line of its colour."""
    drawn = Figure(figsize=(12, 5), layout="constrained")
    axes = drawn.subplots()
    places, width = np.arange(len(CORRUPTIONS)), 0.8 / len(models)
    for number, (name, cells) in enumerate(models.items()):
        heights = [cells.kinds[kind].mean() for kind in CORRUPTIONS]
        bars = axes.bar(places + (number - (len(models) - 1) / 2) * width, heights, width, label=name)
        axes.axhline(cells.clean.mean(), color=bars.patches[0].get_facecolor(), linestyle=":", linewidth=1)
    axes.set_xticks(places, [kind.replace("_", "\n") for kind in CORRUPTIONS], fontsize=9)
    axes.set_ylabel("mean years outside the known age group")
    axes.set_title("Mean over severities 1 to 5; dotted: the same model on clean faces", fontsize=10)
    axes.legend(fontsize=9)
    return drawn


if __name__ == "__main__":
    main(sys.argv[1:])
