"""`agewise predict` as a user types it: lines, JSON, tables, pictures, and what happens to bad input."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from agewise.ages import Age
from agewise.apps import cli
from agewise.apps.predict_forms import COLUMNS, Row, as_cells, as_line, as_text
from agewise.deployment import draw as draw_module
from agewise.deployment.estimate import Judged
from agewise.faces.face import Face
from agewise.faces.image import read_photo
from agewise.faces.quality import Rules

ROOT = Path(__file__).parents[2]
Write = Callable[..., Path]
FACE = Face((1.26, 2.0, 30.04, 40.0), 0.87654, np.zeros((5, 2)))
ROW = Row("ä.jpg", [Judged(FACE, Age(34.21, 4.04, 27.96, 40.7))])


@pytest.fixture(scope="module")
def model(tiny_model: Write) -> Path:
    return tiny_model()


def predict(*arguments: Path | str) -> Result:
    return CliRunner().invoke(cli.application(), ["predict", *map(str, arguments)])


def agewise(*arguments: Path | str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with what it prints read as UTF-8."""
    return subprocess.run(
        [sys.executable, "-m", "agewise.apps.cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture
def album(tmp_path: Path, astronaut: Path) -> Path:
    """A folder with a face, two faces, no face, an empty file and a text file."""
    folder = tmp_path / "album"
    (folder / "sub").mkdir(parents=True)
    face = read_photo(astronaut).pixels
    Image.fromarray(face).save(folder / "one.jpg")
    Image.fromarray(np.concatenate([face, face[:, ::-1]], axis=1)).save(folder / "sub" / "one.jpg")
    Image.new("RGB", (80, 60), "grey").save(folder / "none.png")
    (folder / "broken.jpg").touch()
    (folder / "text.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def test_people_read_a_line_a_face(album: Path, model: Path) -> None:
    done = predict(album / "one.jpg", album / "none.png", "--model", model)
    assert done.exit_code == 0
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{album / 'one.jpg'}  face 1  ")
    assert " years (" in first
    assert ", 90 %)  box " in first
    assert second == f"{album / 'none.png'}  no face"


def test_the_forms_of_a_row() -> None:
    assert as_text(ROW) == "ä.jpg  face 1  34 years (28-41, 90 %)  box 1 2 30 40"
    face = {"box": [1.3, 2.0, 30.0, 40.0], "score": 0.877, "age": 34.2, "std": 4.0, "low": 28.0, "high": 40.7}
    assert json.loads(as_line(ROW)) == {"file": "ä.jpg", "faces": [face], "error": None}
    assert as_line(ROW).startswith('{"file": "ä.jpg", "faces": [{"box": [')
    assert as_cells(ROW) == [["ä.jpg", 1, 1.3, 2.0, 30.0, 40.0, 0.877, 34.2, 4.0, 28.0, 40.7, ""]]
    assert as_cells(Row("a", [], "why")) == [["a", *[""] * 10, "why"]]


def test_the_forms_of_a_face_that_is_not_judged() -> None:
    row = Row("a.jpg", [Judged(FACE, None, "too small: 18 px")])
    assert as_text(row) == "a.jpg  face 1  not judged (too small: 18 px)  box 1 2 30 40"
    (face,) = json.loads(as_line(row))["faces"]
    nothing = {"age": None, "std": None, "low": None, "high": None}
    assert face == {"box": [1.3, 2.0, 30.0, 40.0], "score": 0.877, **nothing, "reason": "too small: 18 px"}
    assert as_cells(row) == [["a.jpg", 1, 1.3, 2.0, 30.0, 40.0, 0.877, "", "", "", "", "too small: 18 px"]]


def test_a_small_face_is_not_judged_where_that_is_asked(
    model: Path, tmp_path: Path, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, table, drawn = tmp_path / "a.png", tmp_path / "a.csv", tmp_path / "drawn"
    Image.fromarray(read_photo(astronaut).pixels).save(photo)
    monkeypatch.setattr("agewise.faces.quality.Rules", lambda: Rules(size=500.0, std=1000.0))
    done = predict(photo, "--abstain", "--json", "--csv", table, "--draw", drawn, "--model", model)
    (face,) = json.loads(done.stdout)["faces"]
    assert (done.exit_code, face["age"]) == (0, None)
    assert face["reason"] == "too small: 106 px"
    assert table.read_text().splitlines()[1].endswith(",,,,,too small: 106 px")
    np.testing.assert_array_equal(read_photo(drawn / "a.png").pixels, read_photo(astronaut).pixels)
    (judged,) = json.loads(predict(photo, "--json", "--model", model).stdout)["faces"]
    assert judged["age"] is not None
    assert "reason" not in judged


def test_a_folder_as_json(album: Path, model: Path) -> None:
    done = predict(album, "--json", "--model", model)
    assert done.exit_code == 1
    rows = {Path(row["file"]).relative_to(album).as_posix(): row for row in map(json.loads, done.stdout.splitlines())}
    assert list(rows) == ["broken.jpg", "none.png", "one.jpg", "sub/one.jpg", "text.jpg"]
    assert {name: len(row["faces"]) for name, row in rows.items() if row["error"] is None} == {
        "none.png": 0,
        "one.jpg": 1,
        "sub/one.jpg": 2,
    }
    assert rows["broken.jpg"] == {"file": str(album / "broken.jpg"), "faces": [], "error": "the file is empty"}
    assert rows["text.jpg"]["error"].startswith("not an image file")
    (face,) = rows["one.jpg"]["faces"]
    assert list(face) == ["box", "score", "age", "std", "low", "high"]
    assert 0 <= face["low"] <= face["age"] <= face["high"] <= 100
    assert face["box"] == [round(value, 1) for value in face["box"]]


def test_a_table_of_all_faces(album: Path, model: Path, tmp_path: Path) -> None:
    table = tmp_path / "ages.csv"
    assert predict(album, "--csv", table, "--model", model).exit_code == 1
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    assert [(Path(row["file"]).name, row["face"]) for row in rows] == [
        ("broken.jpg", ""),
        ("none.png", ""),
        ("one.jpg", "1"),
        ("one.jpg", "1"),
        ("one.jpg", "2"),
        ("text.jpg", ""),
    ]
    assert rows[0]["error"] == "the file is empty"
    assert float(rows[2]["low"]) <= float(rows[2]["age"]) <= float(rows[2]["high"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ages.csv", "album"]


def test_a_broken_run_leaves_the_old_table(
    album: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "ages.csv"
    table.write_text("old")

    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(draw_module, "draw", fail)
    done = predict(album, "--csv", table, "--draw", tmp_path / "drawn", "--model", model)
    assert isinstance(done.exception, OSError)
    assert table.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ages.csv", "album", "drawn"]
    assert not list((tmp_path / "drawn").iterdir())


def test_drawings_never_meet_and_never_replace_a_photo(album: Path, model: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "new" / "drawn"
    for _ in range(2):
        predict(album, "--draw", drawn, "--model", model)
        assert sorted(path.name for path in drawn.iterdir()) == ["none.png", "one-2.jpg", "one.jpg"]
    assert read_photo(drawn / "one.jpg").pixels.shape == read_photo(album / "one.jpg").pixels.shape
    before = (album / "one.jpg").read_bytes()
    predict(album / "one.jpg", "--draw", album, "--model", model)
    assert (album / "one.jpg").read_bytes() == before
    assert (album / "one-2.jpg").is_file()


def test_the_table_never_replaces_a_photo(album: Path, model: Path) -> None:
    photo = album / "one.jpg"
    before = photo.read_bytes()
    for given in (photo, album):
        found = predict(given, "--model", model, "--csv", album / "sub" / ".." / "one.jpg")
        assert "is a photo that is read; give the table another name" in str(found.exception)
    assert photo.read_bytes() == before


def test_one_bad_path_among_good_ones_is_a_row(album: Path, model: Path) -> None:
    (album / "empty").mkdir()
    done = predict(album / "one.jpg", album / "absent.jpg", album / "empty", "--json", "--model", model)
    errors = [json.loads(line)["error"] for line in done.stdout.splitlines()]
    assert (done.exit_code, errors[0]) == (1, None)
    assert "No such file" in errors[1]
    assert errors[2] == "no image in this folder"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["absent.jpg"], "absent.jpg: no such file or folder"),
        (["empty"], "empty: no image in this folder"),
        (["absent.jpg", "empty"], "absent.jpg: no such file or folder (nor in 1 more)"),
        (["photo.png", "--model", "absent.onnx"], "absent.onnx: no such model; give an ONNX file or the name"),
        (["photo.png", "--model", "photo.png"], "photo.png: not an ONNX file, or a damaged one"),
        (["photo.png", "--csv", "empty", "--model", "MODEL"], "empty: cannot be written: it exists and is not a file"),
        (["photo.png", "--draw", "photo.png", "--model", "MODEL"], "photo.png: a file; --draw takes a folder"),
    ],
)
def test_where_nothing_can_be_done_there_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")
    done = agewise("predict", *(str(model) if part == "MODEL" else part for part in arguments), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("agewise: ")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wrong_option_is_exit_code_2() -> None:
    assert predict("a.jpg", "--threads", "-1").exit_code == 2
    assert predict().exit_code == 2


def test_debug_shows_where_an_error_came_from() -> None:
    done = agewise("predict", "absent.jpg", AGEWISE_DEBUG="1")
    assert "Traceback" in done.stderr
    assert done.returncode == 1


def test_json_is_utf8_and_alone_on_stdout(album: Path, model: Path) -> None:
    name = album / "größe 年.jpg"
    (album / "one.jpg").rename(name)
    done = agewise("predict", name, album / "broken.jpg", "--json", "--model", model, PYTHONIOENCODING="ascii")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (1, "")
    assert [row["file"] for row in rows] == [str(name), str(album / "broken.jpg")]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_a_file_name_that_is_no_text_is_read(album: Path, model: Path) -> None:
    name = os.fsdecode(os.fsencode(album) + b"/\xff.jpg")
    os.rename(album / "one.jpg", name)
    done = agewise("predict", name, "--json", "--model", model)
    row = json.loads(done.stdout)
    assert (done.returncode, len(row["faces"])) == (0, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_closed_stream_is_no_error(closed: str, album: Path, model: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "agewise.apps.cli", "predict", album / "one.jpg", "--model", model]
    table = tmp_path / "a.csv"
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *map(str, [*words, "--csv", table])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, len(table.read_text().splitlines())) == (0, "", 2)


def test_a_progress_bar_of_many_photos_stays_off_stdout(album: Path, model: Path) -> None:
    """With a terminal on stderr only, as in `agewise predict photos > ages.txt`."""
    pty = pytest.importorskip("pty", reason="terminals are emulated on Unix only")
    for name in ("more.jpg", "most.jpg"):
        (album / name).touch()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "agewise.apps.cli", "predict", album, "--json", "--model", model]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end was closed
            while part := os.read(ours, 4096):
                seen += part
        printed, _ = process.communicate()
    os.close(ours)
    assert b"7/7" in seen
    assert len([json.loads(line) for line in printed.splitlines()]) == 7


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["--version"], ["predict", "PHOTO"]])
def test_the_command_needs_nothing_heavy(arguments: list[str], album: Path, model: Path) -> None:
    photo = [album / "one.jpg", "--model", model]
    command = ["agewise", *arguments[:-1], *photo] if arguments[-1] == "PHOTO" else ["agewise", *arguments]
    code = (
        f"import sys; sys.argv = {[str(part) for part in command]!r}\n"
        "from agewise.apps import cli\n"
        "try: cli.main()\n"
        "finally: print(*sorted({'torch', 'pyarrow', 'onnx', 'timm'} & sys.modules.keys()), 'END')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "END"


def test_the_version() -> None:
    import agewise as package

    done = agewise("--version")
    assert done.stdout == f"agewise {package.__version__}\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "agewise train needs torch: pip install 'X'"),
        (ModuleNotFoundError("...", name="pyarrow.parquet"), "agewise train needs pyarrow.parquet: pip install 'X'"),
        (ValueError("a line\n  and another"), "a line and another"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied"),
    ],
)
def test_known_errors_are_one_line(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    wanted = ["numpy>=1.26", 'torch>=2.5; extra == "train"', "pyarrow>=16; extra == 'train'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda _name: wanted)
    monkeypatch.setattr(cli, "application", lambda *_name: fail)
    monkeypatch.setattr(sys, "argv", ["agewise", "train", "recipe.toml"])
    monkeypatch.delenv("AGEWISE_DEBUG", raising=False)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert capsys.readouterr().err == f"agewise: {line.replace('X', 'agewise[train]')}\n"


@pytest.mark.parametrize("name", ["numpy", "agewise.absent"])
def test_a_missing_module_that_no_extra_brings_is_a_bug(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ModuleNotFoundError("gone", name=name)

    monkeypatch.setattr("importlib.metadata.requires", lambda _name: ["numpy>=1.26", 'torch>=2.5; extra == "train"'])
    monkeypatch.setattr(cli, "application", lambda *_name: fail)
    with pytest.raises(ModuleNotFoundError):
        cli.main()
