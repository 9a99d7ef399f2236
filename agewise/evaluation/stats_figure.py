"""The distribution of ages of several manifests in one picture (Greco et al. 2021, Figure 1)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from agewise.ages import AGES
from agewise.data.replacing import replacing
from agewise.evaluation.stats import GROUPS, Stats

FORMATS = ("png", "svg", "pdf")

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9")
"""Colours that most colour-blind people tell apart (Okabe and Ito 2008)."""

MARKERS = "os^Dv*PX"
"""Marks on every tenth year, which tell the lines apart without colour; eight, so that lines 1 and 8 differ."""


def draw(found: Mapping[str, Stats], target: Path) -> Path:
    """Writes one line a manifest: the share of its known ages at each year, steps where only age groups are known.

    Raises ValueError on an ending that is none of FORMATS, or where no manifest has a known age.
    """
    ending = target.suffix.lower().removeprefix(".")
    if ending not in FORMATS:
        raise ValueError(f"{target}: a picture that ends in .{', .'.join(FORMATS)} can be written")
    known = {name: one for name, one in found.items() if one.total}
    if not known:
        raise ValueError(f"{target}: no manifest has a known age to draw")
    with replacing(target) as path, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a name's letters then are boxes
        figure(known).savefig(path, format=ending, dpi=150)
    return target


def figure(found: Mapping[str, Stats]) -> Figure:
    """The picture of manifests that each have a known age."""
    drawn = Figure(figsize=(9.0, 4.8), layout="constrained")
    axes = drawn.subplots()
    for number, (name, one) in enumerate(found.items()):
        grouped = one.known["group"] > one.total / 2
        axes.plot(
            AGES,
            100 * one.ages / one.total,
            drawstyle="steps-mid" if grouped else "default",
            color=COLOURS[number % len(COLOURS)],
            linewidth=1.5,
            marker=MARKERS[number % len(MARKERS)],
            markersize=5,
            markevery=(5 + 3 * number % 10, 10),
            label=f"{name}: {one.total:,} faces{', age groups only' if grouped else ''}",
        )
    for group, (low, high) in GROUPS.items():
        axes.axvline(low - 0.5, color="0.88", linewidth=0.8, zorder=0)
        axes.text((low + high) / 2, 1.01, group, transform=axes.get_xaxis_transform(), ha="center", color="0.45")
    axes.set(xlim=(-0.5, AGES[-1] + 0.5), xlabel="age, years (above: the groups of the table)")
    axes.set_ylim(bottom=0)
    axes.set_xticks(range(0, 101, 10))
    axes.set_ylabel("faces of that age, % of those with a known age")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return drawn
