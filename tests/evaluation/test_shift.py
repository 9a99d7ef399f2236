"""What a changed file does to answers, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from agewise.ages import AgeDistribution
from agewise.data.manifest import ManifestError, probs_column, write_manifest
from agewise.evaluation.shift import Limits, shift

AGES = np.repeat([2.0, 25.0, 45.0], [40, 40, 10])
SEX = ["F", "M"] * 45


def predictions(path: Path, name: str, errors: np.ndarray, half_width: float = 10.0, **columns: pa.Array) -> Path:
    """Predictions whose means are off by `errors` (N,), within an interval of +- half_width."""
    mean = AGES + errors
    table = {
        "age": AGES,
        "sex": SEX,
        "row": np.arange(len(AGES)),
        "age_probs": probs_column(AgeDistribution.gaussian(np.clip(mean, 0, 100), np.full(len(AGES), 4.0))),
        "mean": mean,
        "std": np.full(len(AGES), 4.0),
        "low": mean - half_width,
        "high": mean + half_width,
        "error": pa.nulls(len(AGES), pa.string()),
        **columns,
    }
    said = {"step": "predict", "name": name, "manifest": "faces.parquet", "content": "0"}
    return write_manifest(pa.table(table), path, said)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Before, all are 1 year too old; after, the ten of 45 are 9 too old, and women of 25 2."""
    after = np.where(AGES == 45, 9.0, 1.0)
    after[(AGES == 25) & (np.array(SEX) == "F")] = 2.0
    before = predictions(tmp_path / "a.parquet", "a", np.ones(len(AGES)))
    return before, predictions(tmp_path / "b.parquet", "b", after, half_width=8.0)


def test_parts_before_and_after(files: tuple[Path, Path]) -> None:
    found = shift(*files)
    rises = {(part.column, part.name): (part.faces, round(part.rise, 6)) for part in found.parts}
    assert rises == {
        ("all", "all"): (90, round((10 * 8 + 20) / 90, 6)),
        ("age", "0-3"): (40, 0.0),
        ("age", "20-29"): (40, 0.5),
        ("age", "40-49"): (10, 8.0),
        ("sex", "F"): (45, round((5 * 8 + 20) / 45, 6)),
        ("sex", "M"): (45, round(5 * 8 / 45, 6)),
    }
    assert found.overall.before == pytest.approx(1.0)
    assert (found.metric, found.manifest) == ("mae", "faces.parquet")


def test_answers_that_move_and_what_they_cover(files: tuple[Path, Path]) -> None:
    found = shift(*files)
    assert found.moved == pytest.approx((10 * 8 + 20) / 90)
    # the low bound moves by the error and + 2, the high one by the error and - 2
    change = {0.0: (2 + 2) / 2, 1.0: (3 + 1) / 2, 8.0: (10 + 6) / 2}
    assert found.bounds == pytest.approx((60 * change[0.0] + 20 * change[1.0] + 10 * change[8.0]) / 90)
    assert found.coverage == pytest.approx((1.0, 80 / 90))


def test_a_small_part_is_shown_and_refuses_nothing(files: tuple[Path, Path]) -> None:
    found = shift(*files, ["sex"])
    assert found.worst is not None
    assert (found.worst.column, found.worst.name) == ("sex", "F")
    assert list(found.beyond(Limits(2.0, 1.4, 2.0, 4.0))) == []
    assert list(found.beyond(Limits(2.0, 1.3, 2.0, 4.0))) == [
        "the mae of sex F rises by 1.33 years (1.00 -> 2.33, 45 faces); 1.3 is allowed"
    ]


def test_each_limit_refuses_alone(files: tuple[Path, Path]) -> None:
    found = shift(*files)
    wide = {"overall": 9.0, "part": 9.0, "moved": 9.0, "bounds": 9.0}
    assert list(found.beyond(Limits(**wide))) == []
    for name, start in {
        "overall": "the mae of all",
        "part": "the mae of sex F",
        "moved": "ages",
        "bounds": "the bo",
    }.items():
        (said,) = found.beyond(Limits(**{**wide, name: 0.1}))
        assert said.startswith(start)
        assert said.endswith("0.1 is allowed")


def test_the_same_answers_move_nothing(files: tuple[Path, Path], tmp_path: Path) -> None:
    found = shift(files[0], predictions(tmp_path / "c.parquet", "c", np.ones(len(AGES))))
    assert (found.moved, found.bounds, found.overall.rise) == (0.0, 0.0, 0.0)
    assert list(found.beyond(Limits(0.0, 0.0, 0.0, 0.0))) == []
    assert found.as_json()["parts"][0]["rise"] == 0.0


def test_no_face_with_both_answers(tmp_path: Path) -> None:
    failed = {"error": pa.array(["unreadable"] * len(AGES)), "mean": pa.nulls(len(AGES), pa.float64())}
    before = predictions(tmp_path / "a.parquet", "a", np.ones(len(AGES)))
    with pytest.raises(ManifestError, match="none of the 90 faces can be scored"):
        shift(before, predictions(tmp_path / "b.parquet", "b", np.ones(len(AGES)), **failed))
