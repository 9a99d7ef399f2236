"""The kernel readout against extended precision and closed forms, where naive weights are all zero, and from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from agewise.ages import AGES, AgeDistribution
from agewise.data.manifest import ManifestError, metadata, probs_column, write_manifest
from agewise.teachers.ensemble import Ensemble
from agewise.teachers.readout import (
    ALPHA,
    Bank,
    kernel_readout,
    kernel_weights,
    mode_spread,
    read_out_features,
)

RNG = np.random.default_rng(5)
TRAIN = AgeDistribution.gaussian(RNG.uniform(0, 100, 40), RNG.uniform(2, 12, 40)).probs
TEST = AgeDistribution.gaussian(RNG.uniform(0, 100, 30), RNG.uniform(2, 12, 30)).probs
LABELS = RNG.uniform(0, 100, 40)


def exact(train: Any, ages: Any, test: Any, alpha: float) -> NDArray[np.longdouble]:
    """The definition, in the processor's 80-bit floats, whose least number is near 1e-4932."""
    train, ages, test = (np.asarray(values, dtype=np.longdouble) for values in (train, ages, test))
    weights = np.exp(-np.longdouble(alpha) * ((test[:, None] - train[None]) ** 2).sum(axis=2))
    return (weights * ages).sum(axis=1) / weights.sum(axis=1)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 30.0, 1000.0])
def test_ages_are_those_of_the_definition(alpha: float) -> None:
    found = kernel_readout(TRAIN, LABELS, TEST, alpha)
    np.testing.assert_allclose(found, exact(TRAIN, LABELS, TEST, alpha).astype(float), rtol=1e-11)
    if alpha == 0:
        np.testing.assert_allclose(found, LABELS.mean())


def test_two_training_faces_by_hand() -> None:
    """Squared distances of (0.9, 0.1): to (1, 0) 0.01 + 0.01, to (0, 1) 0.81 + 0.81."""
    weights = np.exp([-3 * 0.02, -3 * 1.62])
    expected = (20 * weights[0] + 60 * weights[1]) / weights.sum()
    assert kernel_readout([[1, 0], [0, 1]], [20, 60], [[0.9, 0.1]], 3.0)[0] == pytest.approx(expected, rel=1e-12)


def test_weights_that_all_underflow() -> None:
    """One-hot distributions are 2 apart, so that every weight is exp(-2000) or less: zero in double precision."""
    train = AgeDistribution.of_ages([10.0, 50.0, 50.5]).probs
    test = AgeDistribution.of_ages([80.0, 51.0]).probs
    naive = np.exp(-ALPHA * ((test[:, None] - train[None]) ** 2).sum(axis=2))
    assert naive[0].max() == 0
    found = kernel_readout(train, [12.0, 48.0, 49.0], test)
    assert found[0] == pytest.approx(49.0)  # the half-way face is 1.5 away, the others are 2
    assert found[1] == pytest.approx(49.0)
    even = kernel_readout(train[:2], [12.0, 48.0], test)
    assert even[0] == pytest.approx(30.0)  # both are equally far
    np.testing.assert_allclose(kernel_readout(train, [12.0, 48.0, 49.0], test), found)
    np.testing.assert_allclose(found, exact(train, [12.0, 48.0, 49.0], test, ALPHA).astype(float), rtol=1e-12)


