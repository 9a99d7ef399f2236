"""Tables 1, 3, 4, 5 and 6 of Greco et al. (2021): published values beside what was measured here."""

from __future__ import annotations

from collections.abc import Iterator

from agewise.evaluation.corruptions import CATEGORIES, CORRUPTIONS
from agewise.evaluation.groups import Estimate
from agewise.evaluation.paper.grid import NO_DATA, NO_MODEL, Entry, Grid
from agewise.evaluation.paper.measuring import CORRUPTED, Corrupted, Measured
from agewise.evaluation.published import UNKNOWN, Cell, DataSet, Published, Row
from agewise.evaluation.robustness.scores import ALL
from agewise.evaluation.robustness.walk import CLEAN
from agewise.evaluation.stats import GROUPS, by_group

TRAINED = ("VMAGE", "IMDB-Wiki")
OTHERWISE = "otherwise"
"""The column of networks that were trained on neither of TRAINED."""

AGAIN = ("lap-2016", "adience")
"""The sets that the paper trains its networks on again before it tests them there."""

AS_IS = "*: as it is, not trained again on this set"

Cells = dict[tuple[tuple[str, ...], str], Entry]

PARTS = (CLEAN, *CORRUPTIONS, *CATEGORIES, ALL)
"""The rows of Table 6: the uncorrupted faces, the kinds, the means."""


def grids(said: Published, found: Measured) -> list[Grid]:
    """The five tables, in the paper's order."""
    return [table1(said, found), table3(said, found), table4(said, found), table5(said, found), table6(said, found)]


def table1(said: Published, found: Measured) -> Grid:
    """Faces by age group."""
    sets = [one for one in said.sets if one.name != CORRUPTED]
    cells: Cells = {((one.title,), column): entry for one in sets for column, entry in _counts(one, found)}
    extras = [name for name in found.stats if said.data_set(name) is None]
    for name in extras:
        cells |= {((name,), column): Entry(None, here, "", None, est) for column, here, est in _counted(found, name)}
    rows = (*((one.title,) for one in sets), *((name,) for name in extras))
    title = "faces by age group, in years"
    return Grid("Table 1", title, ("set",), rows, (*GROUPS, "total"), (), cells, "faces", stacked=True)


def table3(said: Published, found: Measured) -> Grid:
    """Mean absolute errors on VMAGE, IMDB-Wiki and LFW+; rows as the paper orders them, by LFW+."""
    names = ("vmage", "imdb-wiki", "lfw-plus")
    sets = {name: one.title for name in names if (one := said.data_set(name)) is not None}
    rows = sorted(said.rows, key=lambda row: (not row.in_paper, [*TRAINED, ""].index(row.trained)))
    cells: Cells = {}
    lines: list[tuple[tuple[str, ...], str, Row | None]] = [(_stub(row), row.name, row) for row in rows]
    lines += [((f"also measured: {name}", ""), name, None) for name in _others(said, found)]
    extras = _extra_columns(said, found)
    for stub, model, row in lines:
        for name, title in sets.items():
            cell = row.cell(name, "mae") if row else None
            cells[stub, title] = _entry(cell, found, model, name, "mae")
        for title, (name, metric) in extras.items():
            if (model, name) in found.outcomes:
                cells[stub, title] = _entry(None, found, model, name, metric)
    title = "MAE in years on other faces than those of the training; (not in the paper): from its released charts"
    shown = tuple(stub for stub, _, _ in lines)
    return Grid("Table 3", title, ("network", "trained on"), shown, tuple(sets.values()), tuple(extras), cells)


def table4(said: Published, found: Measured) -> Grid:
    """Epsilon-errors on the test part of LAP 2016, by what a network was pre-trained on."""
    lines, cells = _by_training(said, found, "lap-2016", {"": "epsilon_error"})
    title = f"ε-error on LAP 2016 (test), by what the network was trained on before LAP; {AS_IS}"
    return Grid("Table 4", title, ("network",), lines, _used((*TRAINED, OTHERWISE), cells), (), cells, "epsilon")


def table5(said: Published, found: Measured) -> Grid:
    """Top-1 and 1-off accuracy on Adience."""
    metrics = {", top-1": "top1", ", 1-off": "one_off"}
    lines, cells = _by_training(said, found, "adience", metrics)
    columns = tuple(f"{trained}{metric}" for trained in (*TRAINED, OTHERWISE) for metric in metrics)
    title = f"accuracy on Adience in percent, mean ± std over five folds, by what came before Adience; {AS_IS}"
    return Grid("Table 5", title, ("network",), lines, _used(columns, cells), (), cells, "percent")


def table6(said: Published, found: Measured) -> Grid:
    """Mean absolute errors on LFW+C by kind of corruption, of the teacher and of the networks trained on VMAGE."""
    cells: Cells = {}
    networks = [row for row in said.rows if row.trained != TRAINED[1]]
    for row in networks:
        for part in PARTS:
            cell = row.cell("lfw-plus", "mae") if part == CLEAN else row.cell(CORRUPTED, part)
            cells[(part,), _network(row)] = Entry(cell, *_corrupted(found, row.name, part))
    alone = {_column(one): one for one in found.corrupted if _column(one) not in {_network(row) for row in networks}}
    for title, one in alone.items():
        cells |= {((part,), title): Entry(None, one.scores[part].metrics[one.metric], "") for part in PARTS}
    title = "MAE in years on LFW+C by corruption, mean over five severities, trained on VMAGE"
    columns = tuple(_network(row) for row in networks)
    return Grid("Table 6", title, ("corruption",), tuple((part,) for part in PARTS), columns, tuple(alone), cells)


