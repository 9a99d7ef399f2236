"""What an age gate lets through, drawn: the rates by challenge age and bound, and the outcomes by true age."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agewise.evaluation.gate.rule import FAIL, PASS, REFER
from agewise.evaluation.gate.tables import near_name
from agewise.evaluation.gate.values import GateReport, Outcome
from agewise.evaluation.page import ACCENT, COLOUR, png

GREY = "#c9ced4"
"""The colour of what is referred, between those of pass and fail."""


def figures(report: GateReport) -> dict[str, bytes]:
    """PNG files by title: the rates of each challenge age and of the bound, and the outcomes by true age."""
    curve = Figure(figsize=(10, 4.0), layout="constrained")
    left, right = curve.subplots(1, 2)
    _challenge(left, report)
    _tradeoff(right, report)
    outcomes = Figure(figsize=(10, 3.6), layout="constrained")
    _outcomes(outcomes.subplots(), report.years)
    return {"Challenge ages and the bound": png(curve), "Pass, refer or fail by true age": png(outcomes)}


def _challenge(axes: Axes, report: GateReport) -> None:
    near = near_name(report.rule)
    lines = {
        "tpr": (COLOUR, "-", f"TPR: {report.rule.threshold} or older"),
        "fpr_near": (ACCENT, "-", f"FPR: {near}"),
        "fpr": (ACCENT, "--", f"FPR: all below {report.rule.threshold}"),
    }
    for name, (colour, style, label) in lines.items():
        points = [point for point in report.curve if point.rates[name].value is not None]
        if not points:
            continue
        ages, values = ([point.at for point in points], [100 * (point.rates[name].value or 0) for point in points])
        axes.plot(ages, values, style, color=colour, linewidth=1.6, label=label)
        bounds = [point.rates[name].interval for point in points]
        if name != "fpr" and all(bounds):
            low, high = 100 * np.array(bounds, dtype=np.float64).T
            axes.fill_between(ages, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.axvline(report.rule.buffer, color="0.5", linewidth=0.9, linestyle=":")
    axes.set(xlabel="challenge age, years", ylabel="estimated at it or older, %", ylim=(0, 100))
    axes.set_title("Challenge age")
    _plain_axes(axes)


def _tradeoff(axes: Axes, report: GateReport) -> None:
    """False positives against true positives of both rules."""
    name = "fpr_near" if report.overall.rates["fpr_near"].n else "fpr"
    whose = near_name(report.rule) if name == "fpr_near" else f"below {report.rule.threshold}"
    for points, style, colour, label in (
        (report.curve, "o-", COLOUR, "an estimate of at least C"),
        (report.budgets, "s--", ACCENT, "the bound, by alpha"),
    ):
        known = [(point.rates["tpr"].value, point.rates[name].value) for point in points]
        drawn = np.array([pair for pair in known if None not in pair], dtype=np.float64).reshape(-1, 2)
        if len(drawn):
            axes.plot(100 * drawn[:, 0], 100 * drawn[:, 1], style, color=colour, markersize=3.5, label=label)
    mine = report.overall.rates["tpr"].value, report.overall.rates[name].value
    if None not in mine:
        place = 100 * np.array(mine, dtype=np.float64)
        axes.plot(*place, "o", markersize=9, fillstyle="none", color="black", label=f"C = {report.rule.buffer}")
    axes.set(xlabel=f"{report.rule.threshold} or older that pass, %", ylabel=f"{whose} that pass, %")
    axes.set_ylim(bottom=0)
    axes.set_title("Two rules: lower and further right is better")
    _plain_axes(axes)


def _outcomes(axes: Axes, years: tuple[Outcome, ...]) -> None:
    found = [one for one in years if one.shares[PASS].n]
    below = np.zeros(len(found))
    for kind, colour in {PASS: COLOUR, REFER: GREY, FAIL: ACCENT}.items():
        share = 100 * np.array([one.shares[kind].value or 0.0 for one in found])
        axes.bar(range(len(found)), share, bottom=below, color=colour, width=0.85, label=kind)
        below += share
    axes.set_xticks(range(len(found)), [f"{one.name}\n{one.shares[PASS].n}" for one in found], fontsize=8)
    axes.set(xlabel="true age, years, and number of faces", ylabel="% of the faces of that age", ylim=(0, 100))
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _plain_axes(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False, fontsize=9)
