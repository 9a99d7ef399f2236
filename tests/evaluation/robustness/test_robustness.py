"""Corrupted manifests and cells of predictions: what is stored is what is computed, and scores equal plain NumPy."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from agewise import metrics
from agewise.ages import AgeDistribution
from agewise.data.manifest import (
    IMAGE,
    ManifestError,
    check_frame,
    fingerprint,
    metadata,
    read_manifest,
    write_manifest,
)
from agewise.deployment.runtime import OnnxModel
from agewise.evaluation.corruptions import CATEGORIES, CORRUPTIONS, cell_rng, corrupt
from agewise.evaluation.predictions import predict_manifest
from agewise.evaluation.robustness.cells import predict_cells
from agewise.evaluation.robustness.corrupted import corrupt_manifest
from agewise.evaluation.robustness.figure import heat_map
from agewise.evaluation.robustness.report import tables, to_json, to_markdown, write_robustness
from agewise.evaluation.robustness.scores import ALL, robustness
from agewise.evaluation.robustness.walk import CLEAN
from agewise.faces.image import encode_jpeg, read_photo


def bright(crops: NDArray[np.uint8]) -> AgeDistribution:
    """The fake model: the brighter, the older; noise makes it a little older too."""
    pixels = crops.astype(float)
    return AgeDistribution.gaussian((pixels.mean((1, 2, 3)) / 3 + pixels.std((1, 2, 3)) / 8).clip(0, 100), 4.0)


class Killed:
    """The fake model, whose process is killed at its n-th call."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return bright(crops)


def picture(value: float, side: int = 24) -> dict[str, Any]:
    rows = np.linspace(0, 40, side)[:, None, None] + value
    return {"bytes": encode_jpeg(np.broadcast_to(rows, (side, side, 3)).astype(np.uint8)), "path": f"{value:g}.jpg"}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def manifest(
        count: int, images: dict[int, Any] | None = None, frame: str | None = "aligned", **columns: Any
    ) -> Path:
        pictures = [picture(20 + 7 * row) for row in range(count)]
        for row, image in (images or {}).items():
            pictures[row] = image
        given = {"age": np.arange(count) * 3.0, **columns}
        known = {name: column for name, column in given.items() if column is not None}
        table = pa.table({"image": pa.array(pictures, IMAGE), **known})
        return write_manifest(table, tmp_path / "faces.parquet", {"frame": frame, "size": 24} if frame else None)

    return manifest


@pytest.fixture
def cells(tmp_path: Path) -> Callable[..., Path]:
    def run(manifest: Path, predictor: Any = bright, **options: Any) -> Path:
        given = {"name": "fake", "kinds": ["contrast_minus", "gaussian_noise"], "severities": [1, 5], **options}
        return predict_cells(lambda: predictor, manifest, tmp_path / given.pop("out", "out"), **given)

    return run


def opened(path: Path) -> OnnxModel:
    return OnnxModel(path, threads=1)


def test_a_corrupted_copy_holds_the_very_pixels_and_all_the_rest(write, tmp_path) -> None:
    clean = write(5, age_std=[1.0] * 5, sex=["F", "M", None, "F", "M"])
    target = tmp_path / "noisy.parquet"
    assert corrupt_manifest(clean, target, "shot_noise", 4, profile="released", seed=7) == []
    given, made = read_manifest(clean), read_manifest(target)
    assert made.drop_columns(["image"]).equals(given.drop_columns(["image"]))
    for row, (before, after) in enumerate(zip(given["image"].to_pylist(), made["image"].to_pylist(), strict=True)):
        wanted = corrupt(
            read_photo(before["bytes"]).pixels, "shot_noise", 4, cell_rng(7, str(row), "shot_noise", 4), "released"
        )
        np.testing.assert_array_equal(read_photo(after["bytes"]).pixels, wanted)
        assert after["bytes"].startswith(b"\x89PNG")
        assert after["path"] == before["path"]
    said = metadata(target)
    check_frame(target, "aligned")
    assert said["size"] == 24
    made_so = {"kind": "shot_noise", "severity": 4, "profile": "released", "seed": 7, "stored": "PNG"}
    assert said["corruption"] == made_so | {"manifest": "faces.parquet", "content": fingerprint(clean)}


