"""Folders and archives by the same names; what cannot be read is said in one line."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agewise.data.sources.tree import SourceError, Tree, leads_out, open_tree
from tests.data.sources.layouts import pictures, text

NAMES = ["a/1.jpg", "a/2.PNG", "b c/é.jpg", "list.csv"]


@pytest.fixture(params=["folder", "zip", "tar"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tree]:
    with open_tree(_packed(tmp_path / "set", request.param)) as opened:
        yield opened


def _packed(root: Path, kind: str) -> Path:
    archived = root.with_suffix(f".{kind}")
    pictures(root, *NAMES, ".hidden/3.jpg", "__MACOSX/a/1.jpg", "a/.4.jpg")
    if kind == "zip":
        with zipfile.ZipFile(archived, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(root.rglob("*")):
                archive.write(path, path.relative_to(root))
    elif kind == "tar":
        with tarfile.open(archived, "w") as packed:
            packed.add(root, ".")
    return root if kind == "folder" else archived


def test_names_pictures_and_patterns(tree: Tree) -> None:
    assert sorted(tree.names()) == NAMES
    assert sorted(tree.names("a/")) == NAMES[:2]
    assert list(tree.images("b")) == ["b c/é.jpg"]
    assert tree.glob("*.csv") == ["list.csv"]
    assert tree.glob("*/*.[pP][nN][gG]") == ["a/2.PNG"]
    with tree.open("a/1.jpg") as stream:
        assert stream.read().endswith(b"a/1.jpg")
        assert stream.seekable()
    assert (tree.has("a/1.jpg"), tree.has("a"), tree.has("a/3.jpg"), tree.has("../set/a/1.jpg")) == (
        True,
        False,
        False,
        False,
    )
    with pytest.raises(SourceError, match=r"no file nothing.txt"):
        tree.open("nothing.txt")


def test_the_folder_of_a_file_is_found_below(tree: Tree) -> None:
    inner = tree.locate("2.PNG")
    assert inner.base == "a/"
    assert sorted(inner.names()) == ["1.jpg", "2.PNG"]
    assert inner.has("1.jpg")
    assert tree.locate("a/2.PNG").base == ""
    with pytest.raises(SourceError, match=r"no labels.csv or x.txt there, nor up to two folders below"):
        tree.locate("labels.csv", "x.txt")
    with pytest.raises(SourceError, match="a/ and b c/ each hold"):
        tree.locate("*.jpg")


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.jpg", "a/../../b", "C:\\a.jpg", "C:/a.jpg", "", "a\0b"])
def test_names_that_lead_out(name: str, tmp_path: Path) -> None:
    assert leads_out(name)
    with open_tree(tmp_path) as tree:
        assert not tree.has(name)


def test_names_that_stay_in() -> None:
    assert not any(leads_out(name) for name in ("a.jpg", "a/b..c.jpg", "./a", "a//b", "...jpg"))


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    pictures(tmp_path, "disk/a.jpg", "set/b.jpg")
    (tmp_path / "set/linked").symlink_to(tmp_path / "disk")
    (tmp_path / "set/round").symlink_to(tmp_path / "set")
    with open_tree(tmp_path / "set") as tree:
        assert list(tree.names()) == ["b.jpg", "linked/a.jpg"]


def test_a_folder_that_may_not_be_read_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked, listed = tmp_path / "locked", os.scandir
    locked.mkdir()

    def guarded(folder: str) -> Iterator[os.DirEntry[str]]:  # for root too, who may read a folder of any mode
        if Path(folder) == locked:
            raise PermissionError(13, "Permission denied", folder)
        return listed(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(PermissionError), open_tree(tmp_path) as tree:
        list(tree.names())


def test_what_is_neither_folder_nor_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder or archive"), open_tree(tmp_path / "absent"):
        pass
    text(tmp_path, "a.txt", "hello")
    with pytest.raises(SourceError, match="neither a folder nor a zip or tar"), open_tree(tmp_path / "a.txt"):
        pass
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.txt", "a.txt")
    with (
        pytest.raises(SourceError, match="a compressed tar is not read in place; unpack it first"),
        open_tree(tmp_path / "a.tar.gz"),
    ):
        pass


def test_damaged_and_encrypted_zips_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = data.index(b"PK\x01\x02")
    (tmp_path / "cut.zip").write_bytes(data[: at + 4] + b"\xff" * 20 + data[at + 24 :])
    with pytest.raises(SourceError, match="archive"), open_tree(tmp_path / "cut.zip"):
        pass
    data[at + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(data)
    with pytest.raises(SourceError, match="the archive is encrypted"), open_tree(tmp_path / "locked.zip"):
        pass