def test_the_steepest_kernel_is_the_nearest_face() -> None:
    nearest = ((TEST[:, None] - TRAIN[None]) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_allclose(kernel_readout(TRAIN, LABELS, TEST, 1e9), LABELS[nearest], atol=1e-6)
    np.testing.assert_allclose(kernel_readout(TRAIN, LABELS, TRAIN, 1e9), LABELS, atol=1e-6)


@pytest.mark.parametrize("cells", [1, 40, 123, 10**6])
def test_the_size_of_a_block_changes_nothing(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    whole = kernel_readout(TRAIN, LABELS, TEST)
    monkeypatch.setattr("agewise.teachers.readout.CELLS", cells)
    blocks = list(kernel_weights(TRAIN, TEST))
    assert len(blocks[0]) == min(30, max(1, cells // 40))
    assert max(block.size for block in blocks) <= max(cells, 40)
    np.testing.assert_allclose(np.concatenate(blocks).sum(axis=1), 1.0)
    np.testing.assert_allclose(kernel_readout(TRAIN, LABELS, TEST), whole, rtol=1e-12)


def test_no_test_face_has_no_age() -> None:
    assert kernel_readout(TRAIN, LABELS, np.empty((0, 101))).shape == (0,)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"train_probs": np.empty((0, 101)), "train_ages": []}, "no training face to read out"),
        ({"train_ages": [3.0]}, "1 labels for 40 training faces; one each is needed"),
        ({"train_ages": np.full(40, np.nan)}, "row 0 has the age nan; 0..122 years is allowed"),
        ({"test_probs": TEST[:, :90]}, r"distributions have shapes \(40, 101\) and \(30, 90\)"),
        ({"test_probs": TEST[0]}, r"shapes \(40, 101\) and \(101,\)"),
        ({"test_probs": np.full((1, 101), np.nan)}, "a distribution holds a value that is no number"),
        ({"alpha": -1.0}, "alpha is -1; a finite number of at least 0"),
        ({"alpha": np.inf}, "alpha is inf"),
        ({"alpha": np.nan}, "alpha is nan"),
    ],
)
def test_what_cannot_be_read_out(change: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        kernel_readout(**{"train_probs": TRAIN, "train_ages": LABELS, "test_probs": TEST, **change})


def test_the_spread_of_the_argmaxes_is_that_of_four_numbers() -> None:
    votes = [AgeDistribution.gaussian([age, 30.0], [3.0, 4.0]) for age in (20.0, 24.0, 28.0, 36.0)]
    # mean 27, squares 49 + 9 + 1 + 81 = 140
    assert mode_spread(votes) == pytest.approx([(140 / 3) ** 0.5, 0.0])
    with pytest.raises(ValueError, match="the spread of 1 network's ages is not defined; 2 or more"):
        mode_spread(votes[:1])


# A bank of training faces


def bank(alpha: float = ALPHA) -> Bank:
    return Bank(AgeDistribution(TRAIN), AgeDistribution.of_ages(LABELS), alpha, {"a": "1"})


def test_the_distribution_s_mean_is_dadl_s_age() -> None:
    for alpha in (3.0, 1000.0):
        found = bank(alpha).read_out(AgeDistribution(TEST))
        np.testing.assert_allclose(found.mean, kernel_readout(TRAIN, LABELS, TEST, alpha), rtol=1e-10)
    weights = next(kernel_weights(TRAIN, TEST))
    shares = np.zeros(101)  # face 0: each label's weight at the two years beside it
    for label, weight in zip(LABELS, weights[0], strict=True):
        shares[int(label)] += weight * (1 - label % 1)
        shares[int(label) + 1] += weight * (label % 1)
    np.testing.assert_allclose(bank().read_out(AgeDistribution(TEST)).probs[0], shares, atol=1e-14)


def test_labels_beyond_the_axis_count_as_its_end() -> None:
    old = Bank(AgeDistribution(TRAIN[:1]), AgeDistribution.of_ages([117.0]))
    assert old.read_out(AgeDistribution(TEST)).mean.tolist() == [100.0] * len(TEST)


def test_a_bank_is_saved_and_read(tmp_path: Path) -> None:
    kept = bank(300.0)
    kept.write(tmp_path / "bank.parquet")
    again = Bank.read(tmp_path / "bank.parquet")
    assert (again.alpha, again.models) == (300.0, {"a": "1"})
    np.testing.assert_allclose(again.ages, LABELS)
    np.testing.assert_allclose(again.seen.probs, TRAIN, atol=1e-7)
    given = AgeDistribution(TEST)
    np.testing.assert_allclose(again.read_out(given).mean, kept.read_out(given).mean, atol=1e-3)
    assert Bank.read(tmp_path / "bank.parquet", alpha=7.0).alpha == 7.0


def test_an_annotated_manifest_is_a_bank(tmp_path: Path) -> None:
    table = pa.table({"age": [20.0, None, 60.0], "age_probs": probs_column(AgeDistribution(TRAIN[:3]))})
    found = Bank.read(write_manifest(table, tmp_path / "m.parquet"))
    assert (found.ages.tolist(), found.alpha) == ([20.0, 60.0], ALPHA)
    np.testing.assert_allclose(found.seen.probs, TRAIN[[0, 2]], atol=1e-7)
    unknown = table.set_column(0, "age", pa.nulls(3, pa.float64()))
    with pytest.raises(ManifestError, match=r"none of its 3 rows has an age to read out"):
        Bank.read(write_manifest(unknown, tmp_path / "n.parquet"))
    with pytest.raises(ManifestError, match="no column age_probs"):
        Bank.read(write_manifest(table.select(["age"]), tmp_path / "o.parquet"))


def test_a_bank_needs_a_label_a_face() -> None:
    with pytest.raises(ValueError, match="39 labels for 40 training faces"):
        Bank(AgeDistribution(TRAIN), AgeDistribution.of_ages(LABELS[1:]))
    with pytest.raises(ValueError, match="no training face to read out"):
        Bank(AgeDistribution.concatenate([]), AgeDistribution.concatenate([]))


def test_a_readout_is_a_predictor() -> None:
    def predictor(crops: NDArray[np.uint8]) -> AgeDistribution:
        return AgeDistribution.gaussian(crops.mean(axis=(1, 2, 3)), 5.0)

    crops = np.stack([np.full((8, 8, 3), shade, np.uint8) for shade in (20, 55, 90)])
    seen = AgeDistribution.gaussian(AGES, 5.0)
    shifted = Bank(seen, AgeDistribution.of_ages(np.minimum(AGES + 7, 100)))
    answers = Ensemble([predictor], then=[shifted.read_out])(crops)
    assert answers.mean[:2] == pytest.approx(
        [27.0, 62.0], abs=0.01
    )  # what people of that distribution are, not its mean
    assert answers.std.max() < 5.0
    assert len(Ensemble([lambda _crops: AgeDistribution.concatenate([])], then=[shifted.read_out])(crops[:0])) == 0


# Files of features


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of features without running a network; keywords are columns."""

    def write(name: str, votes: list[NDArray[np.float64]], digest: str = "1", **columns: Any) -> Path:
        count = len(votes[0])
        made = {"row": pa.array(range(count)), **columns, "error": pa.nulls(count, pa.string())}
        for index, probs in enumerate(votes):
            made[f"probs_{index}"] = probs_column(AgeDistribution(probs))
        said = {"step": "features", "models": {str(index): digest for index in range(len(votes))}}
        return write_manifest(pa.table(made), tmp_path / f"{name}.parquet", said)

    return write


def test_from_files_to_ages(file_of: Callable[..., Path]) -> None:
    other = np.roll(TRAIN, 5, axis=1)
    train = file_of("train", [TRAIN, other], age=LABELS)
    test = file_of("test", [TEST, TEST[::-1]])
    known = Bank.of_features(train, alpha=30.0)
    mean, read, spread = read_out_features(test, known)
    both = (TEST + TEST[::-1]) / 2
    np.testing.assert_allclose(mean.probs, both, atol=1e-7)
    expected = kernel_readout((TRAIN + other) / 2, LABELS, both, 30.0)
    np.testing.assert_allclose(read.mean, expected, atol=1e-4)
    modes = TEST.argmax(axis=1)
    np.testing.assert_allclose(spread, np.abs(modes - modes[::-1]) / 2**0.5)
    assert known.models == metadata(train)["models"]


def test_soft_labels_count_by_their_mean(file_of: Callable[..., Path]) -> None:
    soft = AgeDistribution.gaussian([30.0, 44.0, 50.0], 4.0)
    ages = pa.array([None, 61.5, None])
    train = file_of("train", [TRAIN[:3]], age=ages, age_probs=probs_column(soft))
    assert Bank.of_features(train).ages == pytest.approx([30.0, 61.5, 50.0], abs=1e-4)


def test_training_features_without_labels(file_of: Callable[..., Path]) -> None:
    with pytest.raises(ManifestError, match="none of its 40 rows has an age to read out"):
        Bank.of_features(file_of("train", [TRAIN], age_low=[3.0] * 40, age_high=[9.0] * 40))


def test_features_of_other_networks_are_refused(file_of: Callable[..., Path], tmp_path: Path) -> None:
    known = Bank.of_features(file_of("train", [TRAIN], age=LABELS))
    with pytest.raises(ManifestError, match="its networks are not those of the bank"):
        read_out_features(file_of("test", [TEST], digest="2"), known)
    write_manifest(pa.table({"age": LABELS}), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match="not a file of features; agewise features writes one"):
        read_out_features(tmp_path / "m.parquet", known)
    assert np.isnan(read_out_features(file_of("one", [TEST]), known)[2]).all()
