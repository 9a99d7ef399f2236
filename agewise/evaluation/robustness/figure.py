"""The heat map of a model on corrupted faces: kinds in rows, severities and their mean in columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agewise.evaluation.corruptions import CATEGORIES, SEVERITIES
from agewise.evaluation.page import Picture, png
from agewise.evaluation.robustness.scores import METRICS, SHARES, Robustness
from agewise.evaluation.robustness.walk import CLEAN


def heat_map(found: Robustness) -> Figure:
    """The main metric, what it is biased by, and its share, side by side."""
    figure = Figure(figsize=(15, 1.9 + 0.36 * len(found.cells)), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (metric, colours) in zip(panels, _shown(found).items(), strict=True):
        _panel(axes, found, metric, colours)
        axes.set_title(_says(found, metric), fontsize=9)
    figure.suptitle(f"{found.model} on {found.manifest}: {found.clean.n} faces, profile {found.profile}", fontsize=11)
    return figure


def heat_pictures(found: Robustness) -> list[Picture]:
    """The same, each metric in a picture of its own that can be read on a phone."""
    drawn = []
    for metric, colours in _shown(found).items():
        figure = Figure(figsize=(4.6, 1.0 + 0.25 * (1 + len(found.cells))), layout="constrained")
        axes = figure.subplots()
        _panel(axes, found, metric, colours)
        says = f"{_says(found, metric)}; {found.clean.n} faces in every cell."
        drawn.append(Picture(f"Corruptions: {metric}", says, png(figure)))
    return drawn


def _shown(found: Robustness) -> dict[str, str]:
    """The metrics that are drawn, and their colours."""
    main, second, third = list(METRICS[found.labels])[:3]
    if found.labels == "group":
        second, third = "shift", "exact_group"
    return dict(zip((main, second, third), ("YlOrRd", "PuOr_r", "YlGnBu"), strict=True))


def _says(found: Robustness, metric: str) -> str:
    return f"{metric}: {METRICS[found.labels][metric].replace('share of', '% of')}"


def _panel(axes: Axes, found: Robustness, metric: str, colours: str) -> None:
    scale = 100 if metric in SHARES else 1
    grid = np.full((len(found.cells) + 1, len(SEVERITIES) + 1), np.nan)
    grid[0, -1] = found.clean.metrics[metric].value if metric in found.clean.metrics else 0.0
    for row, (kind, scores) in enumerate(found.cells.items(), 1):
        for one in scores:
            grid[row, SEVERITIES.index(int(one.name))] = one.metrics[metric].value
        grid[row, -1] = found.kinds[kind].metrics[metric].value
    grid = np.round(grid * scale, 0 if scale == 100 else 1) + 0.0  # and no -0.0
    top = float(np.nanmax(abs(grid))) or 1.0
    low, high = (-top, top) if metric in ("bias", "shift") else (float(np.nanmin(grid)), float(np.nanmax(grid)))
    drawn = axes.imshow(grid, cmap=colours, vmin=low, vmax=max(high, low + 1e-9), aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        if not np.isnan(value):
            red, green, blue, _ = drawn.to_rgba(np.array(value))
            ink = "white" if 0.3 * red + 0.6 * green + 0.1 * blue < 0.5 else "black"
            axes.text(column, row, f"{value:.{0 if scale == 100 else 1}f}", ha="center", va="center", color=ink, size=8)
    axes.axvline(len(SEVERITIES) - 0.5, color="white", linewidth=3)
    for line in _borders(list(found.cells)):
        axes.axhline(line, color="white", linewidth=3)
    axes.set_xticks(range(len(SEVERITIES) + 1), [*map(str, SEVERITIES), "mean"])
    axes.set_xlabel("severity")
    axes.set_yticks(range(len(found.cells) + 1), [CLEAN, *(kind.replace("_", " ") for kind in found.cells)])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _borders(kinds: Sequence[str]) -> list[float]:
    """Where a line parts the clean row, the categories and the extras."""
    of = {kind: title for title, members in CATEGORIES.items() for kind in members}
    titles = [CLEAN, *(of.get(kind, "extras") for kind in kinds)]
    return [row - 0.5 for row in range(1, len(titles)) if titles[row] != titles[row - 1]]
