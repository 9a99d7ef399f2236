"""APPA-REAL: mean guesses, real ages or single votes, of the cut faces or of the photos."""

from __future__ import annotations

from pathlib import Path

import pytest

from agewise.data.sources.tree import SourceError
from tests.data.sources.layouts import imported, written


def test_apparent_ages_with_their_spread_and_the_real_age_beside(tmp_path: Path) -> None:
    read = imported("appa_real", written("appa_real", tmp_path / "set"))
    row = read["set/valid/000001.jpg_face.jpg"]
    assert (row["age"], row["age_std"], row["age_kind"]) == (21.5, 0.70710678, "apparent")
    assert (row["age_real"], row["votes"], row["split"]) == (19.0, 2, "valid")
    assert read.column("split") == ["train", "valid", "test"]


def test_real_ages_have_no_spread(tmp_path: Path) -> None:
    row = imported("appa_real", written("appa_real", tmp_path / "set"), labels="real", pictures="photos")[
        "set/test/000002.jpg"
    ]
    assert (row["age"], row["age_std"], row["age_kind"], row["age_apparent"]) == (20.0, None, "real", 22.5)


def test_votes_are_a_row_each(tmp_path: Path) -> None:
    read = imported("appa_real", written("appa_real", tmp_path / "set"), labels="votes")
    assert read.column("age") == [20, 21, 21, 22, 22, 23]
    assert read.column("vote") == [1, 2] * 3
    assert read.reasons == {}


def test_a_wrong_option_and_a_wrong_root_say_what_there_is(tmp_path: Path) -> None:
    root = written("appa_real", tmp_path / "set")
    with pytest.raises(SourceError, match="labels is 'true'; apparent, real, votes are allowed"):
        imported("appa_real", root, labels="true")
    with pytest.raises(SourceError, match=r"no gt_avg_train.csv or gt_avg_valid.csv or gt_avg_test.csv there"):
        imported("appa_real", root / "train")
