"""Figure 3 of Greco et al. (2021): examples of faces with their known and their estimated age."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agewise.data.crops import parts, read_batches
from agewise.data.manifest import numbers
from agewise.evaluation.page import png
from agewise.evaluation.paper.measuring import Measured
from agewise.evaluation.published import Published
from agewise.metrics import Floats


def figure3(said: Published, found: Measured, count: int) -> tuple[str, bytes] | None:
    """Examples of `count` faces, evenly spread over the known ages, with the true age (black) and the estimated (red).

    Of LAP 2016 and SENet where they are given, else of the first set with known ages; None where there is none.
    """
    order = sorted(found.outcomes, key=lambda pair: (pair[1] != "lap-2016", pair[0] != "SENet, VMAGE"))
    for model, name in order if count else ():
        table = found.outcomes[model, name].results[-1].ages
        ages = np.column_stack([numbers(table, column) for column in ("row", "age", "mean")])
        ages = ages[~np.isnan(ages).any(axis=1)]
        if len(ages):
            return f"{model} on {_title(said, name)}", _drawn(found.manifests[name], _spread(ages, count))
    return None


def _title(said: Published, name: str) -> str:
    one = said.data_set(name)
    return one.title if one else f"{name} (in place of LAP 2016)"


def _spread(ages: Floats, count: int) -> Floats:
    """`count` of the faces (N, 3: row, known, predicted) at even steps of age: the nearest one each, each once."""
    free = np.ones(len(ages), dtype=bool)
    chosen = []
    for age in np.linspace(ages[:, 1].min(), ages[:, 1].max(), min(count, len(ages))):
        chosen.append(int(np.where(free, abs(ages[:, 1] - age), np.inf).argmin()))
        free[chosen[-1]] = False
    return ages[chosen]


def _drawn(manifest: Path, ages: Floats) -> bytes:
    pictures = _pictures(manifest, ages[:, 0].astype(int).tolist())
    across = min(6, len(ages))
    down = -(-len(ages) // across)
    figure = Figure(figsize=(1.6 * across, 1.65 * down), layout="constrained")
    all_axes = np.array(figure.subplots(down, across, squeeze=False)).ravel()
    for axes in all_axes:
        axes.set_axis_off()
    for axes, (row, known, predicted) in zip(all_axes, ages.tolist(), strict=False):
        if (picture := pictures.get(int(row))) is not None:
            axes.imshow(picture)
        for place, side, value, colour in ((0.03, "left", known, "black"), (0.97, "right", predicted, "#c00000")):
            box = {"facecolor": colour, "edgecolor": "none", "pad": 2.0}
            axes.text(place, 0.05, f"{value:.1f}", transform=axes.transAxes, ha=side, color="white", size=9, bbox=box)
    return png(figure)


def _pictures(manifest: Path, rows: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
    """The pictures of some rows, as far as they can be read."""
    found: dict[int, NDArray[np.uint8]] = {}
    first = 0
    for part in parts(manifest):
        for row in (row for row in rows if first <= row < first + len(part)):
            (read,) = read_batches(part.take(pa.array([row - first])), manifest.parent, 1)
            if len(read.crops):
                found[row] = read.crops[0]
        first += len(part)
    return found