def test_evaluating_the_copy_equals_the_cell_on_the_fly(write, cells, tmp_path) -> None:
    clean = write(6)
    corrupt_manifest(clean, tmp_path / "noisy.parquet", "gaussian_noise", 5)
    stored = read_manifest(predict_manifest(bright, tmp_path / "noisy.parquet", tmp_path / "p.parquet", name="fake"))
    cell = read_manifest(cells(clean) / "gaussian_noise.5.parquet")
    for name in ("row", "mean", "low", "high"):
        np.testing.assert_allclose(cell[name].to_numpy(), stored[name].to_numpy(), rtol=1e-12)


def test_a_corrupted_copy_goes_on_after_a_kill(write, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("agewise.data.crops.PART_ROWS", 2)
    clean = write(7)
    corrupt_manifest(clean, tmp_path / "whole.parquet", "gaussian_noise", 2)
    killed = tmp_path / "killed.parquet"

    def stop(done: int, _total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        corrupt_manifest(clean, killed, "gaussian_noise", 2, progress=stop)
    assert not killed.exists()
    with pytest.raises(ManifestError, match="begun with another severity"):
        corrupt_manifest(clean, killed, "gaussian_noise", 3)
    corrupt_manifest(clean, killed, "gaussian_noise", 2)
    assert pq.read_table(killed).equals(pq.read_table(tmp_path / "whole.parquet"))
    before = killed.stat().st_mtime_ns
    corrupt_manifest(clean, killed, "gaussian_noise", 2)
    assert killed.stat().st_mtime_ns == before
    with pytest.raises(ManifestError, match="was not made so"):
        corrupt_manifest(clean, killed, "gaussian_noise", 2, seed=1)


def test_what_cannot_be_corrupted_is_a_row_without_a_picture_and_a_reason(write, tmp_path) -> None:
    images = {1: {"bytes": b"no image", "path": "x.jpg"}, 2: picture(9, side=12), 4: picture(9, side=40)}
    clean = write(5, images)
    left = corrupt_manifest(clean, tmp_path / "c.parquet", "pixelate", 1)
    assert [row for row, _ in left] == [1, 2]
    assert "not an image" in left[0][1]
    assert left[1][1] == "the crop has 12 pixels a side; 16 are needed"
    made = read_manifest(tmp_path / "c.parquet")
    assert [image is None for image in made["image"].to_pylist()] == [False, True, True, False, False]
    assert corrupt_manifest(clean, tmp_path / "c.parquet", "pixelate", 1) == left


@pytest.mark.parametrize(
    ("kind", "severity", "options", "said"),
    [
        ("blur", 1, {}, r"no corruption 'blur'; there are gaussian_blur, .*pixelate, mask"),
        ("pixelate", 6, {}, "severity 6 of pixelate; 1 to 5 are allowed"),
        ("pixelate", 1, {"profile": "mine"}, "no profile 'mine'"),
    ],
)
def test_what_does_not_exist_is_one_line(write, cells, tmp_path, kind, severity, options, said) -> None:
    clean = write(3)
    with pytest.raises(ValueError, match=said):
        corrupt_manifest(clean, tmp_path / "c.parquet", kind, severity, **options)
    with pytest.raises(ValueError, match=said):
        cells(clean, Killed(0), kinds=[kind], severities=[severity], **options)
    assert not (tmp_path / "out").exists()


def test_manifests_that_cannot_be_used_are_one_line(write, cells, tmp_path) -> None:
    with pytest.raises(ManifestError, match="not known to be face crops; make them with agewise prepare"):
        corrupt_manifest(write(2, frame=None), tmp_path / "c.parquet", "pixelate", 1)
    with pytest.raises(ManifestError, match="not known to be face crops"):
        cells(write(2, frame=None))
    with pytest.raises(ManifestError, match="no row has a known age"):
        cells(write(2, age=None), Killed(0))
    with pytest.raises(ManifestError, match="no row in it"):
        cells(write(0), Killed(0))
    with pytest.raises(ManifestError, match="column mean would be overwritten"):
        cells(write(2, mean=[1.0, 2.0]), Killed(0))
    clean = write(2)
    with pytest.raises(ManifestError, match="is the manifest that is read"):
        corrupt_manifest(clean, clean, "pixelate", 1)
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        corrupt_manifest(clean, clean / "c.parquet", "pixelate", 1)
    with pytest.raises(ValueError, match="it exists and is not a file"):
        corrupt_manifest(clean, tmp_path, "pixelate", 1)
    corrupt_manifest(clean, tmp_path / "c.parquet", "pixelate", 2)
    with pytest.raises(ManifestError, match=r"corrupted already \(pixelate 2\)"):
        cells(tmp_path / "c.parquet")
    for options, said in (({"limit": 0}, "limit is 0"), ({"batch": 0}, "batch is 0"), ({"workers": 0}, "workers is 0")):
        with pytest.raises(ValueError, match=said):
            cells(clean, **options)


def test_a_model_that_returns_nan_or_too_little_is_one_line(write, cells) -> None:
    clean = write(3)
    with pytest.raises(ValueError, match=r"clean 0: rows 0\.\.2: the predictor fails: .* must be finite") as error:
        cells(clean, lambda crops: AgeDistribution(np.full((len(crops), 101), np.nan)))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="gives 2 faces for 3 crops"):
        cells(clean, lambda crops: bright(crops[:-1]))


def test_scores_equal_the_metrics(write, cells) -> None:
    """Each cell, each mean over severities and each difference to the clean one, by hand from the files."""
    clean = write(12, {5: None}, sex=["F", "M", None] * 4)
    folder = cells(clean)
    found = robustness(folder, ["sex", "hair"], resamples=50)
    true = np.delete(np.arange(12) * 3.0, 5)

    def read(kind: str, level: int) -> dict[str, NDArray[np.float64]]:
        table = pq.read_table(folder / f"{kind}.{level}.parquet")
        return {name: np.delete(table[name].to_numpy(), 5) for name in ("mean", "low", "high")}

    base = read(CLEAN, 0)
    assert found.clean.metrics["mae"].value == pytest.approx(metrics.mae(base["mean"], true))
    assert (found.clean.n, dict(found.clean.dropped)) == (11, {"no image in the row": 1})
    for kind in ("contrast_minus", "gaussian_noise"):
        for place, level in enumerate((1, 5)):
            cell, one = read(kind, level), found.cells[kind][place].metrics
            assert found.cells[kind][place].name == str(level)
            interval = np.column_stack([cell["low"], cell["high"]])
            wanted = {
                "mae": metrics.mae(cell["mean"], true),
                "bias": metrics.bias(cell["mean"], true),
                "coverage": metrics.coverage(interval, true),
                "shift": (cell["mean"] - base["mean"]).mean(),
                "rise": metrics.mae(cell["mean"], true) - metrics.mae(base["mean"], true),
            }
            assert {name: one[name].value for name in wanted} == pytest.approx(wanted)
        both = [score.metrics["mae"].value for score in found.cells[kind]]
        assert found.kinds[kind].metrics["mae"].value == pytest.approx(np.mean(both))
        low, high = found.kinds[kind].metrics["mae"].interval
        assert low < np.mean(both) < high
    assert found.means == {}  # two kinds of 13
    assert found.absent == ("hair",)
    women = [row for row in range(0, 12, 3) if row != 5]
    shown = next(one for one in found.groups["sex"][CLEAN] if one.name == "F")
    table = pq.read_table(folder / "clean.0.parquet")
    assert shown.metrics["mae"].value == pytest.approx(
        metrics.mae(table["mean"].to_numpy()[women], np.array(women) * 3.0)
    )


def test_means_are_of_all_the_papers_kinds_without_weights(write, cells) -> None:
    folder = cells(write(4), kinds=[*CORRUPTIONS, "mask"], severities=[1, 2, 3, 4, 5])
    found = robustness(folder, resamples=10)
    assert list(found.cells) == [*CORRUPTIONS, "mask"]
    mae = {kind: np.mean([one.metrics["mae"].value for one in scores]) for kind, scores in found.cells.items()}
    for title, kinds in {**CATEGORIES, ALL: tuple(CORRUPTIONS)}.items():
        assert found.means[title].metrics["mae"].value == pytest.approx(np.mean([mae[kind] for kind in kinds]))
    by_title = {title: rows for title, _, rows in tables(found)}
    (published,) = [rows for title, rows in by_title.items() if title.startswith("Published")]
    known = {row[0]: row for row in published}
    assert known[ALL][2:] == ["8.07", "7.87", "8.03", "8.19", "8.40", "7.96"]
    assert known["pixelate"][2:] == ["unknown"] * 6
    assert known["defocus_blur"][2] == "18.53"
    (folder / "pixelate.3.parquet").unlink()
    assert set(robustness(folder, resamples=10).means) == {"blur", "noise"}


def test_published_digits_agree_with_the_sums_that_must_hold() -> None:
    """The mean of 13 kinds is that of 4 blurs, 2 noises and 7 digital ones, up to the rounding of three terms."""
    from agewise.evaluation.published import read_published
    from agewise.evaluation.robustness.report import NETWORKS

    rows = [row for name in NETWORKS[1:] if (row := read_published().row(name))]
    assert len(rows) == 5
    for row in rows:
        found = [row.cell("lfw-plus-c", title).value for title in ("blur", "noise", "digital", ALL)]
        blur, noise, digital, every = (value for value in found if value is not None)
        assert (4 * blur + 2 * noise + 7 * digital) / 13 == pytest.approx(every, abs=0.012)


def test_the_number_of_processes_changes_nothing(write, tmp_path, tiny_model) -> None:
    clean, model = write(5), tiny_model(24)
    kinds = {"kinds": ["motion_blur"], "severities": [3, 5], "name": "tiny", "batch": 2}
    one = predict_cells(partial(opened, model), clean, tmp_path / "one", workers=1, **kinds)
    two = predict_cells(partial(opened, model), clean, tmp_path / "two", workers=2, **kinds)
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in two.iterdir())
    assert names == ["clean.0.parquet", "motion_blur.3.parquet", "motion_blur.5.parquet"]
    for name in names:
        assert pq.read_table(one / name).equals(pq.read_table(two / name))
        assert metadata(one / name) == metadata(two / name)


