"""An import as a whole: paths, bytes, rejects, metadata, and what cannot be done."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from agewise.data.manifest import metadata, read_manifest
from agewise.data.prepare import prepare
from agewise.data.sources import SOURCES
from agewise.data.sources.importing import import_source
from agewise.data.sources.tree import SourceError
from tests.data.sources.layouts import PICTURE, imported, pictures, table_of, text, written


def paths(manifest: Path) -> list[str]:
    return [image["path"] for image in read_manifest(manifest)["image"].to_pylist()]


def test_paths_are_relative_below_the_manifest_and_absolute_elsewhere(tmp_path: Path) -> None:
    root = written("agedb", tmp_path / "set")
    for out in (tmp_path / "m.parquet", root / "m.parquet", tmp_path / "elsewhere/m.parquet"):
        import_source("agedb", root, out)
        for path in paths(out):
            assert (out.parent / path).read_bytes().startswith(PICTURE[:4])
    assert paths(tmp_path / "m.parquet")[0] == "set/0_MariaCallas_35_f.jpg"
    assert paths(root / "m.parquet")[0] == "0_MariaCallas_35_f.jpg"
    assert Path(paths(tmp_path / "elsewhere/m.parquet")[0]).is_absolute()


def test_a_manifest_moves_with_its_photos_also_through_links(tmp_path: Path) -> None:
    written("agedb", tmp_path / "disk/set")
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    import_source("agedb", tmp_path / "link/set", tmp_path / "link/m.parquet")
    shutil.move(tmp_path / "disk", tmp_path / "other")
    assert all((tmp_path / "other" / path).is_file() for path in paths(tmp_path / "other/m.parquet"))


def test_embedded_pictures_are_the_files_bytes(tmp_path: Path) -> None:
    root = written("agedb", tmp_path / "set")
    read = imported("agedb", root, embed=True)
    for row in read.rows:
        assert row["image"]["bytes"] == (root / row["image"]["path"]).read_bytes()


@pytest.mark.parametrize("source", sorted(set(SOURCES) - {"huggingface"}))
def test_a_zip_gives_the_rows_of_the_folder(source: str, tmp_path: Path) -> None:
    root = written(source, tmp_path / "set")
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", root))
    folder = imported(source, root, embed=True)
    packed = imported(source, archive, tmp_path / "packed.parquet")
    assert sorted(packed.rows, key=str) == sorted(folder.rows, key=str)
    assert packed.reasons == folder.reasons


def test_what_was_done_is_in_the_metadata_and_the_rejects_beside(tmp_path: Path) -> None:
    root = written("fairface", tmp_path / "set")
    out = tmp_path / "m.parquet"
    done = import_source("fairface", root, out)
    said = metadata(out)
    assert {key: said[key] for key in ("step", "source", "options", "embed", "remarks")} == {
        "step": "import",
        "source": "fairface",
        "options": {},
        "embed": False,
        "remarks": [],
    }
    assert said["root"] == str(root.resolve())
    assert sum(said["skipped"].values()) == len(done.skipped) == 3
    assert "frame" not in said
    assert sorted(table_of(tmp_path / "m.rejects.csv")[1:]) == sorted(list(pair) for pair in done.skipped)
    assert {path.name for path in tmp_path.iterdir()} == {"set", "m.parquet", "m.rejects.csv"}


def test_rows_come_in_parts_in_the_order_of_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agewise.data.sources.importing.PART_ROWS", 2)
    root = tmp_path / "set"
    names = [f"{n}.jpg" for n in range(7)]
    pictures(root, *names)
    lines = [f"{name},{n if n != 3 else 300}" for n, name in enumerate(names)]
    text(root, "labels.csv", "file,age", *lines)
    seen: list[int] = []
    out = tmp_path / "m.parquet"
    import_source("folder", root, out, progress=lambda done, _total: seen.append(done))
    assert read_manifest(out)["age"].to_pylist() == [0, 1, 2, 4, 5, 6]
    assert pq.ParquetFile(out).num_row_groups == 4
    assert seen == sorted(seen)
    assert seen[-1] >= 5


def test_a_truncated_picture_is_imported_and_a_missing_one_is_not(tmp_path: Path) -> None:
    root = tmp_path / "set"
    pictures(root, "cut.jpg")
    (root / "empty.jpg").touch()
    text(root, "labels.csv", "file,age", "cut.jpg,30", "empty.jpg,31", "gone.jpg,32", "cut.jpg,33")
    read = imported("folder", root)
    assert sorted(read.by_name) == ["set/cut.jpg", "set/empty.jpg"]
    assert read.reasons == {"gone.jpg": "the image file is missing", "cut.jpg": "the picture is listed twice"}


def test_no_path_leaves_the_root(tmp_path: Path) -> None:
    root = tmp_path / "set"
    pictures(tmp_path, "secret.jpg", "set/a.jpg")
    out = ["../secret.jpg", str(tmp_path / "secret.jpg"), "x/../../secret.jpg", "..\\other.jpg", "C:\\secret.jpg"]
    text(root, "labels.csv", "file,age", "a.jpg,30", *(f"{name},31" for name in out))
    read = imported("folder", root, embed=True)
    assert list(read.by_name) == ["a.jpg"]
    assert set(read.reasons.values()) == {"the path leads out of the root"}
    assert len(read.reasons) == 5


def test_a_damaged_member_of_an_archive_is_one_reject(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("0_A_30_f.jpg", b"first picture")
        archive.writestr("1_A_31_f.jpg", b"second picture")
    data = (tmp_path / "set.zip").read_bytes().replace(b"second picture", b"second pixture")
    (tmp_path / "set.zip").write_bytes(data)
    read = imported("agedb", tmp_path / "set.zip", tmp_path / "m.parquet")
    assert list(read.by_name) == ["0_A_30_f.jpg"]
    assert "Bad CRC-32" in read.reasons["1_A_31_f.jpg"]


def test_a_name_that_is_no_unicode_is_one_reject(tmp_path: Path) -> None:
    root = written("agedb", tmp_path / "set")
    with open(os.path.join(os.fsencode(root), b"7_Ren\xe9_30_m.jpg"), "wb") as stream:
        stream.write(PICTURE)
    read = imported("agedb", root)
    assert "the file name is not Unicode" in read.reasons.values()
    assert len(read.rows) == 3


@pytest.mark.parametrize(
    ("source", "options", "line"),
    [
        ("utkfaces", {}, "no source 'utkfaces'; there are adience, afad"),
        ("agedb", {"labels": "real"}, "agedb has no option 'labels'; it has none"),
        ("fairface", {}, "no fairface_label_train.csv or fairface_label_val.csv there"),
        ("vggface2", {}, "no annotations/train.age_detected.csv or annotations/test.age_detected.csv there"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(
    source: str, options: dict[str, str], line: str, tmp_path: Path
) -> None:
    root = written("agedb", tmp_path / "set")
    with pytest.raises(SourceError) as caught:
        import_source(source, root, tmp_path / "m.parquet", options)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_existing_file_is_not_written_over(tmp_path: Path) -> None:
    root = written("agedb", tmp_path / "set")
    (tmp_path / "m.parquet").write_bytes(b"mine")
    with pytest.raises(SourceError, match=r"m.parquet exists; delete it"):
        import_source("agedb", root, tmp_path / "m.parquet")
    assert (tmp_path / "m.parquet").read_bytes() == b"mine"


def test_a_set_without_one_usable_row_says_why(tmp_path: Path) -> None:
    root = tmp_path / "set"
    text(root, "labels.csv", "file,age", "a.jpg,30", "b.jpg,31")
    with pytest.raises(SourceError, match="not one row of folder could be used, most for: the image file is missing"):
        import_source("folder", root, tmp_path / "m.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_error_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agewise.data.sources.importing.PART_ROWS", 1)
    root = written("megaage", tmp_path / "set")
    text(root, "list/test_age.txt", "70")
    with pytest.raises(SourceError, match="same number of lines"):
        import_source("megaage", root, tmp_path / "m.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_parts_of_a_run_that_was_killed_are_not_mixed_in(tmp_path: Path) -> None:
    root = written("agedb", tmp_path / "set")
    (tmp_path / "m.parquet.parts").mkdir()
    (tmp_path / "m.parquet.parts/plan.json").write_text('{"source": "agedb"}')
    shutil.copy(_manifest(tmp_path), tmp_path / "m.parquet.parts/000007.parquet")
    assert len(imported("agedb", root, tmp_path / "m.parquet").rows) == 3


def _manifest(folder: Path) -> Path:
    import_source("agedb", folder / "set", folder / "earlier.parquet")
    return folder / "earlier.parquet"


def test_prepare_takes_the_manifest_and_keeps_its_labels(tmp_path: Path, astronaut: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    shutil.copy(astronaut, root / "41_Eileen_Collins_0001.jpg")
    (root / "30_Cut_Off_0001.jpg").write_bytes(astronaut.read_bytes()[:900])
    import_source("cacd", root, tmp_path / "photos.parquet")
    done = prepare(tmp_path / "photos.parquet", tmp_path / "faces.parquet")
    assert (done.pictures, done.faces, len(done.rejects)) == (2, 1, 1)
    row = read_manifest(tmp_path / "faces.parquet").to_pylist()[0]
    assert (row["age"], row["age_kind"], row["subject"], row["source"]) == (41.0, "real", "Eileen_Collins", "cacd")
    assert row["image"]["bytes"] is not None


def test_prepare_keeps_the_sources_box_beside_its_own(tmp_path: Path, astronaut: Path) -> None:
    root = written("fgnet", tmp_path / "set")
    shutil.copy(astronaut, root / "images/001A02.JPG")
    import_source("fgnet", root, tmp_path / "photos.parquet")
    prepare(tmp_path / "photos.parquet", tmp_path / "faces.parquet")
    row = read_manifest(tmp_path / "faces.parquet").to_pylist()[0]
    assert row["source_landmarks"][:2] == [31.5, 62.0]
    assert row["landmarks"][:2] != [31.5, 62.0]
    assert metadata(tmp_path / "faces.parquet")["frame"] == "aligned"
