"""The critical-difference figure: mean ranks on a line, and bars over methods that are not told apart (Demsar 2006)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agewise.data.replacing import replacing
from agewise.evaluation.comparison.significance import Ranking

STEP = 0.62
"""Height of a label's line, in units of the axis."""


def draw(ranking: Ranking, target: Path) -> Path:
    """Writes the figure (png, svg or pdf by the file's ending)."""
    half = (len(ranking.names) + 1) // 2
    cliques = [clique for clique in ranking.cliques() if len(clique) > 1]
    height = 1.5 + STEP * 0.4 * half + 0.16 * len(cliques)
    figure = Figure(figsize=(10, height), layout="constrained")
    axes = figure.add_subplot()
    _axis(axes, ranking)
    low = _bars(axes, ranking, cliques)
    _labels(axes, ranking, low)
    axes.set_ylim(low - STEP * (half + 0.8), 1.6)
    with replacing(target) as partial:
        figure.savefig(partial, dpi=120, format=target.suffix.removeprefix(".") or "png")
    return target


def _axis(axes: Axes, ranking: Ranking) -> None:
    first, last = int(np.floor(ranking.ranks.min())), int(np.ceil(ranking.ranks.max()))
    axes.set_axis_off()
    axes.set_xlim(first - 4.2, last + 4.2)
    axes.plot([first, last], [0, 0], color="black", lw=1)
    for tick in range(first, last + 1):
        axes.plot([tick, tick], [0, 0.14], color="black", lw=1)
        axes.text(tick, 0.2, str(tick), ha="center", va="bottom", fontsize=9)
    axes.plot([first, first + ranking.critical], [1.0, 1.0], color="black", lw=2)
    says = f"critical difference {ranking.critical:.2f} (Nemenyi, 5 %, {ranking.blocks} blocks)"
    axes.text(first, 1.12, says, ha="left", va="bottom", fontsize=9)


def _bars(axes: Axes, ranking: Ranking, cliques: list[tuple[str, ...]]) -> float:
    """Draws the bars, and returns the height below them."""
    for number, clique in enumerate(cliques):
        places = [ranking.ranks[ranking.names.index(name)] for name in clique]
        height = -0.3 - 0.24 * number
        axes.plot([min(places) - 0.05, max(places) + 0.05], [height, height], color="tab:red", lw=3.5, alpha=0.75)
    return -0.3 - 0.24 * len(cliques)


def _labels(axes: Axes, ranking: Ranking, low: float) -> None:
    order = np.argsort(ranking.ranks, kind="stable")
    half = (len(order) + 1) // 2
    left, right = axes.get_xlim()
    for place, index in enumerate(order):
        better = place < half
        line = place if better else len(order) - 1 - place
        height = low - STEP * (line + 0.5)
        x, edge = float(ranking.ranks[index]), left + 3.6 if better else right - 3.6
        axes.plot([x, x, edge], [0, height, height], color="grey", lw=0.8)
        text = f"{ranking.names[index]} ({x:.1f})"
        axes.text(
            edge + (-0.1 if better else 0.1), height, text, ha="right" if better else "left", va="center", fontsize=9
        )