def test_the_limit_is_spread_over_the_faces_of_a_known_age(write, cells) -> None:
    ages = [None, 3.0, None, 9.0, 12.0, 15.0, None, 21.0, 24.0, 27.0]
    clean = write(10, age=ages)
    folder = cells(clean, limit=3)
    rows = pq.read_table(folder / "contrast_minus.5.parquet")["row"].to_pylist()
    assert rows == [1, 4, 7]  # of 1, 3, 4, 5, 7, 8, 9 those at 7 k / 3, rounded down
    everything = pq.read_table(cells(clean, out="all") / "contrast_minus.5.parquet")
    few = pq.read_table(folder / "contrast_minus.5.parquet")
    assert few["mean"].to_pylist() == pytest.approx([everything["mean"].to_pylist()[row] for row in rows])
    assert not (folder.parent / "crops.parquet").exists()
    assert len(pq.read_table(cells(clean, out="many", limit=99) / "clean.0.parquet")) == 7


def test_a_kill_costs_one_cell(write, cells) -> None:
    clean = write(4)
    with pytest.raises(KeyboardInterrupt):
        cells(clean, Killed(3), limit=4)
    asked = []

    def second(crops: NDArray[np.uint8]) -> AgeDistribution:
        asked.append(len(crops))
        return bright(crops)

    told: list[tuple[int, int]] = []
    folder = cells(clean, second, limit=4, progress=lambda done, total: told.append((done, total)))
    assert len(asked) == 2
    assert told == [(4, 5), (5, 5)]
    cells(clean, Killed(0), limit=4)  # nothing is left to do
    with pytest.raises(ManifestError, match="made with another name"):
        cells(clean, Killed(0), limit=4, name="other")
    with pytest.raises(ManifestError, match="made with another limit, seed"):
        cells(clean, Killed(0), seed=3)
    assert set(robustness(cells(clean, kinds=["pixelate"], severities=[2], limit=4)).cells) == {
        *("gaussian_noise", "contrast_minus", "pixelate")
    }
    assert folder.name == "cells"


