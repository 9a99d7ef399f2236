"""Videos and cameras read frame by frame, and videos written, by OpenCV: nothing is held but the frame at hand."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from agewise.data.replacing import replacing
from agewise.faces.image import EXTENSIONS

FORMATS = {".mp4": "mp4v", ".avi": "MJPG"}
"""What is written, by the file's suffix: MPEG-4, or a JPEG a frame."""
USUAL, MOST = 25.0, 240.0
"""Frames a second where a source does not say, or says more than the other, which no camera of ours gives."""
_TEXT = int.from_bytes(b"ansi", "little")
"""The codec as which FFmpeg shows a text file."""
_PHOTOS = EXTENSIONS - {".gif"}


class VideoError(ValueError):
    """A video or camera that cannot be read; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its number from 0, its time in seconds, and its upright RGB pixels (H, W, 3)."""

    number: int
    seconds: float
    pixels: NDArray[np.uint8]


class Video:
    """A video file or a camera, opened; iterating reads its frames once, in order.

    name: as it was given. live: a camera, whose frames are lost while nobody reads. fps: frames a second, as it says.
    count: frames of the file as it says, None where that is not known. read: frames read so far.
    """

    def __init__(self, source: str) -> None:
        """source: a file; or a camera: its number, or its device.

        Raises:
            VideoError: no such file or camera, or not a video.
        """
        self.name, self.live = source, is_camera(source)
        self._capture = _camera(source) if self.live else _file(source)
        said = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = said if 0 < said <= MOST else USUAL
        frames = 0 if self.live else int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = frames if frames > 0 else None
        self.read, self._seconds = 0, -1.0

    def __iter__(self) -> Iterator[Frame]:
        """Raises VideoError where not even the first frame can be read."""
        started = time.monotonic()
        while True:
            there, pixels = self._capture.read()
            if not there or pixels is None:
                break
            self._seconds = time.monotonic() - started if self.live else self._position()
            self.read += 1
            yield Frame(self.read - 1, self._seconds, np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8))
        if not self.read:
            raise VideoError(f"{self.name}: holds no frame that can be read")

    @property
    def missing(self) -> int:
        """After the last frame: how many were to follow by what the file says; 0 of a whole one.

        Some files only estimate their number of frames, so one whose time is over is whole as well.
        """
        if self.count is None or self.read >= self.count - 1 or self._seconds >= (self.count - 2) / self.fps:
            return 0
        return self.count - self.read

    def close(self) -> None:
        """Lets go of the file or the camera."""
        self._capture.release()

    def _position(self) -> float:
        """The time of the frame just read in seconds, which never stands still."""
        said = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return said if said > self._seconds else max(0.0, self._seconds + 1 / self.fps)


def is_camera(source: str) -> bool:
    """Whether a number or a device is given; a file that is called like a number is given as ./0."""
    if source.isascii() and source.isdigit():
        return True
    with suppress(OSError, ValueError):
        return stat.S_ISCHR(os.stat(source).st_mode)
    return source.startswith("/dev/")


@contextmanager
def new_video(target: Path, fps: float) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Writes RGB frames (H, W, 3) to a video that appears under its name when it is complete.

    All have the size of the first; others are resized. Raises ValueError on a suffix that is not of FORMATS, OSError
    where the video cannot be written.
    """
    codec = FORMATS.get(target.suffix.lower())
    if codec is None:
        raise ValueError(f"{target}: a video is written as {' or '.join(FORMATS)}, not as {target.suffix or 'that'}")
    with replacing(target) as partial:
        beside = partial.with_name(partial.name + target.suffix.lower())  # OpenCV goes by the suffix
        writer = _Writer(beside, codec, fps)
        try:
            try:
                yield writer
            finally:
                writer.close()
            writer.check(target)
            os.replace(beside, partial)
        finally:
            beside.unlink(missing_ok=True)


class _Writer:
    def __init__(self, path: Path, codec: str, fps: float) -> None:
        self.path, self.codec, self.fps = path, codec, fps
        self._size = (0, 0)
        self._writer: cv2.VideoWriter | None = None

    def __call__(self, pixels: NDArray[np.uint8]) -> None:
        if self._writer is None:
            self._size = (pixels.shape[1], pixels.shape[0])
            four = cv2.VideoWriter.fourcc(*self.codec)
            with _quiet():
                self._writer = cv2.VideoWriter(str(self.path), cv2.CAP_FFMPEG, four, self.fps, self._size)
            if not self._writer.isOpened():
                raise OSError(f"OpenCV cannot write {self.codec} video of {self._size[0]}x{self._size[1]} pixels here")
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        self._writer.write(bgr if bgr.shape[1::-1] == self._size else cv2.resize(bgr, self._size))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()

    def check(self, target: Path) -> None:
        """OpenCV is silent where it cannot write, as on a full disk. Raises OSError."""
        if self._writer is None:
            raise OSError(f"{target}: there was no frame to write")
        with _quiet():
            capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        whole = capture.isOpened() and capture.read()[0]
        capture.release()
        if not whole:
            raise OSError(f"{target}: could not be written; is the disk full?")


def _camera(source: str) -> cv2.VideoCapture:
    try:
        with _quiet():
            capture = cv2.VideoCapture(int(source)) if source.isdigit() else cv2.VideoCapture(source, cv2.CAP_V4L2)
    except cv2.error:  # a number of more than 32 bits
        raise VideoError(f"camera {source}: there is none of that number; ./{source} is a file") from None
    if not capture.isOpened():
        raise VideoError(f"camera {source}: cannot be opened: it is not there, or in use")
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # what came while the last frame was judged is out of date
    return capture


def _file(source: str) -> cv2.VideoCapture:
    path = Path(source)
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise VideoError(f"{source}: cannot be opened: {error.strerror or error}") from error
    if empty:
        raise VideoError(f"{source}: the file is empty")
    if path.suffix.lower() in _PHOTOS:
        raise VideoError(f"{source}: a photo; give it without --video")
    with _quiet():
        capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG)
    if not capture.isOpened() or int(capture.get(cv2.CAP_PROP_FOURCC)) == _TEXT:
        raise VideoError(f"{source}: not a video, or one that is cut off or of a kind that OpenCV cannot read")
    return capture


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps OpenCV and FFmpeg from writing to stderr what is said here in one line."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
