"""Videos written and read again, cut off, damaged and missing; cameras that are there and that are not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.deployment import video as module
from agewise.deployment.video import FORMATS, Video, VideoError, is_camera, new_video


def shades(count: int, width: int = 64, height: int = 48) -> list[NDArray[np.uint8]]:
    """Frames of one colour each, redder from one to the next."""
    colours = [(40 + 4 * n, 90, 200 - 4 * n) for n in range(count)]
    return [np.full((height, width, 3), colour, np.uint8) for colour in colours]


def written(target: Path, frames: Iterable[NDArray[np.uint8]], fps: float = 30.0) -> Path:
    with new_video(target, fps) as write:
        for frame in frames:
            write(frame)
    return target


@pytest.mark.parametrize("suffix", [*FORMATS, ".MP4"])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    frames = shades(30)
    video = Video(str(written(tmp_path / f"clip{suffix}", frames, 25.0)))
    read = list(video)
    video.close()
    assert (video.count, video.read, video.fps, video.live, video.missing) == (30, 30, 25.0, False, 0)
    assert [frame.number for frame in read] == list(range(30))
    np.testing.assert_allclose([frame.seconds for frame in read], np.arange(30) / 25, atol=1e-3)
    assert all(frame.pixels.dtype == np.uint8 for frame in read)
    for frame, pixels in zip(read, frames, strict=True):
        np.testing.assert_allclose(frame.pixels.mean(axis=(0, 1)), pixels[0, 0], atol=6)
    assert [path.name for path in tmp_path.iterdir()] == [f"clip{suffix}"]


def test_frames_of_another_size_are_resized(tmp_path: Path) -> None:
    path = written(tmp_path / "a.avi", [shades(1)[0], shades(1, 128, 96)[0]])
    assert [frame.pixels.shape for frame in Video(str(path))] == [(48, 64, 3)] * 2


def test_a_cut_off_video_says_how_much_is_missing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(40)]
    data = written(tmp_path / "a.avi", frames).read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(data[: len(data) * 6 // 10])
    video = Video(str(cut))
    assert 20 <= len(list(video)) <= 25
    assert video.missing == 40 - video.read


def test_a_file_that_only_estimates_its_frames_is_whole_when_its_time_is_over(tmp_path: Path) -> None:
    video = Video(str(written(tmp_path / "a.avi", shades(20))))
    assert video.missing == 20
    list(video)
    video.read = 15  # as of a varying rate, whose 15 frames last as long as 20 would
    assert video.missing == 0


def test_what_is_no_video_is_refused_in_one_line(
    tmp_path: Path, astronaut: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """OpenCV's own complaints stay away; FFmpeg would show the text file as a film."""
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.txt").write_text("no film\n" * 100)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    whole = written(tmp_path / "a.mp4", shades(30)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name, line in {
        "absent.mp4": "cannot be opened: No such file or directory",
        ".": "cannot be opened: Is a directory",
        "empty.mp4": "the file is empty",
        "text.txt": "not a video",
        "noise.mp4": "not a video",
        "cut.mp4": "not a video, or one that is cut off",
        str(astronaut): "a photo; give it without --video",
        "/dev/video57": "camera /dev/video57: cannot be opened: it is not there, or in use",
        "57": "camera 57: cannot be opened: it is not there, or in use",
    }.items():
        source = name if name.isdigit() else str(tmp_path / name)
        with pytest.raises(VideoError, match=line):
            Video(source)
    assert capfd.readouterr().err == ""


def test_a_video_without_a_frame_that_can_be_read(tmp_path: Path) -> None:
    data = written(tmp_path / "a.avi", shades(10)).read_bytes()
    start = data.index(b"movi") + 4
    (tmp_path / "b.avi").write_bytes(data[:start] + bytes(len(data) - start))
    with pytest.raises(VideoError, match=r"b\.avi: (holds no frame|not a video)"):
        list(Video(str(tmp_path / "b.avi")))


def test_cameras_are_told_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("0").touch()
    assert [is_camera(source) for source in ("0", "12", "/dev/video0", "/dev/null")] == [True] * 4
    assert [is_camera(source) for source in ("./0", "a.mp4", "absent", "")] == [False] * 4


def test_a_camera_number_beyond_all_is_refused_in_one_line() -> None:
    with pytest.raises(VideoError, match=r"camera 20240101123000: there is none of that number; \./20240101123000 is"):
        Video("20240101123000")


class Camera:
    """In place of cv2.VideoCapture: five frames, one each 20 milliseconds of a clock that it moves."""

    def __init__(self, _: int | str, *__: int) -> None:
        self.left, self.set = 5, lambda *_: True

    def isOpened(self) -> bool:
        return True

    def get(self, what: int) -> float:
        return 1000.0 if what == cv2.CAP_PROP_FPS else -1.0

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        self.left -= 1
        return (True, shades(1)[0]) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.left = 0


def test_frames_of_a_camera_have_the_time_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    clock = iter(np.arange(100) / 50)
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    video = Video("0")
    assert (video.live, video.count, video.fps) == (True, None, module.USUAL)
    np.testing.assert_allclose([frame.seconds for frame in video], np.arange(1, 6) / 50)
    assert video.missing == 0


def test_a_video_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"as \.mp4 or \.avi, not as \.mov"), new_video(tmp_path / "a.mov", 30.0):
        pass
    with pytest.raises(OSError, match="there was no frame"), new_video(tmp_path / "a.mp4", 30.0):
        pass
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(ValueError, match="is not a file"), new_video(tmp_path / "folder.mp4", 30.0):
        pass
    monkeypatch.setitem(FORMATS, ".mp4", "zzzz")
    with pytest.raises(OSError, match="cannot write zzzz video of 64x48"):
        written(tmp_path / "a.mp4", shades(1))
    assert [path.name for path in tmp_path.iterdir()] == ["folder.mp4"]


def test_a_writer_that_fails_in_silence_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk, OpenCV says nothing."""
    close = module._Writer.close

    def lost(self: module._Writer) -> None:
        close(self)
        self.path.write_bytes(b"")

    monkeypatch.setattr(module._Writer, "close", lost)
    with pytest.raises(OSError, match="is the disk full"):
        written(tmp_path / "a.mp4", shades(3))
    assert list(tmp_path.iterdir()) == []


def test_after_an_error_nothing_is_left(tmp_path: Path) -> None:
    def broken() -> Iterator[NDArray[np.uint8]]:
        yield shades(1)[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        written(tmp_path / "a.mp4", broken())
    assert list(tmp_path.iterdir()) == []
