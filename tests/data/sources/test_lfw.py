"""LFW: people without ages, and the development view's parts."""

from __future__ import annotations

from pathlib import Path

from tests.data.sources.layouts import imported, written


def test_subjects_and_parts_without_ages(tmp_path: Path) -> None:
    read = imported("lfw", written("lfw", tmp_path / "set"))
    row = read["set/lfw/Ana_Li/Ana_Li_0002.jpg"]
    assert (row["subject"], row["split"], row["age"], row["age_kind"]) == ("Ana_Li", "train", None, None)
    assert read["set/lfw/Bo_Ek/Bo_Ek_0001.jpg"]["split"] == "test"
    assert read["set/lfw/Cy/Cy_0001.jpg"]["split"] is None
    assert read.reasons == {"lfw/Cy/stray.jpg": "the picture is not name/name_0001.jpg"}
