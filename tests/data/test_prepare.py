"""Photos and Parquet files -> a manifest of crops: faces found, labels kept, each reject with its reason."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from agewise.data import prepare as step
from agewise.data.manifest import COLUMNS, ManifestError, check_frame, metadata, read_manifest
from agewise.data.prepare import Prepared, prepare
from agewise.faces.detect import Detector
from agewise.faces.face import Face
from agewise.faces.image import images_below, read_photo


def jpeg(pixels: np.ndarray[Any, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def portrait() -> bytes:
    """The astronaut's head and shoulders: 240 x 240 pixels."""
    return jpeg(data.astronaut()[:240, 100:340])


@pytest.fixture(scope="module")
def wall() -> bytes:
    """A picture without a face."""
    return jpeg(data.brick()[:200, :200])


@pytest.fixture
def parquet(portrait: bytes, wall: bytes, tmp_path: Path) -> Path:
    """Seven rows: two good ones, and one of each kind of reject."""
    pictures = [portrait, portrait, portrait, wall, b"not a picture", portrait[:2000], portrait]
    table = pa.table(
        {
            "image": pa.array([{"bytes": p, "path": f"{n}.jpg"} for n, p in enumerate(pictures)], COLUMNS["image"]),
            "age": pa.array([38.0, float("nan"), 300.0, 20.0, 20.0, 20.0, None], pa.float64()),
            "sex": ["female", "female", "female", None, None, None, "female"],
            "prompted_age": [38, 38, 38, 20, 20, 20, 38],
        }
    )
    path = tmp_path / "in.parquet"
    pq.write_table(table, path)
    return path


def rejects_beside(target: Path) -> list[tuple[str, ...]]:
    with target.with_suffix(".rejects.csv").open(newline="") as stream:
        return [tuple(row) for row in csv.reader(stream)]


def test_faces_labels_and_rejects_of_a_parquet_file(parquet: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    done = prepare(parquet, target, size=96)
    assert (done.pictures, done.faces, len(done.rejects)) == (7, 2, 5)

    reasons = dict(done.rejects)
    assert list(reasons) == ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"]
    assert reasons["1.jpg"] == "age is nan; 0..122 years or null is allowed"
    assert reasons["2.jpg"] == "age is 300; 0..122 years or null is allowed"
    assert reasons["3.jpg"] == "no face found"
    assert reasons["4.jpg"].startswith("not an image file")
    assert reasons["5.jpg"].startswith("damaged image")
    assert rejects_beside(target) == [("picture", "reason"), *done.rejects]

    rows = read_manifest(target).to_pylist()
    assert [(row["age"], row["sex"], row["prompted_age"]) for row in rows] == [
        (38.0, "female", 38),
        (None, "female", 38),
    ]
    assert [row["image"]["path"] for row in rows] == ["0.jpg", "6.jpg"]
    assert metadata(target)["step"] == "prepare"
    assert (metadata(target)["frame"], metadata(target)["size"]) == ("aligned", 96)


def test_a_face_has_its_box_and_points_in_pixels_of_the_photo(parquet: Path, tmp_path: Path) -> None:
    prepare(parquet, tmp_path / "out.parquet", size=96)
    row = read_manifest(tmp_path / "out.parquet").to_pylist()[0]
    x0, y0, x1, y1 = row["box"]
    eye, other, nose, mouth, corner = np.reshape(row["landmarks"], (5, 2))
    assert 60 < x0 < eye[0] < nose[0] < other[0] < x1 < 190
    assert 60 < y0 < min(eye[1], other[1]) < nose[1] < mouth[1] < y1 < 190
    assert mouth[0] < corner[0]
    assert 0.5 < row["score"] <= 1.0
    assert row["faces"] == 1.0
    assert read_photo(row["image"]["bytes"]).pixels.shape == (96, 96, 3)


def test_the_square_crop_has_the_margin_asked_for(parquet: Path, tmp_path: Path) -> None:
    """The middle of a crop with a margin of a half is the crop without, twice as coarse."""
    prepare(parquet, tmp_path / "s.parquet", size=96, frame="square")
    prepare(parquet, tmp_path / "m.parquet", size=192, frame="square", margin=0.5)
    plain, wide = (
        read_photo(read_manifest(tmp_path / name)["image"][0].as_py()["bytes"]).pixels.astype(float)
        for name in ("s.parquet", "m.parquet")
    )
    assert np.abs(wide[48:144, 48:144] - plain).mean() < 3
    check_frame(tmp_path / "m.parquet", "square", 0.5)
    with pytest.raises(ManifestError, match=r"its crops have a margin of 0\.5; 0 is needed"):
        check_frame(tmp_path / "m.parquet", "square")
    with pytest.raises(ManifestError, match=r"the margin is 0\.5 of the aligned frame; 0\.\.2 of the square one"):
        prepare(parquet, tmp_path / "a.parquet", margin=0.5)


def test_the_square_crop_is_another_crop_of_the_same_face(parquet: Path, tmp_path: Path) -> None:
    prepare(parquet, tmp_path / "a.parquet", size=96)
    prepare(parquet, tmp_path / "s.parquet", size=96, frame="square")
    aligned, square = (read_manifest(tmp_path / name).to_pylist()[0] for name in ("a.parquet", "s.parquet"))
    assert aligned["box"] == square["box"]
    crops = [read_photo(row["image"]["bytes"]).pixels.astype(float) for row in (aligned, square)]
    assert np.abs(crops[0] - crops[1]).mean() > 10


def test_a_folder_of_photos(portrait: bytes, wall: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "b.JPG").write_bytes(portrait)
    (folder / "a.png").write_bytes(wall)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / ".hidden.jpg").write_bytes(portrait)
    (folder / "notes.txt").write_text("no picture")
    done = prepare(folder, tmp_path / "out.parquet", size=64)
    assert (done.pictures, done.faces) == (3, 1)
    assert done.rejects == [
        (str(folder / "a.png"), "no face found"),
        (str(folder / "empty.jpg"), "the file is empty"),
    ]
    assert read_manifest(tmp_path / "out.parquet")["image"].to_pylist()[0]["path"] == str(folder / "deep" / "b.JPG")