def _counts(one: DataSet, found: Measured) -> Iterator[tuple[str, Entry]]:
    here = {column: (count, est) for column, count, est in _counted(found, one.name)}
    for column in (*GROUPS, "total"):
        cell = one.total if column == "total" else one.groups.get(column, UNKNOWN)
        count, estimated = here.get(column, (None, False))
        yield column, Entry(cell, count, NO_DATA if count is None else "", None, estimated)


def _counted(found: Measured, name: str) -> Iterator[tuple[str, Estimate, bool]]:
    """A manifest's faces by age group, and of which the number is an estimate."""
    if (one := found.stats.get(name)) is None:
        return
    guessed = by_group(one.estimated)
    for column, faces in by_group(one.ages).items():
        yield column, Estimate(float(round(faces)), None, one.total), guessed[column] > 0
    yield "total", Estimate(float(one.total), None, one.total), False


def _by_training(
    said: Published, found: Measured, name: str, metrics: dict[str, str]
) -> tuple[tuple[tuple[str, ...], ...], Cells]:
    """Networks in rows, what they were trained on in columns; other models stand in the last column."""
    cells: Cells = {}
    networks = _ranked(said, name, next(iter(metrics.values())))
    for row in said.rows:
        for title, key in metrics.items() if _network(row) in networks else ():
            column = f"{row.trained or OTHERWISE}{title}"
            cells[(_network(row),), column] = _entry(row.cell(name, key), found, row.name, name, key)
    others = [model for model in _others(said, found) if (model, name) in found.outcomes]
    for model in others:
        for title, key in metrics.items():
            cells[(model,), f"{OTHERWISE}{title}"] = _entry(None, found, model, name, key)
        networks.append(model)
    return tuple((network,) for network in networks), cells


def _used(columns: tuple[str, ...], cells: Cells) -> tuple[str, ...]:
    """The columns in which there is something."""
    return tuple(column for column in columns if any(where == column for _, where in cells))


def _ranked(said: Published, name: str, metric: str) -> list[str]:
    """The networks with a number, the best one first, by what they reach after VMAGE or otherwise."""
    sign = -1 if metric == "top1" else 1
    best: dict[str, tuple[bool, float]] = {}
    for row in said.rows:
        value = row.cell(name, metric).finest
        if value is not None:
            best.setdefault(_network(row), (not row.in_paper, sign * value))
    return sorted(best, key=best.__getitem__)


def _entry(cell: Cell | None, found: Measured, model: str, name: str, metric: str) -> Entry:
    """What is published and what was measured; of folds the mean and the std."""
    outcome = found.outcomes.get((model, name))
    if outcome is None:
        return Entry(cell, None, NO_MODEL if name in found.manifests else NO_DATA)
    as_is = name in AGAIN and (model, name) not in found.adapted
    if metric in outcome.mean:
        faces = sum(one.score.n for one in outcome.results)
        return Entry(cell, Estimate(outcome.mean[metric], None, faces), "", outcome.std[metric], as_is=as_is)
    here = outcome.results[-1].score.metrics.get(metric)
    return Entry(cell, here, "" if here else f"no {metric}", as_is=as_is)


def _corrupted(found: Measured, model: str, part: str) -> tuple[Estimate | None, str]:
    one = found.of_corrupted(model)
    if one is None:
        return None, NO_MODEL if CORRUPTED in found.manifests else NO_DATA
    return Estimate(one.value(part), None, one.scores[part].n), ""


def _extra_columns(said: Published, found: Measured) -> dict[str, tuple[str, str]]:
    """Titles of the data sets that the paper has not, each with its metric: years outside the group if that is all."""
    columns = {}
    for name in found.manifests:
        scored = [one for (_, where), one in found.outcomes.items() if where == name]
        if said.data_set(name) is None and scored:
            exact = any("mae" in one.score.metrics for outcome in scored for one in outcome.results)
            columns[name if exact else f"{name}, excess (no MAE)"] = (name, "mae" if exact else "excess")
    return columns


def _others(said: Published, found: Measured) -> list[str]:
    """The models that are no row of the paper."""
    return [model for model in found.models if said.row(model) is None]


def _stub(row: Row) -> tuple[str, str]:
    return _network(row), row.trained or OTHERWISE


def _network(row: Row) -> str:
    return row.network if row.in_paper else f"{row.network} (not in the paper)"


def _column(one: Corrupted) -> str:
    """Of a network trained on VMAGE on LFW+C the name of its column; of all else what it is."""
    network, _, trained = one.model.partition(", ")
    if one.data_set == CORRUPTED:
        return network if trained in ("", TRAINED[0]) else one.model
    unit = "" if one.metric == "mae" else ", excess (no MAE)"
    return f"{one.model} on {one.data_set}, {one.scores[CLEAN].n:,} faces, profile {one.profile}{unit}"
