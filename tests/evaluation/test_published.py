"""The published values: those that are known are there, as they are known, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from agewise.evaluation.corruptions import CORRUPTIONS
from agewise.evaluation.protocols.settings import names, read_protocol
from agewise.evaluation.published import Cell, Row, read_published, rests
from agewise.evaluation.robustness.scores import ALL
from agewise.evaluation.stats import GROUPS

SAID = read_published()


def row(name: str) -> Row:
    found = SAID.row(name)
    assert found is not None
    return found


def cells() -> Iterator[tuple[str, str, str, Cell]]:
    for one in SAID.rows:
        for data_set, metrics in one.cells.items():
            for metric, cell in metrics.items():
                yield one.name, data_set, metric, cell


@pytest.mark.parametrize(
    ("name", "data_set", "metric", "value", "finest"),
    [
        ("senet-vmage", "vmage", "mae", 1.75, 1.7516),
        ("MN3-Large, VMAGE", "vmage", "mae", 1.8404, 1.8404),
        ("vgg-imdb-wiki", "imdb-wiki", "mae", 7.1356, 7.1356),
        ("mn3-small-vmage", "lfw-plus", "mae", 5.69, 5.695),
        ("densenet-vmage", "lfw-plus", "mae", 5.89, 5.884),
        ("senet-vmage", "lap-2016", "epsilon_error", 0.3033, 0.30327),
        ("mn3-large-imdb-wiki", "lap-2016", "epsilon_error", 0.3944, 0.39447),
        ("teacher", "lap-2016", "epsilon_error", 0.2433, 0.2433),
        ("senet-vmage", "adience", "top1", 0.65, 0.65),
        ("densenet-vmage", "adience", "one_off", 0.962, 0.962),
        ("teacher", "lfw-plus-c", "defocus_blur", 18.53, 18.53),
        ("mn3-small-vmage", "lfw-plus-c", "spatter", 8.91, 8.91),
        ("vgg-vmage", "lfw-plus-c", "motion_blur", 11.27, 11.27),
        ("mn3-large-vmage", "lfw-plus-c", ALL, 8.404, 8.404),
        ("densenet-imdb-wiki", "lfw-plus-c", ALL, 8.12, 8.12),
    ],
)
def test_what_is_known_is_as_the_sources_have_it(
    name: str, data_set: str, metric: str, value: float, finest: float
) -> None:
    cell = row(name).cell(data_set, metric)
    assert (cell.value, cell.finest) == (value, finest)


def test_unknown_cells_stay_unknown() -> None:
    """Every cell of Table 5 of IMDB-Wiki, and all kinds of Table 6 but eleven, are known to nobody here."""
    for network in ("SENet", "VGG", "MN3-Large", "MN3-Small", "DenseNet"):
        assert row(f"{network}, IMDB-Wiki").cell("adience", "top1").value is None
        assert row(f"{network}, VMAGE").cell("imdb-wiki", "mae").value is None
        assert row(f"{network}, IMDB-Wiki").cell("lfw-plus", "mae").value is None
    known = [(name, metric) for name, where, metric, cell in cells() if where == "lfw-plus-c" and cell.value]
    assert len([pair for pair in known if pair[1] in CORRUPTIONS]) == 11
    assert row("senet-vmage").cell("lfw-plus-c", "pixelate") == Cell()
    groups = {one.name: [name for name, cell in one.groups.items() if cell.value is not None] for one in SAID.sets}
    assert groups["lap-2016"] == list(GROUPS)
    assert not any(found for name, found in groups.items() if name != "lap-2016")


def test_every_value_is_one_of_its_metric_and_every_name_is_known() -> None:
    bounds = {"mae": (1, 9), "epsilon_error": (0.2, 0.6), "top1": (0.6, 0.7), "one_off": (0.9, 1.0)}
    sets = {one.name for one in SAID.sets}
    for _, data_set, metric, cell in cells():
        assert data_set in sets
        low, high = bounds.get(metric, (5, 19))
        assert cell.value is None or low < cell.value < high
        assert cell.value is None or not cell.says
    rows = {one.name for one in SAID.rows}
    assert len(rows) == len({one.key for one in SAID.rows}) == len(SAID.rows)
    assert {one.protocol for one in SAID.sets} <= set(names())
    for order in SAID.orders:
        assert set(order.rows) <= rows
        assert order.set in sets
    assert set(SAID.worst) <= set(CORRUPTIONS)


def test_the_published_values_have_the_published_orders() -> None:
    seen = 0
    for order in SAID.orders:
        values = [row(name).cell(order.set, order.metric).finest for name in order.rows]
        known = [value if order.rising else -value for value in values if value is not None]
        seen += len(known)
        assert all(low <= high for low, high in pairwise(known)), order.says
    assert seen > 25


def test_printed_and_charts_are_one_number() -> None:
    """The paper rounds, and at times cuts off: never more than a unit of its last digit apart."""
    for name, data_set, metric, cell in cells():
        if cell.printed is not None and cell.charts is not None:
            unit = 0.0001 if metric == "epsilon_error" else 0.01
            assert abs(cell.printed - cell.charts) < unit, (name, data_set)


@pytest.mark.parametrize(
    ("name", "sums"),
    [
        ("senet-vmage", [34.98, 13.91, 22.40]),
        ("vgg-vmage", [23.61, 14.50, 48.59]),
        ("densenet-vmage", [27.13, 14.65, 48.50]),
        ("mn3-small-vmage", [41.64, 15.17, 37.80]),
        ("mn3-large-vmage", [45.57, 15.90, 47.79]),
        ("teacher", [75.1]),
        ("senet-imdb-wiki", []),
    ],
)
def test_unknown_cells_have_known_sums(name: str, sums: list[float]) -> None:
    """As derived by hand from the means and the known cells; a rounded mean has none."""
    assert [round(total, 2) for _, total in rests(row(name))] == pytest.approx(sums, abs=0.011)
    assert not {kind for kinds, _ in rests(row(name)) for kind in kinds} & set(row(name).cells["lfw-plus-c"]) - {
        kind for kind, cell in row(name).cells["lfw-plus-c"].items() if cell.value is None
    }


def test_protocols_take_their_published_values_from_here() -> None:
    lap = {one.method: one.scores for one in read_protocol("lap-2016").known}
    assert lap["SENet, VMAGE"] == {"epsilon_error": 0.3033}
    assert lap["teacher"] == {"epsilon_error": 0.2433}
    adience = {one.method: one.scores for one in read_protocol("adience").known}
    assert adience["MN3-Small, VMAGE"] == {"top1": 0.625, "one_off": 0.966}
    assert not any("IMDB-Wiki" in name for name in adience)
    corrupted = {one.method: one for one in read_protocol("lfw-plus-c").known}
    assert corrupted["teacher, all 13"].scores == {"mae": 8.07}
    assert "rounded by it" in corrupted["SENet, IMDB-Wiki, all 13"].source
    assert "its released charts" in corrupted["MN3-Large, VMAGE, all 13"].source
    assert read_protocol("cross-dataset").known == []
