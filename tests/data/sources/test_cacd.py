"""CACD: labels of the file names, parts of the ranks in the metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from agewise.data.sources.tree import SourceError
from tests.data.sources.layouts import imported, mat_cells, written


def test_age_and_name_come_from_the_file_and_the_part_from_the_rank(tmp_path: Path) -> None:
    read = imported("cacd", written("cacd", tmp_path / "set"))
    row = read["set/CACD2000/53_Robin_Williams_0001.jpg"]
    assert (row["age"], row["age_kind"], row["subject"], row["split"]) == (53.0, "real", "Robin_Williams", "valid")
    assert read["set/CACD2000/23_Penélope_Cruz_0002.jpg"]["split"] == "test"
    assert read["set/CACD2000/40_Ann_Lee_0001.jpg"]["split"] == "train"
    assert read["set/CACD2000/16_Bo_0001.jpg"]["split"] is None
    assert read.reasons == {"CACD2000/odd.jpg": "the name is not age_name_number.jpg"}


def test_without_metadata_the_part_is_unknown(tmp_path: Path) -> None:
    root = written("cacd", tmp_path / "set")
    (root / "celebrity2000_meta.mat").unlink()
    read = imported("cacd", root)
    assert set(read.column("split")) == {None}
    assert read.remarks == ["no celebrity2000_meta.mat: split is not known"]


def test_metadata_without_ranks_is_refused(tmp_path: Path) -> None:
    root = written("cacd", tmp_path / "set")
    meta = root / "celebrity2000_meta.mat"
    savemat(meta, {"celebrityImageData": {"name": mat_cells(["53_A_0001.jpg"]).T}})
    with pytest.raises(SourceError, match="no field rank; it has name"):
        imported("cacd", root)
    savemat(meta, {"celebrityData": np.zeros(3)})
    with pytest.raises(SourceError, match="holds no struct celebrityImageData"):
        imported("cacd", root)