def test_a_photo_on_its_side_is_read_upright(tmp_path: Path) -> None:
    upright = data.astronaut()[:240, 100:340]
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    (tmp_path / "side.jpg").write_bytes(jpeg(np.rot90(upright).copy(), exif=exif))
    (tmp_path / "upright.jpg").write_bytes(jpeg(upright))
    boxes = []
    for name in ("side", "upright"):
        prepare(tmp_path / f"{name}.jpg", tmp_path / f"{name}.parquet", size=64)
        boxes.append(read_manifest(tmp_path / f"{name}.parquet")["box"].to_pylist()[0])
    np.testing.assert_allclose(boxes[0], boxes[1], atol=2.0)


def test_of_two_faces_the_nearest_to_the_centre_or_each(portrait: bytes, tmp_path: Path) -> None:
    one = read_photo(portrait).pixels
    canvas = np.full((260, 620, 3), 128, dtype=np.uint8)
    canvas[10:250, 10:250] = one
    canvas[10:250, 330:570] = one
    (tmp_path / "two.jpg").write_bytes(jpeg(canvas))
    assert prepare(tmp_path / "two.jpg", tmp_path / "one.parquet", size=64).faces == 1
    assert prepare(tmp_path / "two.jpg", tmp_path / "each.parquet", size=64, every_face=True).faces == 2
    centres = {
        name: [(box[0] + box[2]) / 2 for box in read_manifest(tmp_path / name)["box"].to_pylist()]
        for name in ("one.parquet", "each.parquet")
    }
    left, right = sorted(centres["each.parquet"])
    assert right - left == pytest.approx(320, abs=5)
    for name in ("one.parquet", "each.parquet"):
        assert set(read_manifest(tmp_path / name)["faces"].to_pylist()) == {2.0}
    assert centres["one.parquet"] == [min((left, right), key=lambda x: abs(x - 310))]


class Interrupted(Detector):
    """A detector that is killed at its n-th photo, and counts."""

    def __init__(self, last: int) -> None:
        super().__init__(threads=1)
        self.last, self.seen = last, 0

    def __call__(self, image: np.ndarray[Any, Any]) -> list[Face]:
        self.seen += 1
        if self.seen > self.last:
            raise KeyboardInterrupt
        return super().__call__(image)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "PART_ROWS", 2)
    monkeypatch.setattr("agewise.data.crops.PART_ROWS", 2)


