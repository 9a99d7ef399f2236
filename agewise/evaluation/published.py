"""What Greco et al. (2021) publish, as far as it can be read (greco-2021.toml); an unknown cell stays unknown."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pydantic import Field

from agewise.data.settings import Settings, read_settings
from agewise.evaluation.corruptions import CATEGORIES, CORRUPTIONS
from agewise.evaluation.robustness.scores import ALL

FILE = Path(__file__).parent / "greco-2021.toml"


class Cell(Settings):
    """A published number by where it stands, in the units of the metric; a cell without one is unknown.

    printed: in the text of the paper. charts: in the result sheets released with its code, to more digits.
    counted: by us, from public labels. about: the text rounds it. says: what the text tells of it in words.
    """

    printed: float | None = None
    charts: float | None = None
    counted: float | None = None
    about: bool = False
    says: str = ""

    @property
    def value(self) -> float | None:
        """The number as the paper prints it, else as its charts or labels have it; None where it is unknown."""
        return next((one for one in (self.printed, self.charts, self.counted) if one is not None), None)

    @property
    def finest(self) -> float | None:
        """The number to the most digits there are: what orders and sums are made of."""
        return self.value if self.charts is None else self.charts


UNKNOWN = Cell()


class Row(Settings):
    """A network, by what it was pre-trained on ("" of the teacher); cells by data set, then metric or corruption.

    in_paper: whether the paper has it; the released charts have more networks.
    """

    network: str
    trained: str = ""
    in_paper: bool = True
    cells: dict[str, dict[str, Cell]]

    @property
    def name(self) -> str:
        """`SENet, VMAGE`."""
        return f"{self.network}, {self.trained}" if self.trained else self.network

    @property
    def key(self) -> str:
        """What the row is called on the command line: `senet-vmage`."""
        return self.name.replace(", ", "-").replace(" ", "-").lower()

    def cell(self, data_set: str, metric: str) -> Cell:
        """The cell; an unknown one where nothing is said of it."""
        return self.cells.get(data_set, {}).get(metric, UNKNOWN)


class DataSet(Settings):
    """A data set of the paper: its protocol here, and its faces by age group (`evaluation.stats.GROUPS`)."""

    name: str
    title: str
    protocol: str
    total: Cell = UNKNOWN
    groups: dict[str, Cell] = Field(default={})


class Order(Settings):
    """What the paper's numbers say of networks, lowest first: rows by name, on one data set by one metric."""

    says: str
    set: str
    metric: str
    rows: list[str] = Field(min_length=2)
    rising: bool = True


class Published(Settings):
    """All that is known. worst: the kinds of corruption with the highest errors."""

    source: str
    notes: list[str]
    sets: list[DataSet]
    rows: list[Row]
    orders: list[Order]
    worst: list[str]

    def row(self, name: str) -> Row | None:
        """The row by its name or its key; None where the paper has no such network."""
        return next((row for row in self.rows if name in (row.name, row.key)), None)

    def data_set(self, name: str) -> DataSet | None:
        """The data set by its name; None where the paper has none of it."""
        return next((one for one in self.sets if one.name == name), None)


@cache
def read_published() -> Published:
    """The file beside this module."""
    return read_settings(FILE, Published)


def rests(row: Row, data_set: str = "lfw-plus-c") -> Iterator[tuple[tuple[str, ...], float]]:
    """Kinds of corruption that are unknown one by one but whose sum is known, and that sum, in years.

    From the mean of a category, and of all 13 where no category is known.
    """
    groups = {**CATEGORIES, ALL: tuple(CORRUPTIONS)}
    has = {title for title in groups if row.cell(data_set, title).finest is not None}
    for title in [title for title in CATEGORIES if title in has] or [ALL]:
        mean = row.cell(data_set, title)
        cells = {kind: row.cell(data_set, kind).finest for kind in groups[title]}
        known = [value for value in cells.values() if value is not None]
        if mean.finest is not None and not mean.about and len(known) < len(cells) and (known or title != ALL):
            yield tuple(kind for kind in cells if cells[kind] is None), mean.finest * len(cells) - sum(known)