def test_groups_of_ages_are_scored_by_their_excess(write, cells) -> None:
    clean = write(
        40,
        age=None,
        age_low=[float(5 * row // 2) for row in range(40)],
        age_high=[float(5 * row // 2 + 9) for row in range(40)],
    )
    folder = cells(clean)
    found = robustness(folder, resamples=20)
    cell = pq.read_table(folder / "gaussian_noise.5.parquet")
    low = np.array([5.0 * row // 2 for row in range(40)])
    wanted = metrics.excess(cell["mean"].to_numpy(), low, low + 9)
    assert found.cells["gaussian_noise"][1].metrics["excess"].value == pytest.approx(wanted)
    assert set(found.clean.metrics) == {"excess", "exact_group"}
    assert not [title for title, _, _ in tables(found) if title.startswith("Published")]


def test_one_face_is_scored_without_an_interval(write, cells, tmp_path) -> None:
    found = robustness(cells(write(1)), resamples=10)
    assert found.clean.metrics["mae"].interval is None
    assert [path.name for path in write_robustness(found, tmp_path / "r")] == [
        f"robustness.{ending}" for ending in ("json", "md", "png")
    ]


def test_nothing_readable_is_one_line(write, cells) -> None:
    folder = cells(write(2, dict.fromkeys(range(2))), Killed(0))
    with pytest.raises(ManifestError, match="none of the 2 faces can be scored: no image in the row"):
        robustness(folder)


def test_cells_of_other_faces_are_refused(write, cells, tmp_path) -> None:
    folder = cells(write(3))
    table = pq.read_table(folder / "contrast_minus.1.parquet")
    said = metadata(folder / "contrast_minus.1.parquet")
    write_manifest(table.set_column(0, "row", pa.array([0, 1, 3])), folder / "contrast_minus.1.parquet", said)
    with pytest.raises(ManifestError, match="other faces than in clean"):
        robustness(folder)
    with pytest.raises(ManifestError, match="no such manifest"):
        robustness(tmp_path / "none")


def test_the_report_is_strict_json_markdown_and_a_picture(write, cells, tmp_path) -> None:
    found = robustness(cells(write(8, sex=["F", "M"] * 4)), ["sex"], resamples=20)
    said = json.loads(to_json(found), parse_constant=pytest.fail)
    assert said["cells"]["gaussian_noise"]["5"]["metrics"]["mae"]["value"] > 0
    assert said["corruptions"] == {"profile": "paper", "seed": 0}
    text = to_markdown(found)
    assert "| clean | 8 |" in text
    assert "## mae by sex" in text
    assert "Published (Greco et al. 2021)" in text
    assert "| gaussian_noise | not all cells | unknown" in text  # two of five severities are not a published mean
    write_robustness(found, tmp_path / "r")
    with Image.open(tmp_path / "r" / "robustness.png") as drawn:
        assert drawn.size[0] > 1000
    texts = [item.get_text() for item in heat_map(found).axes[0].texts]
    assert f"{found.cells['contrast_minus'][0].metrics['mae'].value:.1f}" in texts
    assert len(texts) == 1 + 2 * 3  # the clean cell, and two severities and the mean of two kinds
