"""Whether the paper's findings hold here: the order of its networks, its worst corruptions, its sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from agewise.evaluation.corruptions import CORRUPTIONS
from agewise.evaluation.paper.grid import NO_DATA, NO_MODEL
from agewise.evaluation.paper.measuring import CORRUPTED, Corrupted, Measured
from agewise.evaluation.published import Order, Published, rests


@dataclass(frozen=True, slots=True)
class Verdict:
    """A finding of the paper, on what it is looked at here, and whether it holds there: None where nobody can say."""

    finding: str
    where: str
    holds: bool | None
    why: str


@dataclass(frozen=True, slots=True)
class Sum:
    """Unknown cells of Table 6 whose sum is known, in years; here: the sum of the same cells, None if not measured."""

    network: str
    kinds: tuple[str, ...]
    published: float
    here: float | None
    why: str


def verdicts(said: Published, found: Measured) -> list[Verdict]:
    """Every order of the paper, and the worst kinds of corruption for every model that was measured on them."""
    orders = [_order(order, found) for order in said.orders]
    worst = [_worst(said.worst, one) for one in found.corrupted]
    if not worst:
        finding = _worst_says(said.worst)
        worst = [Verdict(finding, "LFW+C", None, NO_MODEL if CORRUPTED in found.manifests else NO_DATA)]
    return [*orders, *worst]


def sums(said: Published, found: Measured) -> list[Sum]:
    """What the unknown cells of Table 6 must add up to."""
    return [
        Sum(row.name, kinds, total, *_summed(found, row.name, kinds))
        for row in said.rows
        if row.in_paper
        for kinds, total in rests(row)
    ]


def holds(values: Sequence[float], rising: bool = True) -> bool:
    """Whether the values never go down (up, if not rising).

    >>> holds([5.58, 5.58, 5.65]), holds([0.65, 0.64], rising=False), holds([1.0, 0.9])
    (True, True, False)
    """
    return all(low <= high if rising else low >= high for low, high in pairwise(values))


def _order(order: Order, found: Measured) -> Verdict:
    known = [(row, value) for row in order.rows if (value := _value(found, row, order)) is not None]
    if len(known) < 2:
        why = NO_DATA if order.set not in found.manifests else f"{len(known)} of {len(order.rows)} models given"
        return Verdict(order.says, order.set, None, why)
    right = holds([value for _, value in known], order.rising)
    shown = ", ".join(f"{row} {value:.4g}" for row, value in known)
    part = "" if len(known) == len(order.rows) else f"; {len(known)} of {len(order.rows)} models given"
    return Verdict(order.says, order.set, right, f"{shown}{part}")


def _value(found: Measured, model: str, order: Order) -> float | None:
    if order.set == CORRUPTED:
        one = found.of_corrupted(model)
        return None if one is None else one.value(order.metric)
    outcome = found.outcomes.get((model, order.set))
    if outcome is None:
        return None
    if order.metric in outcome.mean:
        return outcome.mean[order.metric]
    here = outcome.results[-1].score.metrics.get(order.metric)
    return None if here is None else here.value


def _worst(kinds: Sequence[str], one: Corrupted) -> Verdict:
    ranked = sorted(CORRUPTIONS, key=one.value, reverse=True)
    shown = ", ".join(f"{kind} {one.value(kind):.2f}" for kind in ranked[: len(kinds) + 1])
    right = set(ranked[: len(kinds)]) == set(kinds)
    return Verdict(_worst_says(kinds), f"{one.model} on {one.data_set}", right, f"{one.metric}: {shown}")


def _worst_says(kinds: Sequence[str]) -> str:
    return f"the worst corruptions are {', '.join(kinds)}"


def _summed(found: Measured, model: str, kinds: Sequence[str]) -> tuple[float | None, str]:
    one = found.of_corrupted(model)
    if one is None:
        return None, NO_MODEL if CORRUPTED in found.manifests else NO_DATA
    return sum(one.value(kind) for kind in kinds), ""


def order_rows(found: Sequence[Verdict]) -> Iterator[list[str]]:
    """The verdicts as rows of text."""
    for one in found:
        answer = {True: "holds", False: "does not hold", None: "cannot be said"}[one.holds]
        yield [one.finding, one.where, answer, one.why]


def sum_rows(found: Sequence[Sum]) -> Iterator[list[str]]:
    """The sums as rows of text."""
    for one in found:
        here = one.why if one.here is None else f"{one.here:.2f}"
        yield [one.network, ", ".join(one.kinds), f"{one.published:.2f}", here]
