"""Figures 1 and 4 of Greco et al. (2021): shares by age group, and errors on clean and on corrupted faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agewise.evaluation.page import png
from agewise.evaluation.paper.grid import published_text
from agewise.evaluation.paper.measuring import CORRUPTED, Measured
from agewise.evaluation.published import Cell, Published, Row
from agewise.evaluation.robustness.scores import ALL
from agewise.evaluation.robustness.walk import CLEAN
from agewise.evaluation.stats import GROUPS, by_group
from agewise.evaluation.stats_figure import COLOURS

Bar = tuple[str, Cell, Cell, str]
"""A network, its error on clean and on corrupted faces, and the colour of the pair."""

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"
"""Trained on VMAGE, on IMDB-Wiki, otherwise."""


def figure1(said: Published, found: Measured) -> bytes | None:
    """The share of each set's faces in each age group; None where none is known. Published shares are hatched."""
    shares: dict[str, tuple[list[float], bool]] = {}
    for one in said.sets:
        counts = [one.groups[name].value if name in one.groups else None for name in GROUPS]
        known = [count for count in counts if count is not None]
        if len(known) == len(GROUPS):
            shares[f"{one.title}, published (n)"] = ([100 * count / sum(known) for count in known], True)
    for name, stats in found.stats.items():
        data_set = said.data_set(name)
        if stats.total:
            faces = [100 * count / stats.total for count in by_group(stats.ages).values()]
            shares[data_set.title if data_set else f"also: {name}"] = (faces, False)
    if not shares:
        return None
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    width = 0.84 / len(shares)
    for place, (title, (values, published)) in enumerate(shares.items()):
        left = np.arange(len(GROUPS)) - 0.42 + width * (place + 0.5)
        colour = COLOURS[place % len(COLOURS)]
        face, hatch = ("white", "///") if published else (colour, "")
        axes.bar(left, values, width * 0.92, label=title, facecolor=face, edgecolor=colour, hatch=hatch)
    axes.set_xticks(range(len(GROUPS)), list(GROUPS))
    axes.set(xlabel="age group, years", ylabel="% of the faces of the set")
    _bare(axes)
    axes.legend(frameon=False, fontsize=9)
    return png(figure)


def figure4(said: Published, found: Measured) -> bytes:
    """MAE on LFW+ (light) and LFW+C (dark) of each network, trained on IMDB-Wiki and on VMAGE: published, then here."""
    published = [_published(row) for row in said.rows if row.in_paper]
    here = [_here(row, found) for row in said.rows]
    panels: dict[str, Sequence[Bar]] = {
        "Published": [bar for bar in published if (bar[1].value, bar[2].value) != (None, None)],
        "Here, on LFW+ and LFW+C": [bar for bar in here if (bar[1].value, bar[2].value) != (None, None)],
    }
    panels |= _alone(found)
    drawn = {title: bars for title, bars in panels.items() if bars}
    lengths = [len(bars) for bars in drawn.values()]
    figure = Figure(figsize=(10, 1.2 + 0.4 * sum(lengths) + 0.5 * len(drawn)), layout="constrained")
    all_axes = np.atleast_1d(np.array(figure.subplots(len(drawn), 1, height_ratios=lengths)))
    for axes, (title, bars) in zip(all_axes, drawn.items(), strict=True):
        _pairs(axes, title, bars)
    return png(figure)


def _published(row: Row) -> Bar:
    return row.name, row.cell("lfw-plus", "mae"), row.cell(CORRUPTED, ALL), _colour(row.trained)


def _here(row: Row, found: Measured) -> Bar:
    """As cells, which `printed` marks as numbers without a mark."""
    dark, clean = found.of_corrupted(row.name), found.outcomes.get((row.name, "lfw-plus"))
    light = clean.results[-1].score.metrics["mae"].value if clean else None if dark is None else dark.value(CLEAN)
    cell = Cell(printed=None if dark is None else dark.value(ALL))
    return row.name, Cell(printed=light), cell, _colour(row.trained)


def _alone(found: Measured) -> Mapping[str, Sequence[Bar]]:
    """Other data sets, each on an axis of its own: their errors are not those of LFW+."""
    panels: dict[str, list[Bar]] = {}
    for one in found.corrupted:
        if one.data_set != CORRUPTED:
            unit = "MAE" if one.metric == "mae" else "excess (no MAE)"
            faces = one.scores[CLEAN].n
            title = f"Also measured: {one.data_set}, {faces:,} faces, {unit}, profile {one.profile}"
            cells = Cell(printed=one.value(CLEAN)), Cell(printed=one.value(ALL))
            panels.setdefault(title, []).append((one.model, *cells, GREY))
    return panels


def _pairs(axes: Axes, title: str, bars: Sequence[Bar]) -> None:
    for place, (_, light, dark, colour) in enumerate(bars):
        for shift, cell, alpha in ((-0.19, light, 0.45), (0.19, dark, 1.0)):
            length = cell.value or 0.0
            axes.barh(place + shift, length, 0.36, color=colour, alpha=alpha)
            text = published_text(cell, "years")
            axes.text(length + 0.04, place + shift, text, va="center", size=8, color="0.25")
    axes.set_yticks(range(len(bars)), [name for name, *_ in bars])
    axes.invert_yaxis()
    axes.set_xlabel("years; light: clean faces, dark: mean of the 13 corruptions", fontsize=9)
    axes.set_title(title, fontsize=10, loc="left")
    _bare(axes)


def _colour(trained: str) -> str:
    return {"VMAGE": BLUE, "IMDB-Wiki": ORANGE}.get(trained, GREY)


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
