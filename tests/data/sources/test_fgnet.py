"""FG-NET: labels of the names, five points of the sixty-eight."""

from __future__ import annotations

from pathlib import Path

from tests.data.sources.layouts import imported, written


def test_labels_and_points(tmp_path: Path) -> None:
    read = imported("fgnet", written("fgnet", tmp_path / "set"))
    row = read["set/images/001A02.JPG"]
    assert (row["age"], row["age_kind"], row["subject"]) == (2, "real", "001")
    assert row["source_landmarks"] == [31.5, 62, 36.5, 72, 67.5, 134, 48.5, 96, 54.5, 108]
    other = read["set/images/001A43a.JPG"]
    assert (other["age"], other["subject"], other["source_landmarks"]) == (43, "001", None)  # three points
    assert read["set/images/002A03.JPG"]["source_landmarks"] is None  # no file
    assert read.reasons == {"images/Thumbs.jpg": "the name is not [person]A[age].JPG"}


def test_the_left_of_the_image_comes_first_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    root = written("fgnet", tmp_path / "set")
    points = [f"{200 - n} {n}" for n in range(68)]
    (root / "points/001a02.pts").write_text("version: 1\r\nn_points: 68\r\n{\r\n" + "\r\n".join(points) + "\r\n}")
    marks = imported("fgnet", root)["set/images/001A02.JPG"]["source_landmarks"]
    assert marks == [164, 36, 169, 31, 133, 67, 146, 54, 152, 48]
