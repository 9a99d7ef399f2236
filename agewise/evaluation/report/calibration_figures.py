"""The pictures of a report on its uncertainty: stated and found shares, PIT, coverage by age, risk by coverage."""

from __future__ import annotations

import numpy as np

from agewise.ages import LEVEL
from agewise.evaluation.groups import MAIN
from agewise.evaluation.page import ACCENT, COLOUR, MUTED, Picture, png
from agewise.evaluation.report.agreement import NORMAL
from agewise.evaluation.report.curves import Risk
from agewise.evaluation.report.figures import by_band, canvas, upper
from agewise.evaluation.report.reliability import BINS, Reliability
from agewise.evaluation.report.values import METRICS, Report


def calibration_pictures(report: Report) -> list[Picture]:
    """Stated and found shares, the PIT histogram, coverage and width by age; none where only groups are known."""
    found = report.curves.reliability
    if found is None:
        return []
    bars = by_band(report.bands, "coverage", COLOUR, LEVEL), by_band(report.bands, "width", ACCENT)
    return [_reliability(found), _pit(found), *bars]


def risk_picture(found: Risk, report: Report) -> Picture:
    """The error of the faces that are kept as the least certain ones are left out."""
    figure, axes = canvas()
    title = METRICS[MAIN[report.labels]].title
    axes.plot(100 * found.coverage, found.risk, color=COLOUR, linewidth=1.6)
    axes.axhline(found.kept[1.0], color=MUTED, linewidth=1.2, linestyle="--")
    axes.set(xlabel="faces kept, %, the most certain ones", ylabel=f"{title}, years", xlim=(0, 100))
    axes.set_ylim(0, 1.08 * max(float(found.risk.max()), found.kept[1.0]) or 1.0)
    return Picture(
        "Risk and coverage",
        f"{upper(title)} of the faces with the narrowest distributions; dashed: of all faces. "
        f"Area under the curve {found.area:.2f} years; {found.best:.2f} if the largest errors were left out first.",
        png(figure),
    )


def _reliability(found: Reliability) -> Picture:
    figure, axes = canvas()
    axes.plot([40, 100], [40, 100], color="black", linewidth=1, linestyle="--")
    for one in found.levels:
        axes.plot(100 * one.stated, 100 * one.coverage.value, "o", color=COLOUR, markersize=5)
        if one.coverage.interval is not None:
            low, high = one.coverage.interval
            axes.vlines(100 * one.stated, 100 * low, 100 * high, color=COLOUR, linewidth=1.6)
    stated = [100 * one.stated for one in found.levels]
    axes.set_xticks(stated, [f"{level:.0f}" for level in stated])
    lowest = min(40.0, *(100 * one.coverage.value - 3 for one in found.levels))
    axes.set(xlabel="stated share, %", ylabel="ages inside, %", xlim=(40, 100), ylim=(max(0.0, lowest), 101))
    axes.grid(alpha=0.3)
    pairs = ", ".join(f"{100 * one.coverage.value:.1f} of {100 * one.stated:.0f}" for one in found.levels)
    says = f"Known ages inside the stated intervals, percent: {pairs}. On the dashed line they hold what they state."
    return Picture("Stated and found coverage", says, png(figure))


def _pit(found: Reliability) -> Picture:
    figure, axes = canvas()
    share, count = found.pit / found.pit.sum(), int(found.pit.sum())
    middle = (np.arange(BINS) + 0.5) / BINS
    axes.bar(middle, 100 * share, width=0.92 / BINS, color=COLOUR)
    spread = NORMAL * np.sqrt((1 - 1 / BINS) / BINS / count)
    axes.axhspan(100 * max(0.0, 1 / BINS - spread), 100 * (1 / BINS + spread), color=ACCENT, alpha=0.25, linewidth=0)
    axes.axhline(100 / BINS, color=ACCENT, linewidth=1.2)
    axes.set(xlabel="probability given to younger ages (PIT)", ylabel="faces, %", xlim=(0, 1))
    return Picture(
        "Probability integral transform",
        f"{count} faces. Flat at {100 / BINS:.0f} % is calibrated (band: 95 % by chance); high at both ends: "
        "too narrow; on the right: people are older than predicted; on the left: younger. "
        "A distribution narrower than a year puts its face in the middle.",
        png(figure),
    )
