"""Files and folders by path and by URI: what they are called, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import pytest
from pyarrow.fs import FileSystem

from agewise.data.places import Place, place_of


@pytest.fixture(params=["path", "file://", "memory://"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder that is not there yet, as a person would name it."""
    if request.param != "memory://":
        yield f"{'' if request.param == 'path' else 'file://'}{tmp_path}/set"
        return
    fsspec = pytest.importorskip("fsspec")
    yield "memory://places/set"
    memory = fsspec.filesystem("memory")
    if memory.exists("/places"):
        memory.rm("/places", recursive=True)


def test_what_is_written_is_read(folder: str) -> None:
    place = place_of(f"{folder}/a.txt")
    assert not place.is_file()
    assert not place.is_folder()
    assert place.parent.names() == []
    for content in (b"one", b"another"):
        with place.writing() as stream:
            stream.write(content)
        assert place.read() == content
    assert place.is_file()
    assert not place.is_folder()
    assert place.parent.is_folder()
    assert place.state()[0] == len(b"another")
    with (place_of(folder) / "b.txt").writing() as stream:
        stream.write(b"")
    assert place_of(folder).names() == ["a.txt", "b.txt"]
    place.delete()
    assert place_of(folder).names() == ["b.txt"]
    with pytest.raises(FileNotFoundError):
        place.read()


def interrupted(place: Place) -> None:
    with place.writing() as stream:
        stream.write(b"ha")
        raise KeyboardInterrupt


def test_a_writer_that_is_interrupted_leaves_what_was_there(folder: str) -> None:
    place = place_of(folder) / "a.txt"
    with place.writing() as stream:
        stream.write(b"whole")
    with pytest.raises(KeyboardInterrupt):
        interrupted(place)
    assert place.read() == b"whole"
    assert place.parent.names() == ["a.txt"]


def test_names_of_folders_and_files(folder: str) -> None:
    place = place_of(folder) / "parts" / "a.txt"
    plain = folder.removeprefix("file://")
    assert str(place) == f"{plain}/parts/a.txt"
    assert str(place.parent.parent) == plain
    assert place_of(place) is place
    assert place_of(place.everywhere).path == place.path
    assert (place.local is None) == plain.startswith("memory://")
    assert folder.startswith("memory://") or str(place_of(folder) / "/elsewhere/a.txt") == "/elsewhere/a.txt"


def test_another_process_finds_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = place_of("set/a.txt")
    assert str(place) == os.path.join("set", "a.txt")
    assert place.everywhere == str(tmp_path / "set" / "a.txt")


@pytest.mark.parametrize("uri", ["nowhere://x/a", "file://host/a"])
def test_a_uri_that_means_nothing_is_one_line(uri: str) -> None:
    with pytest.raises(ValueError, match=f"^{uri.split(':', maxsplit=1)[0]}://") as caught:
        place_of(uri)
    assert "\n" not in str(caught.value)


class Objects:
    """Of an object store what is asked of it: no folders, no rename, an object is there once its stream is closed."""

    type_name = "s3"

    def __init__(self, fails: bool = False) -> None:
        self.held: dict[str, bytes] = {}
        self.fails = fails

    @contextmanager
    def open_output_stream(self, path: str) -> Iterator[BytesIO]:
        stream = Failing() if self.fails else BytesIO()
        try:
            yield stream
        finally:
            self.held[path] = stream.getvalue()

    def delete_file(self, path: str) -> None:
        del self.held[path]


class Failing(BytesIO):
    """Of what is written the first byte comes through."""

    def write(self, data: Any) -> int:
        super().write(data[:1])
        raise OSError("the network is gone")


def test_an_object_is_sent_whole_without_a_rename() -> None:
    store = Objects()
    place = Place("s3://bucket/a.txt", "bucket/a.txt", cast(FileSystem, store))
    with place.writing() as stream:
        stream.write(b"whole")
        assert store.held == {}
    assert store.held == {"bucket/a.txt": b"whole"}


def test_a_part_of_an_object_is_taken_back() -> None:
    store = Objects(fails=True)
    place = Place("s3://bucket/a.txt", "bucket/a.txt", cast(FileSystem, store))
    with pytest.raises(OSError, match="network is gone"), place.writing() as stream:
        stream.write(b"whole")
    assert store.held == {}
