"""`agewise pack` and `agewise unpack` as they are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from agewise.apps.shards import pack, unpack
from agewise.data.manifest import metadata, read_manifest

Run = Callable[..., str]


@pytest.fixture(scope="module")
def run() -> Run:
    """What a command prints; the error is raised as it is, which `agewise.apps.cli.main` makes one line of."""
    app = typer.Typer()
    for command in (pack, unpack):
        app.command()(command)

    def call(*words: object) -> str:
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception:
            raise result.exception
        return result.output

    return call


def test_there_and_back(run: Run, faces_of: Callable[..., Path], tmp_path: Path) -> None:
    bad = [b"no picture", b"none"]
    image = [
        *({"bytes": b"\xff\xd8\xff" + bytes([n]), "path": None} for n in range(20)),
        *({"bytes": b, "path": None} for b in bad),
    ]
    manifest = faces_of(tmp_path / "faces.parquet", range(22), image=image)
    folder, back = tmp_path / "tars", tmp_path / "back.parquet"
    lines = run("pack", manifest, "--out", folder, "--rows", 8, "--name", "train").splitlines()
    assert lines == [
        f"{folder}: 20 faces in 3 shards, 2 rejected",
        "  2 x image is no JPEG, PNG, WebP, BMP, TIFF or GIF file",
    ]
    assert len(list(folder.glob("train-*.tar"))) == 3
    assert run("unpack", folder, "-o", back).splitlines() == [f"{back}: 20 faces of 3 tars, 0 rejected"]
    assert read_manifest(back).equals(read_manifest(manifest).slice(0, 20))
    assert metadata(back)["frame"] == "aligned"


def test_ages_of_others_are_named(run: Run, faces_of: Callable[..., Path], tmp_path: Path) -> None:
    manifest = faces_of(tmp_path / "faces.parquet", [5, 6], years=["70", "80"])
    run("pack", manifest, "-o", tmp_path / "tars")
    (tmp_path / "tars" / "faces.json").unlink()
    out = tmp_path / "back.parquet"
    lines = run("unpack", tmp_path / "tars" / "faces-000000.tar", "-o", out, "--age", "years").splitlines()
    assert lines[1:] == ["  note: ages from: years (2)", "  note: fields left out: age (2), image (2)"]
    assert read_manifest(out)["age"].to_pylist() == [70.0, 80.0]


def test_what_cannot_be_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such manifest"):
        run("pack", tmp_path / "absent.parquet", "-o", tmp_path / "tars")
    with pytest.raises(ValueError, match="no such tar or folder"):
        run("unpack", tmp_path / "absent.tar", "-o", tmp_path / "m.parquet")
