"""`agewise predict --video` as a user types it: what is printed and written, and what happens to bad input."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.ages import Age
from agewise.apps import cli
from agewise.apps.video_forms import COLUMNS, Outcome, as_cells, as_last_text, as_line, as_track_line, as_track_text
from agewise.deployment.track import Follower, Seen, Track
from agewise.deployment.video import Frame, Video, new_video
from agewise.faces.face import Face
from agewise.faces.image import read_photo
from agewise.faces.quality import Rules

Write = Callable[..., Path]
Run = Callable[..., tuple[int, list[str], str]]
FRAMES, FPS = 24, 12.0
FACE = Face((1.26, 2.0, 30.04, 40.0), 0.87654, np.zeros((5, 2)))
SEEN = Seen(3, FACE, Age(33.04, 5.0, 25.0, 42.0), 0.51234, Age(34.21, 4.04, 27.96, 40.7))
FRAME = Frame(7, 0.2333333, np.zeros((48, 64, 3), np.uint8))


def moving(photo: NDArray[np.uint8], frames: int = FRAMES, mirrored: bool = False) -> Iterator[NDArray[np.uint8]]:
    """Frames (240, 360, 3) of a face, or of it and its mirror image, that move over noise under changing light."""
    noise = np.random.default_rng(0).integers(118, 124, (240, 360, 3), dtype=np.uint8)
    for n in range(frames):
        frame, light = noise.copy(), 1 + 0.15 * np.sin(n / 3)
        for number, face in enumerate([photo, photo[:, ::-1]][: 1 + mirrored]):
            side = 150 + int(10 * np.sin(n / 4 + number))
            small = cv2.resize(
                face[:210, 120:330] if number == 0 else face[:210, -330:-120],
                (side, side),
                interpolation=cv2.INTER_AREA,
            )
            x, y = 10 + 180 * number + n // 2, 40 + int(20 * np.sin(n / 6))
            frame[y : y + side, x : x + side] = small
        yield np.clip(frame * light, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, astronaut: Path) -> Path:
    """A folder with a video of one face, of two, of none, a cut-off one and files that are no videos."""
    folder = tmp_path_factory.mktemp("clips")
    photo = read_photo(astronaut).pixels
    grey = [np.full((48, 64, 3), 128, np.uint8)] * 2
    clips = {"one.mp4": moving(photo), "one.avi": moving(photo), "two.mp4": moving(photo, 6, mirrored=True)}
    for name, frames in {**clips, "none.mp4": grey}.items():
        with new_video(folder / name, FPS) as write:
            for frame in frames:
                write(frame)
    data = (folder / "one.avi").read_bytes()
    (folder / "cut.avi").write_bytes(data[: len(data) // 2])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video")
    (folder / "photo.jpg").write_bytes(astronaut.read_bytes())
    return folder


@pytest.fixture
def run(
    tiny_model: Write, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """Runs `agewise predict --video` beside the clips: exit code, lines on stdout, text on stderr."""
    for path in clips.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    chosen = ["--model", str(tiny_model())]

    def call(*arguments: str) -> tuple[int, list[str], str]:
        model = [] if "--model" in arguments else chosen
        monkeypatch.setattr(sys, "argv", ["agewise", "predict", "--video", *arguments, *model, "--threads", "1"])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capfd.readouterr()
        return int(caught.value.code or 0), out.splitlines(), err

    return call


@pytest.fixture(autouse=True)
def _library() -> None:
    pytest.importorskip("edgefirst.tracker", reason="faces are followed with agewise[video]")


def test_people_read_a_line_a_face_and_one_of_the_video(run: Run) -> None:
    code, lines, err = run("two.mp4")
    assert (code, err, len(lines)) == (0, "", 3)
    for number, line in enumerate(lines[:2], 1):
        assert line.startswith(f"two.mp4  face {number}  ")
        assert line.endswith("  frames 0-5 (6)")
    assert lines[2].startswith("two.mp4  2 faces in 6 frames, ")


def test_json_table_and_drawn_video_say_the_same(run: Run, tmp_path: Path) -> None:
    code, lines, _ = run("one.mp4", "--json", "--csv", "a.csv", "--draw", "a.mp4")
    assert code == 0
    *frames, track, last = map(json.loads, lines)
    assert [frame["frame"] for frame in frames] == list(range(FRAMES))
    assert [frame["seconds"] for frame in frames] == pytest.approx(np.arange(FRAMES) / FPS, abs=2e-3)
    faces = [face for frame in frames for face in frame["faces"]]
    assert {face["track"] for face in faces} == {track["track"]} == {1}
    assert {name: track[name] for name in ("first", "last", "frames")} == {"first": 0, "last": 23, "frames": 24}
    assert track["age"] == faces[-1]["age"]
    assert track["flicker_alone"] == pytest.approx(np.std([face["alone"] for face in faces]), abs=0.06)
    assert track["flicker"] == pytest.approx(np.std([face["age"] for face in faces]), abs=0.06)
    assert last == {**last, "video": "one.mp4", "frames": 24, "looks": 24, "tracks": 1, "stopped": False, "error": None}
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [float(row["age"]) for row in rows] == [face["age"] for face in faces]
    assert [[float(row[name]) for name in ("x0", "y0", "x1", "y1")] for row in rows] == [face["box"] for face in faces]
    plain, drawn = list(Video("one.mp4")), list(Video("a.mp4"))
    assert [frame.pixels.shape for frame in drawn] == [frame.pixels.shape for frame in plain]
    for frame, before, after in zip(frames, plain, drawn, strict=True):
        x0, y0, x1, y1 = (int(value) for value in frame["faces"][0]["box"])
        changed = np.abs(after.pixels.astype(int) - before.pixels).max(axis=2) > 60
        assert changed[y1 - 3 : y1 + 4, x0:x1].any(axis=0).mean() > 0.8, "no lower edge"
        assert changed[y0:y1, x0 + 6 : x1 - 6][10:-10].mean() < 0.2, "the face is painted over"


def test_every_third_frame(run: Run) -> None:
    """All frames are drawn, those between with the faces last found."""
    _, lines, _ = run("one.mp4", "--every", "3", "--json", "--draw", "a.avi")
    *frames, track, last = map(json.loads, lines)
    assert [frame["frame"] for frame in frames] == list(range(0, FRAMES, 3))
    assert (track["frames"], track["last"], last["frames"], last["looks"]) == (8, 21, 24, 8)
    assert len(list(Video("a.avi"))) == FRAMES
    assert "1 face in 24 frames, 8 looked at, " in run("one.mp4", "--every", "3")[1][-1]


def test_a_video_without_faces(run: Run) -> None:
    code, (line,), _ = run("none.mp4", "--csv", "a.csv")
    assert code == 0
    assert line.startswith("none.mp4  no face in 2 frames, ")
    assert Path("a.csv").read_text().splitlines() == [",".join(COLUMNS)]


def test_of_a_cut_off_video_what_there_is_is_written(run: Run) -> None:
    code, lines, _ = run("cut.avi", "--json", "--csv", "a.csv", "--draw", "a.avi")
    last = json.loads(lines[-1])
    assert (code, last["tracks"]) == (1, 1)
    assert 5 < last["frames"] < FRAMES
    assert last["error"] == f"ends after {last['frames']} of 24 frames: it is cut off or damaged"
    assert len(list(Video("a.avi"))) == last["frames"]
    assert len(Path("a.csv").read_text().splitlines()) == last["frames"] + 1
    assert run("cut.avi")[1][-1].endswith(f"  error: {last['error']}")


@pytest.mark.parametrize(("live", "expected"), [(False, 130), (True, 0)])
def test_ctrl_c_ends_after_the_frame_at_hand(
    run: Run, monkeypatch: pytest.MonkeyPatch, live: bool, expected: int
) -> None:
    """Of a camera it is the usual end."""
    handler = signal.getsignal(signal.SIGINT)
    look = Follower.__call__

    def pressed(self: Follower, pixels: NDArray[np.uint8], frame: int, seconds: float) -> list[Seen]:
        if frame == 5:
            signal.raise_signal(signal.SIGINT)
        return look(self, pixels, frame, seconds)

    monkeypatch.setattr(Follower, "__call__", pressed)
    if live:
        opened = Video.__init__

        def camera(self: Video, source: str) -> None:
            opened(self, source)
            self.live = True

        monkeypatch.setattr(Video, "__init__", camera)
    code, lines, _ = run("one.mp4", "--json", "--csv", "a.csv", "--draw", "a.mp4")
    *frames, track, last = map(json.loads, lines)
    assert (code, len(frames), track["last"]) == (expected, 6, 5)
    assert (last["frames"], last["stopped"], last["error"]) == (6, True, None)
    assert len(Path("a.csv").read_text().splitlines()) == 7
    assert len(list(Video("a.mp4"))) >= 1 if live else len(list(Video("a.mp4"))) == 6
    assert signal.getsignal(signal.SIGINT) == handler


def test_a_second_ctrl_c_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: Any) -> list[Seen]:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return []

    monkeypatch.setattr(Follower, "__call__", pressed)
    before = set(Path().iterdir())
    assert run("one.mp4", "--csv", "a.csv", "--draw", "a.mp4")[0] != 0
    assert set(Path().iterdir()) == before


def test_a_slow_cameras_video_keeps_its_pace(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four frames a second of a camera that would give twelve: each is written three times."""
    opened = Video.__init__

    def camera(self: Video, source: str) -> None:
        opened(self, source)
        self.live = True

    def slow(self: Video) -> Iterator[Frame]:
        for n in range(4):
            self.read += 1
            yield Frame(n, n / 4, np.full((48, 64, 3), 40 * n, np.uint8))

    with monkeypatch.context() as patch:
        patch.setattr(Video, "__init__", camera)
        patch.setattr(Video, "__iter__", slow)
        assert run("none.mp4", "--draw", "a.avi")[0] == 0
    shades = [round(frame.pixels.mean() / 40) for frame in Video("a.avi")]
    assert shades == [0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_small_faces_are_not_judged_where_that_is_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agewise.faces.quality.Rules", lambda: Rules(size=500.0, sharpness=0.0, std=1000.0))
    code, lines, _ = run("one.mp4", "--abstain", "--json", "--draw", "a.avi")
    *frames, track, _ = map(json.loads, lines)
    assert (code, track["age"]) == (0, None)
    assert all(face["reason"].startswith("too small") for frame in frames for face in frame["faces"])
    code, lines, _ = run("one.mp4", "--abstain")
    assert lines[0] == "one.mp4  face 1  not judged  frames 0-23 (24)"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["absent.mp4"], "absent.mp4: cannot be opened: No such file or directory"),
        (["empty.mp4"], "empty.mp4: the file is empty"),
        (["text.mp4"], "text.mp4: not a video, or one that is cut off"),
        (["photo.jpg"], "photo.jpg: a photo; give it without --video"),
        (["57"], "camera 57: cannot be opened: it is not there, or in use"),
        (["/dev/video57"], "camera /dev/video57: cannot be opened: it is not there, or in use"),
        (["one.mp4", "--draw", "a.mov"], "a.mov: with --video, --draw takes a file that ends in .mp4 or .avi"),
        (["one.mp4", "--draw", "folder"], "folder: with --video, --draw takes a file that ends in .mp4 or .avi"),
        (["one.mp4", "--draw", "./one.mp4"], "one.mp4 is given to --video; give --draw another name"),
        (["one.mp4", "--csv", "one.mp4"], "one.mp4 is given to --video; give --csv another name"),
        (["one.mp4", "--csv", "a.mp4", "--draw", "a.mp4"], "a.mp4 is given to --csv; give --draw another name"),
        (["one.mp4", "--draw", "text.mp4/a.mp4"], "is not a folder"),
        (["one.mp4", "--model", "absent.onnx"], "absent.onnx: no such model"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run: Run, arguments: list[str], line: str) -> None:
    before = set(Path().iterdir())
    code, out, err = run(*arguments)
    assert (code, out) == (2, [])
    assert err.startswith("agewise: ")
    assert line in err
    assert err.count("\n") == 1
    assert set(Path().iterdir()) == before