@pytest.mark.usefixtures("small_parts")
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(parquet: Path, tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole.parquet", tmp_path / "resumed.parquet"
    expected = prepare(parquet, whole, size=64, threads=1)
    with pytest.raises(KeyboardInterrupt):
        prepare(parquet, resumed, size=64, threads=1, detector=Interrupted(1))
    assert not resumed.exists()
    assert [path.name for path in (tmp_path / "resumed.parquet.parts").glob("*.parquet")] == ["000000.parquet"]

    rest = Interrupted(last=99)
    seen: list[tuple[int, int]] = []
    done = prepare(parquet, resumed, size=64, detector=rest, progress=lambda *at: seen.append(at))
    assert rest.seen == 2  # the wall and the last portrait: the first part was not looked at again
    assert seen == [(2, 7), (4, 7), (6, 7), (7, 7)]
    assert done == expected
    assert pq.read_table(resumed).equals(pq.read_table(whole), check_metadata=True)
    assert rejects_beside(resumed) == rejects_beside(whole)
    assert not (tmp_path / "resumed.parquet.parts").exists()


@pytest.mark.usefixtures("small_parts")
def test_parts_made_with_other_options_are_refused(parquet: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        prepare(parquet, target, size=64, threads=1, detector=Interrupted(1))
    with pytest.raises(ManifestError, match=r"begun with another size; delete it, or write to another file"):
        prepare(parquet, target, size=96)
    assert not target.exists()


@pytest.mark.usefixtures("small_parts")
def test_parts_made_of_another_file_are_refused(parquet: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        prepare(parquet, target, size=64, threads=1, detector=Interrupted(1))
    pq.write_table(pq.read_table(parquet).take([1, 0, 2, 3, 4, 5, 6]), parquet)
    with pytest.raises(ManifestError, match="begun with another content"):
        prepare(parquet, target, size=64)


@pytest.mark.usefixtures("small_parts")
def test_a_folder_whose_photos_changed_is_refused_or_done_anew(portrait: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (folder / name).write_bytes(portrait)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path / "out.parquet", size=64, threads=1, detector=Interrupted(2))
    (folder / "a.jpg").rename(folder / "z.jpg")
    with pytest.raises(ManifestError, match="begun with another"):
        prepare(folder, tmp_path / "out.parquet", size=64)


def refused(call: Callable[[], Prepared]) -> str:
    with pytest.raises(ManifestError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_source_that_cannot_be_used_is_refused_in_one_line(parquet: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    blind = tmp_path / "blind.parquet"
    pq.write_table(pq.read_table(parquet).drop_columns(["image"]), blind)
    assert refused(lambda: prepare(blind, target)).endswith("no column image; it has age, sex, prompted_age")
    (tmp_path / "nothing").mkdir()
    assert "no picture there" in refused(lambda: prepare(tmp_path / "nothing", target))
    assert "no such file or folder" in refused(lambda: prepare(tmp_path / "absent", target))
    assert "crop size is 5000 pixels; 32..1024" in refused(lambda: prepare(parquet, target, size=5000))
    assert not target.exists()
    assert not target.with_name("out.parquet.parts").exists()


def test_photos_are_listed_in_order(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.png", "c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in images_below(tmp_path)] == ["a.png", "b.jpg"]


@pytest.mark.usefixtures("small_parts")
def test_column_types_are_kept_in_a_part_where_every_picture_is_a_reject(parquet: Path, tmp_path: Path) -> None:
    some = tmp_path / "some.parquet"
    pq.write_table(pq.read_table(parquet).take([3, 4, 0]), some)
    assert prepare(some, tmp_path / "out.parquet", size=64).faces == 1
    assert pq.read_schema(tmp_path / "out.parquet").field("prompted_age").type == pa.int64()


def test_no_face_at_all_is_an_error_that_leaves_only_the_rejects(parquet: Path, tmp_path: Path) -> None:
    none = tmp_path / "none.parquet"
    pq.write_table(pq.read_table(parquet).slice(3, 2), none)
    with pytest.raises(ManifestError, match="none of 2 pictures gave a face"):
        prepare(none, tmp_path / "out.parquet", size=64)
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.rejects.csv"]


def test_the_source_is_not_overwritten_and_a_finished_manifest_is_not_made_again(parquet: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="is the source"):
        prepare(parquet, parquet, size=64)
    first = prepare(parquet, tmp_path / "out.parquet", size=64)
    assert prepare(parquet, tmp_path / "out.parquet", size=64, detector=Interrupted(0)) == first
    with pytest.raises(ManifestError, match="was not made so from this source"):
        prepare(parquet, tmp_path / "out.parquet", size=96)


def test_paths_in_a_manifest_are_relative_to_it(portrait: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(portrait)
    shutil.copy(tmp_path / "a.jpg", tmp_path / "b.jpg")
    table = pa.table({"image": pa.array([{"bytes": None, "path": n} for n in ("a.jpg", "b.jpg")], COLUMNS["image"])})
    pq.write_table(table, tmp_path / "in.parquet")
    assert prepare(tmp_path / "in.parquet", tmp_path / "out.parquet", size=64).faces == 2


def test_a_row_without_a_picture_is_a_reject(portrait: bytes, tmp_path: Path) -> None:
    images = [None, {"bytes": None, "path": None}, {"bytes": portrait, "path": None}]
    pq.write_table(pa.table({"image": pa.array(images, COLUMNS["image"])}), tmp_path / "in.parquet")
    done = prepare(tmp_path / "in.parquet", tmp_path / "out.parquet", size=64)
    assert done.faces == 1
    assert done.rejects == [("row 0", "no image in the row"), ("row 1", "no image in the row")]
