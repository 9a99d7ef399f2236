"""Rows of a manifest as training examples: which label counts, what is known of each age, how faces are weighed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader

from agewise.ages import AgeDistribution
from agewise.data.augmentation.augment import Augmentation
from agewise.data.dataset import Faces, labels
from agewise.data.manifest import COLUMNS, IMAGE, ManifestError, write_manifest
from agewise.data.stored import open_pictures, place_of
from agewise.data.weights import balanced_weights, even_weights
from agewise.faces.align import Window
from agewise.faces.image import encode_jpeg

GOOD = {"bytes": encode_jpeg(np.full((40, 40, 3), 90, np.uint8)), "path": None}


def table(**columns: Any) -> pa.Table:
    return pa.table({name: pa.array(column, COLUMNS[name]) for name, column in columns.items()})


def faces(path: Path, **columns: Any) -> Faces:
    return Faces(write_manifest(table(**columns), path / "faces.parquet"), Window(), 32)


def test_a_teacher_comes_before_the_age_and_the_age_before_its_group() -> None:
    told = AgeDistribution.gaussian([60.0], [5.0]).probs[0]
    given = table(
        age_probs=[told, None, None, None, told],
        age=[30.0, 30.0, 30.0, None, None],
        age_std=[None, None, 4.0, None, None],
        age_low=[20.0, 20.0, 20.0, 20.0, None],
        age_high=[29.0, 29.0, 29.0, 29.0, None],
    )
    targets, low, high, group_only = labels(given, Path("m"))
    assert targets[[0, 4]] == pytest.approx(np.stack([told, told]), abs=1e-6)
    assert targets[1] == pytest.approx(np.eye(101)[30])
    assert targets[2] == pytest.approx(AgeDistribution.gaussian([30.0], [4.0]).probs[0], abs=1e-6)
    assert targets[3][20:30] == pytest.approx(0.1)
    assert targets.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    # the age itself, or a group of completed years: 29.9 is still inside 20-29
    assert low[:4].tolist() == [30, 30, 30, 20]
    assert high[:4].tolist() == [30, 30, 30, 30]
    assert np.isnan([low[4], high[4]]).all()
    assert group_only.tolist() == [False, False, False, True, False]


def test_a_row_of_no_age_may_be_any_where_tasks_are_learned() -> None:
    given = table(age=[20.0, None], age_low=[None, None], age_high=[None, None])
    targets, low, high, group_only = labels(given, Path("m"), ageless=True)
    assert targets[1] == pytest.approx(np.full(101, 1 / 101))
    assert group_only.tolist() == [False, True]  # an interval of all ages: its likelihood is 1, whatever is predicted
    assert np.isnan([low[1], high[1]]).all()


def test_half_a_group_is_no_label() -> None:
    given = table(age=[20.0, None, None], age_low=[None, 3.0, 3.0], age_high=[None, 9.0, None])
    with pytest.raises(ManifestError, match="m: row 2 has no age, age_low and age_high, or age_probs"):
        labels(given, Path("m"))


def test_an_example(tmp_path: Path) -> None:
    found = faces(tmp_path, image=[GOOD, GOOD], age=[20.0, 50.0], weight=[None, 0.25])
    assert len(found) == 2
    assert [found[n]["weight"] for n in (0, 1)] == [1.0, 0.25]
    assert found[1]["crop"].shape == (32, 32, 3)
    assert np.abs(found[1]["crop"].numpy().astype(int) - 90).max() <= 1
    assert found[1]["target"].argmax() == 50


def test_a_random_view_depends_on_seed_epoch_and_row(tmp_path: Path, faces_of: Callable[..., Path]) -> None:
    path = faces_of(tmp_path / "faces.parquet", [30, 30])

    def pixels(seed: int, epoch: int, row: int) -> bytes:
        found = Faces(path, Window(), 32, Augmentation(), seed)
        found.epoch = epoch
        return bytes(found[row]["crop"].numpy())

    assert pixels(1, 0, 0) == pixels(1, 0, 0)
    assert len({pixels(1, 0, 0), pixels(2, 0, 0), pixels(1, 1, 0), pixels(1, 0, 1)}) == 4


def test_a_picture_beside_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "a.jpg").write_bytes(GOOD["bytes"])
    found = faces(tmp_path, image=[{"bytes": None, "path": "crops/a.jpg"}], age=[20.0])
    assert found[0]["crop"].shape == (32, 32, 3)


@pytest.mark.parametrize(
    "image",
    [
        {"bytes": b"no picture", "path": None},
        {"bytes": b"", "path": None},
        {"bytes": None, "path": "absent.jpg"},
        {"bytes": None, "path": None},
        None,
        {"bytes": encode_jpeg(np.zeros((20, 30, 3), np.uint8)), "path": None},
    ],
)
def test_a_picture_that_cannot_be_used_names_its_row(tmp_path: Path, image: Any) -> None:
    found = faces(tmp_path, image=[GOOD, image], age=[20.0, 30.0])
    with pytest.raises(ManifestError, match=r"faces\.parquet: row 1 has no square picture"):
        found[1]


def test_a_label_that_cannot_be_names_its_row_in_any_part(tmp_path: Path) -> None:
    images, ages = [GOOD] * 2500, [30.0] * 2500
    with pytest.raises(ManifestError, match=r"faces\.parquet: row 2400: age is 130; 0..122 years or null is allowed"):
        faces(tmp_path, image=images, age=[*ages[:2400], 130.0, *ages[2401:]])
    with pytest.raises(ManifestError, match=r"faces\.parquet: row 1234 has no age, age_low and age_high"):
        faces(tmp_path, image=images, age=[*ages[:1234], None, *ages[1235:]])
    with pytest.raises(ManifestError, match=r"faces\.parquet: row 0 has no age"):
        faces(tmp_path, image=images)


def test_labels_of_all_parts_are_those_of_the_whole(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count = 2300
    some = rng.random((3, count)) < 0.6
    told = AgeDistribution(rng.random((count, 101))).probs
    columns = {
        "age_probs": [list(row) if one else None for row, one in zip(told, some[0], strict=True)],
        "age": [float(age) if one else None for age, one in zip(rng.uniform(0, 100, count), some[1], strict=True)],
        "age_low": [20.0] * count,
        "age_high": [29.0] * count,
        "weight": [0.5 if one else None for one in some[2]],
    }
    found = faces(tmp_path, image=[GOOD] * count, **columns)
    whole = labels(table(**columns), Path("m"))
    given = (found.targets, found.low, found.high, found.group_only)
    assert all(np.array_equal(one, other) for one, other in zip(given, whole, strict=True))
    assert found.targets.dtype == found.weights.dtype == np.float32
    assert found.weights.tolist() == [0.5 if one else 1.0 for one in some[2]]


def test_faces_from_a_file_are_those_from_memory(
    tmp_path: Path, faces_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = faces_of(tmp_path / "faces.parquet", range(0, 60, 5))
    held = Faces(path, Window(), 32, Augmentation(), 3)
    monkeypatch.setattr("agewise.data.dataset.open_pictures", partial(open_pictures, held=0))
    stored = Faces(path, Window(), 32, Augmentation(), 3)
    assert place_of(path).exists()
    for row in (11, 0, 5):
        one, other = held[row], stored[row]
        assert one.keys() == other.keys() == {"crop", "target", "weight", "low", "high", "group_only", "tasks"}
        assert torch.equal(one["crop"], other["crop"])
        assert torch.equal(one["target"], other["target"])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_in_processes_reads_the_file(tmp_path: Path, faces_of: Callable[..., Path], workers: int) -> None:
    path = faces_of(tmp_path / "faces.parquet", range(0, 60, 5))
    found = Faces(path, Window(), 32, Augmentation(), 3)
    wanted = torch.stack([found[row]["crop"] for row in range(12)])
    found.images = open_pictures(path, held=0)
    batches = DataLoader(found, batch_size=5, num_workers=workers)
    assert torch.equal(torch.cat([batch["crop"] for batch in batches]), wanted)


def test_bodies_come_beside_the_faces(tmp_path: Path) -> None:
    tall = {"bytes": encode_jpeg(np.full((40, 20, 3), 200, np.uint8)), "path": None}
    given = table(image=[GOOD, GOOD], age=[20.0, 30.0]).append_column("body", pa.array([tall, None], IMAGE))
    path = write_manifest(given, tmp_path / "faces.parquet")
    found = Faces(path, Window(), 32, bodies=True)
    pairs = [found[row]["crop"] for row in (0, 1)]
    assert [tuple(pair.shape) for pair in pairs] == [(2, 32, 32, 3)] * 2
    assert int(pairs[0][1].max()) > 190
    assert int(pairs[1][1].max()) == 0


def test_no_row(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no row to learn from"):
        faces(tmp_path, image=pa.array([], IMAGE), age=[])


def test_balanced_weights_are_the_same_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = AgeDistribution.of_ages(np.linspace(3, 90, 50)).probs.astype(np.float32)
    whole = balanced_weights(targets, 0.5)
    monkeypatch.setattr("agewise.data.weights._BLOCK", 7)
    assert balanced_weights(targets, 0.5) == pytest.approx(whole, rel=1e-12)


def test_balanced_weights() -> None:
    targets = AgeDistribution.of_ages([30.0] * 90 + [80.0] * 10).probs.astype(np.float32)
    assert balanced_weights(targets, 0.0) == pytest.approx(1.0)
    even = balanced_weights(targets, 1.0)
    assert even.mean() == pytest.approx(1.0)
    assert even[:90].sum() == pytest.approx(even[90:].sum(), rel=1e-3)  # far apart, the smoothing cancels
    half = balanced_weights(targets, 0.5)
    assert half[-1] / half[0] == pytest.approx(3.0, rel=1e-3)  # the square root of nine times as rare


def test_even_weights_give_every_group_the_ages_of_all() -> None:
    ages = np.array([20.0] * 80 + [60.0] * 20 + [20.0] * 30 + [60.0] * 70)
    groups = np.array(["F"] * 100 + ["M"] * 100)
    targets = AgeDistribution.of_ages(ages).probs.astype(np.float32)
    weights = even_weights(targets, groups)
    assert weights.mean() == pytest.approx(1.0)
    for group in ("F", "M"):
        young = weights[(groups == group) & (ages == 20)].sum()
        assert young / weights[groups == group].sum() == pytest.approx(0.55, abs=0.001)  # 110 of all 200
    assert even_weights(targets, np.full(200, "all")) == pytest.approx(1.0)


def test_even_weights_are_bounded() -> None:
    ages = np.array([20.0] * 999 + [60.0] + [60.0] * 1000)
    targets = AgeDistribution.of_ages(ages).probs.astype(np.float32)
    weights = even_weights(targets, np.array(["F"] * 1000 + ["M"] * 1000))
    assert weights.max() / weights.min() < 7  # 500 to 1 without
