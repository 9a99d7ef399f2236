"""MegaAge: parallel lists, and the spread of a published distribution."""

from __future__ import annotations

from pathlib import Path

import pytest

from agewise.data.sources.tree import SourceError
from tests.data.sources.layouts import imported, text, written


def test_names_ages_and_spreads(tmp_path: Path) -> None:
    read = imported("megaage", written("megaage", tmp_path / "set"))
    row = read["set/train/1.jpg"]
    assert (row["age"], row["age_kind"], row["split"]) == (30, "apparent", "train")
    assert row["age_std"] == pytest.approx(0.5**0.5)  # of 1/4, 1/2, 1/4 over three years
    assert read["set/train/2.jpg"]["age_std"] == 0
    assert (read["set/test/1.jpg"]["age"], read["set/test/1.jpg"]["age_std"]) == (70, None)
    assert read.reasons == {"test/5.jpg": "the image file is missing"}
    assert read.remarks == ["no list/test_dis.txt: age_std of test is not known"]


def test_lists_of_different_lengths_are_refused(tmp_path: Path) -> None:
    root = written("megaage", tmp_path / "set")
    text(root, "list/train_age.txt", "30")
    with pytest.raises(SourceError, match="have not the same number of lines"):
        imported("megaage", root)


@pytest.mark.parametrize("chances", ["0 0 0", "a b", "-1 2"])
def test_what_is_no_distribution_has_no_spread(chances: str, tmp_path: Path) -> None:
    root = written("megaage", tmp_path / "set")
    text(root, "list/train_dis.txt", chances, "0 0 1 0 0")
    assert imported("megaage", root)["set/train/1.jpg"]["age_std"] is None
