"""The part of a card that shows a model as an age gate: rates with N and intervals, and the worst groups."""

from __future__ import annotations

from collections.abc import Iterator

from agewise.evaluation.card.onnx_file import ModelFile
from agewise.evaluation.card.prose import paragraphs, table
from agewise.evaluation.card.records import GateSaid
from agewise.evaluation.card.scores import GROUPS, count, manifest_said
from agewise.evaluation.gate.nist_cells import CELLS
from agewise.evaluation.gate.rule import Rule
from agewise.evaluation.gate.tables import shown, titles
from agewise.evaluation.gate.values import GateGap
from agewise.evaluation.groups import FEWEST_FACES
from agewise.evaluation.rates import Rate
from agewise.evaluation.report.values import as_shown, counted


def gate_lines(gate: GateSaid, model: ModelFile) -> list[str]:
    """A gate's report: how it is made again, all rates, and the gaps between groups."""
    named = titles(gate.rule)
    lines = [f"### A gate at {gate.rule.threshold}: {gate.manifest.name}, N = {count(gate.overall.n)}", ""]
    lines += paragraphs(" ".join(_origin(gate, model)))
    given = {key: one for key, one in gate.overall.rates.items() if one.n and key in named}
    rows = [[named[key][0], shown(one), count(one.n), named[key][1]] for key, one in given.items()]
    nist = gate.overall.nist_mae
    if nist.error:
        says = f"mean over {nist.cells} of NIST's {len(CELLS)} cells of sex and age 18 to 30, years"
        rows.append(["NIST MAE", as_shown("mae", nist.error), count(nist.error.n), says])
    lines += table(["rate", "value", "N", "what it says"], rows)
    gaps = [_gap(gate, column, gap) for column, found in gate.gaps.items() for gap in found]
    if gaps:
        head = ["gap by", "rate", "worst", "best", f"points; groups of at least {FEWEST_FACES} faces"]
        lines += table(head, gaps)
    return lines


def _origin(gate: GateSaid, model: ModelFile) -> Iterator[str]:
    rule = gate.rule
    yield f"`{_command(gate, model)}`."
    yield manifest_said(gate.manifest.name, gate.manifest.sha256, model)
    dropped = sum(gate.dropped.values())
    why = counted(gate.dropped)
    yield f"{count(gate.overall.n)} faces scored, {count(dropped)} dropped{f': {why}' if why else ''}."
    yield f"A face passes Challenge-{rule.buffer} if the {rule.decision} of its distribution is at least {rule.buffer};"
    yield f"it passes the bound if P(age < {rule.threshold}) is at most {rule.alpha:g}, else it is referred or fails."
    if gate.ages.group_only:
        yield f"Of {count(gate.ages.group_only)} faces only the age group is known;"
        yield f"{count(gate.ages.straddling)} have a group on both sides of {rule.threshold} and count on neither."
    kinds = counted(gate.ages.kinds) if gate.ages.kinds else "not said in the manifest; a law means the real age"
    yield f"Kinds of age: {kinds}."
    how = "exact" if gate.intervals.resampled == "faces" else "by subjects, who are resampled"
    yield f"Brackets: {100 * gate.intervals.level:.0f} % intervals, {how}."
    if gate.absent:
        yield f"The manifest has no column {', '.join(gate.absent)}."


def _command(gate: GateSaid, model: ModelFile) -> str:
    """The call with every option that is not the default."""
    usual, words = Rule(), ["agewise gate", model.called, gate.manifest.name]
    for name in ("threshold", "buffer", "alpha", "budget", "decision"):
        if getattr(gate.rule, name) != getattr(usual, name):
            words.append(f"--{name} {getattr(gate.rule, name)}")
    columns = [*gate.groups, *gate.absent]
    if sorted(columns) != sorted(GROUPS):
        words.append(f"--groups {','.join(columns) or chr(34) * 2}")
    return " ".join(words)


def _gap(gate: GateSaid, column: str, gap: GateGap) -> list[str]:
    rates = {one.name: one.rates[gap.rate] for one in gate.groups[column]}
    low_high = gap.interval
    bounds = f" [{100 * low_high[0]:.1f}, {100 * low_high[1]:.1f}]" if low_high else ""
    ends = (f"{name} {_of(rates[name])}" for name in (gap.worst, gap.best))
    return [column, titles(gate.rule)[gap.rate][0], *ends, f"{100 * gap.difference:.1f}{bounds}"]


def _of(one: Rate) -> str:
    return f"{shown(one).partition(' [')[0]} (N = {count(one.n)})"