def test_wrong_options_are_exit_code_2(run: Run) -> None:
    assert run("one.mp4", "--every", "0")[0] == 2
    code, out, err = run("one.mp4", "photo.jpg")
    assert (code, out) == (2, [])
    assert "give either photos or --video" in err


def test_without_the_library_it_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edgefirst.tracker", None)
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ['edgefirst-tracker<1; extra == "video"'])
    code, out, err = run("one.mp4")
    assert (code, out) == (2, [])
    assert err == "agewise: agewise predict needs edgefirst_tracker: pip install 'agewise[video]'\n"


def test_the_forms_of_frames_and_tracks() -> None:
    line = json.loads(as_line(FRAME, [SEEN]))
    years = {"age": 34.2, "std": 4.0, "low": 28.0, "high": 40.7}
    box = {"box": [1.3, 2.0, 30.0, 40.0], "score": 0.877, "weight": 0.512, "alone": 33.0}
    assert line == {"frame": 7, "seconds": 0.233, "faces": [{"track": 3, **box, **years}]}
    unjudged = Seen(3, FACE, SEEN.alone, 0.0, None, "too small: 18 px")
    assert as_cells(FRAME, [SEEN, unjudged]) == [
        [7, 0.233, 3, 1.3, 2.0, 30.0, 40.0, 0.877, 0.512, 33.0, 34.2, 4.0, 28.0, 40.7, ""],
        [7, 0.233, 3, 1.3, 2.0, 30.0, 40.0, 0.877, 0.0, 33.0, "", "", "", "", "too small: 18 px"],
    ]
    (face,) = json.loads(as_line(FRAME, [unjudged]))["faces"]
    assert (face["age"], face["reason"]) == (None, "too small: 18 px")
    track = Track(3, 5, 60, 50, SEEN.age, 2.345, 0.456)
    said = "a.mp4  face 3  34 years (28-41, 90 %)  flicker 2.3 -> 0.5  frames 5-60 (50)"
    assert as_track_text("a.mp4", track) == said
    counts = {"track": 3, "first": 5, "last": 60, "frames": 50}
    assert json.loads(as_track_line(track)) == {**counts, **years, "flicker_alone": 2.35, "flicker": 0.46}
    assert as_last_text(Outcome("a", 10, 10, 0, 2.0, stopped=True)) == "a  no face in 10 frames, 5.0 frames/s  stopped"
