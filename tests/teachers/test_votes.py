"""Votes in a column: what comes back is what went in within the bounds that are promised, and null is not a vote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from agewise.ages import AGES, AgeDistribution
from agewise.teachers.votes import FORMS, LEAST, read_votes, votes_column, votes_type

Votes = NDArray[np.float32]


@pytest.fixture
def votes() -> Votes:
    """Narrow, wide, two-humped, exact and flat distributions of 60 faces and 3 members; holes in the last one's."""
    rng = np.random.default_rng(0)
    means, stds = rng.uniform(0, 100, (4, 180)), rng.uniform(0, 25, (4, 180))
    parts = [AgeDistribution.gaussian(mean, std).probs for mean, std in zip(means, stds, strict=True)]
    probs = np.tensordot(rng.dirichlet([0.3] * 4), parts, axes=1).reshape(60, 3, 101)
    probs[0, 0] = 1 / 101
    probs[1, 0] = np.eye(101)[12]
    probs[2, 0] = 0.98 * np.eye(101)[100] + 0.02 * np.eye(101)[0]
    probs[5:40, 2] = np.nan
    probs[50] = np.nan  # the votes on this face were not kept
    return probs.astype(np.float32)


def stored(column: pa.Array, path: Path) -> pa.ChunkedArray:
    pq.write_table(pa.table({"votes": column}), path, row_group_size=17, compression="zstd")
    return pq.read_table(path)["votes"]


@pytest.mark.parametrize("form", FORMS)
def test_they_come_back_from_parquet(tmp_path: Path, votes: Votes, form: str) -> None:
    column = votes_column(votes, form)
    assert column.type == votes_type(3, form)
    assert len(column) == 60
    assert column.null_count == 1
    read = read_votes(stored(column, tmp_path / "votes.parquet"))
    assert read.dtype == np.float32
    assert (np.isnan(read) == np.isnan(votes)).all()
    assert np.nansum(read, axis=2)[~np.isnan(votes).any(axis=2)] == pytest.approx(1.0, abs=1e-6)
    assert np.array_equal(read, read_votes(column), equal_nan=True)
    assert np.array_equal(read_votes(column.slice(4, 50)), read[4:54], equal_nan=True)
    keep = np.arange(60) % 7 > 2
    assert np.array_equal(read_votes(column.filter(pa.array(keep))), read[keep], equal_nan=True)


def errors(votes: Votes, form: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Largest probability, largest error of a probability, and error of the mean age, of each vote."""
    asked = ~np.isnan(votes).any(axis=2)
    before, after = votes[asked].astype(float), read_votes(votes_column(votes, form))[asked].astype(float)
    return before.max(axis=1), np.abs(after - before).max(axis=1), np.abs((after - before) @ AGES)


def test_quantised_is_within_its_bounds(votes: Votes) -> None:
    most, prob, mean = errors(votes, "quantised")
    assert (prob <= most / 253 + 1e-6).all()
    assert (mean <= 0.2 * most + 1e-4).all()
    assert mean.max() > 1e-4  # there is something to bound


def test_quantised_keeps_what_is_exact(votes: Votes) -> None:
    read = read_votes(votes_column(votes, "quantised"))
    assert read[1, 0].tolist() == np.eye(101)[12].tolist()
    assert read[0, 0] == pytest.approx(votes[0, 0], abs=1e-7)


def test_float16_is_within_its_bounds(votes: Votes) -> None:
    most, prob, mean = errors(votes, "float16")
    assert (prob <= most / 1024).all()
    assert mean.max() < 0.05


def test_sparse_leaves_out_only_what_is_small(votes: Votes) -> None:
    column = votes_column(votes, "sparse")
    kept = column[3][0].as_py()
    probs = votes[3, 0].astype(float) / votes[3, 0].sum()
    assert [pair["age"] for pair in kept] == np.flatnonzero(probs >= LEAST).tolist()
    assert [pair["prob"] for pair in kept] == pytest.approx(probs[probs >= LEAST], rel=1e-3)
    assert errors(votes, "sparse")[1].max() < 102 * LEAST


def test_a_distribution_below_every_threshold_keeps_its_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agewise.teachers.votes.LEAST", 0.5)
    votes = AgeDistribution.gaussian([40.0], [9.0]).probs[:, None].astype(np.float32)
    assert read_votes(votes_column(votes, "sparse")).argmax(axis=2).tolist() == [[40]]


@pytest.mark.parametrize("form", FORMS)
def test_no_faces_and_faces_without_votes(tmp_path: Path, votes: Votes, form: str) -> None:
    assert read_votes(votes_column(votes[:0], form)).shape == (0, 3, 101)
    nothing = votes_column(np.full((4, 2, 101), np.nan, np.float32), form)
    assert nothing.null_count == 4
    assert nothing.type == pa.nulls(1, votes_type(2, form)).type
    assert np.isnan(read_votes(stored(nothing, tmp_path / "votes.parquet"))).all()
    mixed = pa.chunked_array([votes_column(votes[:3], form), pa.nulls(2, votes_type(3, form))])
    assert np.isnan(read_votes(mixed)).all(axis=(1, 2)).tolist() == [False, False, False, True, True]


def test_a_smooth_distribution_takes_a_small_part_of_its_floats(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    probs = AgeDistribution.gaussian(rng.uniform(5, 80, 1200), rng.uniform(3, 9, 1200)).probs
    votes = (probs * rng.uniform(0.9, 1.1, probs.shape)).reshape(300, 4, 101).astype(np.float32)
    sizes = {}
    for form in FORMS:
        stored(votes_column(votes, form), path := tmp_path / f"{form}.parquet")
        sizes[form] = path.stat().st_size / 1200
    assert sizes["quantised"] < 101
    assert sizes["quantised"] < sizes["sparse"] < 404
    assert sizes["quantised"] < sizes["float16"] < 404


def test_what_is_refused(votes: Votes) -> None:
    with pytest.raises(ValueError, match=r"no form of votes 'float8'; there are quantised, float16, sparse"):
        votes_column(votes, "float8")
    with pytest.raises(ValueError, match=r"votes have shape \(60, 101\); \(N, M, 101\)"):
        votes_column(votes[:, 0])
    for wrong in (-0.1, np.inf, np.nan):
        bad = votes.copy()
        bad[7, 1, 3] = wrong
        with pytest.raises(ValueError, match="a vote is no distribution"):
            votes_column(bad)
    with pytest.raises(ValueError, match="a vote is no distribution"):
        votes_column(np.zeros((1, 1, 101), np.float32))
    with pytest.raises(ValueError, match=r"a column of .*double.* holds no votes"):
        read_votes(pa.array([[0.5, 0.5]]))
