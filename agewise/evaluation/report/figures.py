"""The pictures of a report on its error: by age, by group, against the known age, and cumulative."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agewise.ages import AGES
from agewise.evaluation.groups import FEWEST_FACES, MAIN, Score
from agewise.evaluation.page import ACCENT, COLOUR, MUTED, Picture, png
from agewise.evaluation.report.agreement import Agreement
from agewise.evaluation.report.error_curves import BANDWIDTH, MOST_YEARS, ByYear, Cumulative
from agewise.evaluation.report.values import METRICS, Report, as_shown

MOST_GROUPS = 30
"""Groups of a column that are drawn, the largest ones; the tables have all."""

LONGEST_NAME = 22


def canvas(height: float = 3.3) -> tuple[Figure, Axes]:
    """An empty figure that can be read on a phone, and its axes."""
    figure = Figure(figsize=(4.6, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)
    return figure, axes


def error_pictures(report: Report) -> list[Picture]:
    """The error by age, predicted against known ages, their differences, and the cumulative score."""
    curves = report.curves
    keys = ("mae", "bias") if report.labels == "age" else ("excess", "exact_group")
    drawn = [by_band(report.bands, key, colour) for key, colour in zip(keys, (COLOUR, ACCENT), strict=True)]
    if curves.by_year:
        drawn.append(_by_year(curves.by_year))
    drawn.append(_against_ages(report) if report.labels == "age" else _against_groups(report))
    if curves.agreement:
        drawn.append(_bland_altman(report, curves.agreement))
    return [*drawn, _cumulative(curves.cumulative, report)]


def by_band(scores: Sequence[Score], key: str, colour: str, line: float | None = None) -> Picture:
    """A metric by band of age, with intervals; `line`: where it should be, in its own unit."""
    metric = METRICS[key]
    found = [(score.name, score.metrics[key]) for score in scores if key in score.metrics]
    scale = 100 if metric.share else 1
    figure, axes = canvas()
    for place, (_, one) in enumerate(found):
        axes.bar(place, scale * one.value, color=colour, width=0.7)
        if one.interval is not None:
            axes.vlines(place, scale * one.interval[0], scale * one.interval[1], color="black", linewidth=1.2)
    axes.axhline(0, color="black", linewidth=0.8)
    if line is not None:
        axes.axhline(scale * line, color="black", linewidth=1, linestyle="--")
    axes.set_xticks(range(len(found)), [f"{_short(name)}\n{one.n}" for name, one in found], fontsize=7)
    axes.set(xlabel="known age, years, and number of faces", ylabel="%" if metric.share else "years")
    axes.set_xlim(-0.6, max(len(found), 3) - 0.4)
    values = [one.value for _, one in found]
    ends = [f"{found[place][0]} ({as_shown(key, found[place][1])})" for place in (np.argmin(values), np.argmax(values))]
    says = f"{upper(metric.says)}. Lowest at {ends[0]}, highest at {ends[1]}."
    dashes = "" if line is None else f" Dashed: the stated {scale * line:.0f} %."
    return Picture(f"{upper(metric.title)} by age", says + dashes, png(figure))


def by_group(column: str, scores: Sequence[Score], report: Report) -> Picture:
    """The main metric of each group, the worst on top."""
    key = MAIN[report.labels]
    found = [score for score in scores if key in score.metrics]
    shown = sorted(sorted(found, key=lambda one: -one.n)[:MOST_GROUPS], key=lambda one: one.metrics[key].value)
    figure, axes = canvas(1.0 + 0.27 * len(shown))
    for place, score in enumerate(shown):
        one = score.metrics[key]
        axes.barh(place, one.value, color=COLOUR if score.n >= FEWEST_FACES else MUTED, height=0.7)
        if one.interval is not None:
            axes.hlines(place, *one.interval, color="black", linewidth=1.2)
    everyone = report.overall.metrics[key].value
    axes.axvline(everyone, color=ACCENT, linewidth=1.2, linestyle="--")
    axes.set_yticks(range(len(shown)), [f"{_short(one.name)} ({one.n})" for one in shown], fontsize=8, parse_math=False)
    axes.set_xlabel(f"{METRICS[key].title}, years")
    axes.set_ylim(-0.6, len(shown) - 0.4)
    few = any(one.n < FEWEST_FACES for one in shown)
    says = f"In brackets: faces. Dashed: all faces, {everyone:.2f} years."
    says += f" Grey: fewer than {FEWEST_FACES} faces." if few else ""
    says += f" The {MOST_GROUPS} largest of {len(found)} groups." if len(found) > MOST_GROUPS else ""
    return Picture(f"{upper(METRICS[key].title)} by {column}", says, png(figure))


def upper(text: str) -> str:
    """A text that begins a sentence.

    >>> upper("mean width"), upper("MAE")
    ('Mean width', 'MAE')
    """
    return text[:1].upper() + text[1:]


def _by_year(found: ByYear) -> Picture:
    figure, axes = canvas()
    lines = {"mean absolute error": (found.absolute, COLOUR, "-"), "mean signed error": (found.signed, ACCENT, "--")}
    for label, (curve, colour, style) in lines.items():
        axes.fill_between(AGES, curve.low, curve.high, color=colour, alpha=0.22, linewidth=0)
        axes.plot(AGES, curve.value, style, color=colour, linewidth=1.6, label=label)
    seen = found.faces > 0
    size = 2 + 26 * found.faces[seen] / found.faces.max()
    axes.scatter(AGES[seen], found.mae[seen], s=size, color=COLOUR, alpha=0.55, linewidth=0, label="one year of age")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="known age, years", ylabel="years")
    axes.legend(frameon=False, fontsize=7.5)
    return Picture(
        "Error by year of age",
        f"Lines: smoothed over ages (Gaussian, {BANDWIDTH:g} years), with 95 % bands; a gap where faces are few. "
        "Dots: the mean absolute error of a single year, larger for more faces.",
        png(figure),
    )


def _against_ages(report: Report) -> Picture:
    figure, axes = canvas()
    top = float(max(report.true.max(), report.pred.max())) + 2
    drawn = axes.hexbin(
        report.true, report.pred, gridsize=34, extent=(0, top, 0, top), mincnt=1, bins="log", cmap="viridis"
    )
    axes.plot([0, top], [0, top], color=ACCENT, linewidth=1.4)
    figure.colorbar(drawn, label="faces").ax.tick_params(labelsize=8)
    axes.set(xlabel="known age, years", ylabel="predicted age, years", xlim=(0, top), ylim=(0, top), aspect="equal")
    linear = np.corrcoef(report.true, report.pred)[0, 1] if np.ptp(report.true) and np.ptp(report.pred) else np.nan
    says = f" Their correlation is {linear:.3f}." if np.isfinite(linear) else ""
    return Picture(
        "Predicted and known ages", f"{len(report.pred)} faces; on the line the two agree.{says}", png(figure)
    )


def _against_groups(report: Report) -> Picture:
    figure, axes = canvas()
    names = [score.name for score in report.bands if score.n]
    axes.boxplot(
        [report.pred[report.band == name] for name in names],
        whis=(5, 95),
        showfliers=False,
        medianprops={"color": ACCENT},
    )
    axes.set_xticks(range(1, len(names) + 1), [_short(name) for name in names], fontsize=7)
    axes.set(xlabel="known age group, years", ylabel="predicted age, years")
    axes.grid(axis="y", alpha=0.3)
    return Picture(
        "Predicted ages by known group", "Box: quartiles and median; whiskers: 5 % to 95 % of the faces.", png(figure)
    )


def _bland_altman(report: Report, found: Agreement) -> Picture:
    figure, axes = canvas()
    mean, difference = (report.pred + report.true) / 2, report.pred - report.true
    reach = max(float(abs(difference).max()), abs(found.lower.value), abs(found.upper.value)) * 1.05 + 1
    extent = (0.0, float(mean.max()) + 2, -reach, reach)
    drawn = axes.hexbin(mean, difference, gridsize=(34, 22), extent=extent, mincnt=1, bins="log", cmap="viridis")
    figure.colorbar(drawn, label="faces").ax.tick_params(labelsize=8)
    for one, style in ((found.bias, "-"), (found.lower, "--"), (found.upper, "--")):
        axes.axhline(one.value, color=ACCENT, linewidth=1.4, linestyle=style)
        if one.interval is not None:
            axes.axhspan(*one.interval, color=ACCENT, alpha=0.25, linewidth=0)
        text = axes.text(0.99, one.value, f"{one.value:+.1f}", ha="right", va="bottom", fontsize=8)
        text.set_transform(axes.get_yaxis_transform())
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set(xlabel="mean of predicted and known age, years", ylabel="predicted minus known, years")
    axes.set(xlim=extent[:2], ylim=extent[2:])
    return Picture(
        "Agreement (Bland and Altman)",
        f"Line: mean difference {as_shown('bias', found.bias)} years; dashed: 95 % limits of agreement, "
        f"{as_shown('bias', found.lower)} and {as_shown('bias', found.upper)}; {100 * found.inside:.1f} % of the "
        "faces are between them.",
        png(figure),
    )


def _cumulative(found: Cumulative, report: Report) -> Picture:
    figure, axes = canvas()
    years = np.arange(MOST_YEARS + 1)
    axes.fill_between(years, 100 * found.low, 100 * found.high, color=COLOUR, alpha=0.25, linewidth=0)
    axes.plot(years, 100 * found.share, color=COLOUR, linewidth=1.6, marker="o", markersize=2.5)
    axes.set(xlabel="k, years", ylabel="faces, %", xlim=(0, MOST_YEARS), ylim=(0, 101))
    axes.set_xticks(range(0, MOST_YEARS + 1, 5))
    axes.grid(alpha=0.3)
    off = "an error" if report.labels == "age" else "a distance from the known group"
    share = {k: f"{100 * found.share[k]:.0f} %" for k in (5, 10)}
    says = f"Faces with {off} of at most k years: {share[5]} at 5, {share[10]} at 10. Band: 95 %."
    return Picture("Cumulative score, CS@k", says, png(figure))


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
