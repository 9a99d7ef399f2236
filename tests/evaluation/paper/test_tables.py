"""The paper's tables with measured models beside them: whose number stands where, and why others are missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.data.manifest import ManifestError
from agewise.evaluation.groups import Estimate
from agewise.evaluation.paper.grid import Entry, Grid, here_text, published_text, to_table
from agewise.evaluation.paper.measuring import Entrant, Measured, measure
from agewise.evaluation.paper.orders import sums, verdicts
from agewise.evaluation.paper.page import tables, write_paper
from agewise.evaluation.paper.tables import grids
from agewise.evaluation.predictions import predict_manifest
from agewise.evaluation.published import Cell, read_published
from agewise.evaluation.robustness.cells import predict_cells

SAID = read_published()


class Bright:
    """A face of `faces_of` is as old as it is bright, give or take `off` years."""

    def __init__(self, off: float = 0.0) -> None:
        self.off = off

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        years = (crops.mean(axis=(1, 2, 3)) - 40) / 1.6 + self.off
        return AgeDistribution.gaussian(years.clip(0, 100), 1.0)


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory, faces_of: Callable[..., Path]) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sets")
    ages = list(range(5, 75, 5))
    lfw = faces_of(folder / "lfw.parquet", ages)
    split, std = ["train", "valid", *["test"] * 12], [2.0] * 14
    fold = [number % 5 for number in range(14)]
    classes = {"age": None, "age_low": [float(age) for age in ages], "age_high": [float(age) for age in ages]}
    return {
        "lfw-plus": lfw,
        "lfw-plus-c": lfw,
        "lap-2016": faces_of(folder / "lap.parquet", ages, split=split, age_std=std),
        "adience": faces_of(folder / "adience.parquet", ages, fold=fold, **classes),
        "mine": faces_of(folder / "mine.parquet", [20, 40, 61]),
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, manifests: dict[str, Path]) -> Measured:
    """SENet is right, VGG three years too old, and trained again for LAP; `own` has cells and predictions only."""
    folder = tmp_path_factory.mktemp("paper")
    file = predict_manifest(Bright(7), manifests["mine"], folder / "own.parquet", name="own 1")
    cells = predict_cells(lambda: Bright(7), manifests["mine"], folder / "own", name="own 1")
    folds = {str(fold): Bright() for fold in range(5)}
    models = {
        "senet-vmage": Entrant((Bright(),), {"adience": folds}),
        "VGG, VMAGE": Entrant((Bright(3),), {"lap-2016": {"vgg": Bright(20)}}),
        "own": Entrant((file, cells)),
    }
    return measure(models, manifests, folder / "out", resamples=20)


def grid(found: Measured, name: str) -> Grid:
    return next(one for one in grids(SAID, found) if one.name == name)


def test_each_model_stands_in_the_row_and_column_that_is_its_own(found: Measured) -> None:
    third = grid(found, "Table 3")
    senet, vgg = (third.entry((name, "VMAGE"), "LFW+") for name in ("SENet", "VGG"))
    assert senet.published is not None
    assert senet.published.printed == 5.58
    assert senet.here is not None
    assert senet.here.value < 1
    assert vgg.here is not None
    assert vgg.here.value == pytest.approx(3, abs=0.7)
    assert vgg.here.n == 14
    other = third.entry(("SENet", "IMDB-Wiki"), "LFW+")
    assert (other.here, other.why) == (None, "no model given")
    assert third.entry(("SENet", "VMAGE"), "VMAGE").why == "no data given"
    own = third.entry(("also measured: own", ""), "mine").here
    assert own is not None
    assert own.value == pytest.approx(7, abs=0.7)
    assert third.alone == ("mine",)
    assert third.entry(("also measured: own", ""), "LFW+").here is None


def test_trained_again_goes_before_as_it_is(found: Measured) -> None:
    fourth = grid(found, "Table 4")
    senet, vgg = (fourth.entry((name,), "VMAGE").here for name in ("SENet", "VGG"))
    assert senet is not None
    assert vgg is not None
    assert senet.value < 0.1 < 0.99 < vgg.value  # 20 years too old at a spread of 2
    assert senet.n == vgg.n == 12  # the test part alone
    assert [row[0] for row in fourth.rows][:6] == ["teacher", "SENet", "VGG", "MN3-Large", "DenseNet", "MN3-Small"]
    assert ("VGG, VMAGE", "lap-2016") in found.adapted
    assert [fourth.entry((name,), "VMAGE").as_is for name in ("SENet", "VGG")] == [True, False]
    _, head, rows = to_table(fourth, [])
    assert head == [
        "network",
        "VMAGE",
        "VMAGE, here",
        "IMDB-Wiki (here: no model given)",
        "otherwise (here: no model given)",
    ]
    assert " * [" in next(row for row in rows if row[0] == "SENet")[2]


def test_adience_is_a_mean_over_folds(found: Measured) -> None:
    fifth = grid(found, "Table 5")
    entry = fifth.entry(("SENet",), "VMAGE, top-1")
    assert entry.here is not None
    assert entry.std is not None
    assert entry.published == Cell(printed=0.65)
    assert here_text(entry, "percent").count("±") == 1
    assert published_text(fifth.entry(("SENet",), "IMDB-Wiki, top-1").published, "percent") == "unknown"
    assert [row[0] for row in fifth.rows] == ["SENet", "MN3-Large", "VGG", "DenseNet", "MN3-Small"]


def test_corrupted_faces_of_the_paper_and_of_others(found: Measured) -> None:
    sixth = grid(found, "Table 6")
    here = {part: sixth.entry((part,), "SENet").here for (part,) in sixth.rows}
    values = {part: one.value for part, one in here.items() if one is not None}
    assert len(values) == len(sixth.rows) == 18
    assert values["noise"] == pytest.approx((values["gaussian_noise"] + values["shot_noise"]) / 2)
    (own,) = sixth.alone
    assert own == "own on mine, 3 faces, profile paper"
    assert sixth.entry(("spatter",), "MN3-Small").why == "no model given"
    (one,) = [one for one in sums(SAID, found) if one.network == "SENet, VMAGE" and "defocus_blur" in one.kinds]
    assert one.here == pytest.approx(sum(values[kind] for kind in one.kinds))
    assert one.published == pytest.approx(34.98, abs=0.01)


def test_orders_are_of_what_was_given(found: Measured) -> None:
    said = {one.finding: one for one in verdicts(SAID, found)}
    order = said["on LFW+: SENet and VGG, MN3-Large, MN3-Small, DenseNet"]
    assert order.holds
    assert "2 of 5 models given" in order.why
    assert said["on Adience, top-1, best first: SENet, MN3-Large, VGG, DenseNet, MN3-Small"].holds is not None
    assert said["on LFW+: SENet trained on VMAGE is better than on IMDB-Wiki"].holds is None
    worst = [one for one in verdicts(SAID, found) if one.finding.startswith("the worst")]
    assert [one.where for one in worst] == ["SENet, VMAGE on lfw-plus-c", "VGG, VMAGE on lfw-plus-c", "own on mine"]


def test_a_wrong_order_is_seen(manifests: dict[str, Path], tmp_path: Path) -> None:
    models = {"senet-vmage": Entrant((Bright(9),)), "mn3-small-vmage": Entrant((Bright(),))}
    found = measure(models, {"lfw-plus": manifests["lfw-plus"]}, tmp_path, 10)
    assert verdicts(SAID, found)[0].holds is False


def test_table_1_counts(found: Measured) -> None:
    first = grid(found, "Table 1")
    counts = [first.entry(("LFW+",), column).here for column in first.paired]
    assert [one.value for one in counts if one] == [3, 2, 2, 2, 3, 2, 14]
    lap = first.entry(("LAP 2016",), "26-35").published
    assert lap is not None
    assert lap.counted == 2295
    _, _, rows = to_table(first, [])
    assert ["IMDB-Wiki", "here", "no data given", "", "", "", "", "", ""] in rows
    assert ["LAP 2016", "published", "919 n", "1,962 n", "2,295 n", "1,121 n", "920 n", "374 n", "7,591"] in rows


def test_the_report_is_three_files_without_pictures_of_people(found: Measured, tmp_path: Path) -> None:
    written = write_paper(found, tmp_path)
    assert [path.name for path in written] == ["paper-tables.json", "paper-tables.md", "paper-tables.html"]
    page = written[2].read_text()
    assert "http" not in page.split("</style>")[1].replace("https://www.w3.org", "")
    assert page.count("<img") == 2
    assert "pictures of people were not asked for" in page
    said = json.loads(written[0].read_text())
    (cell,) = [
        cell for cell in said["tables"][1]["cells"] if (cell["row"], cell["column"]) == (["SENet", "IMDB-Wiki"], "LFW+")
    ]
    assert cell["published"]["value"] is None
    assert cell["here"] == {"why": "no model given"}
    assert said["protocols"].keys() == {"lfw-plus", "lfw-plus-c", "lap-2016", "adience", "cross-dataset"}
    text = written[1].read_text()
    assert "| SENet | VMAGE | unknown" not in text
    assert "unknown [" in text
    assert write_paper(found, tmp_path, faces=4)[2].read_text().count("<img") == 3


def test_a_page_of_nothing_but_data(manifests: dict[str, Path], tmp_path: Path) -> None:
    found = measure({}, {"mine": manifests["mine"]}, tmp_path, 10)
    shown = {title.split(":")[0]: rows for title, _, rows in tables(SAID, found, grids(SAID, found))}
    assert all(row[-1] in ("no data given", "-") for row in shown["Table 3"])
    assert all(row[2] == "cannot be said" for row in shown["Does the paper's order hold here?"])
    write_paper(found, tmp_path, faces=3)


def test_how_a_cell_is_shown() -> None:
    assert published_text(Cell(printed=5.4, about=True), "years") == "~5.4"
    assert published_text(Cell(charts=8.404), "years") == "8.40 c"
    assert published_text(Cell(printed=0.3033, charts=0.30327), "epsilon") == "0.3033"
    assert published_text(Cell(says="few"), "faces", ["many", "few"]) == "unknown [2]"
    assert here_text(Entry(None, Estimate(0.5, (0.25, 0.75), 9), ""), "percent") == "50.0 [25.0, 75.0]"
    assert here_text(Entry(None, Estimate(1234.0, None, 9), "", None, True), "faces") == "~1,234"


def test_what_cannot_be_is_one_line(manifests: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no manifest is given"):
        measure({}, {}, tmp_path)
    one = predict_manifest(Bright(), manifests["mine"], tmp_path / "1.parquet", name="a 1")
    two = predict_manifest(Bright(), manifests["lfw-plus"], tmp_path / "2.parquet", name="a 2")
    with pytest.raises(ManifestError, match="a is a 1 and a 2: give two models two names"):
        measure({"a": Entrant((one, two))}, {"x": manifests["mine"], "y": manifests["lfw-plus"]}, tmp_path, 5)
    few = predict_cells(lambda: Bright(), manifests["mine"], tmp_path / "few", name="a 1", kinds=["pixelate"])
    with pytest.raises(ManifestError, match="Table 6 needs all of the 13 kinds"):
        measure({"a": Entrant((few,))}, {"x": manifests["mine"]}, tmp_path, 5)
