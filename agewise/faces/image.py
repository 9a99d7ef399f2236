"""Photos as they come, opened once: upright uint8 RGB, whatever the file's mode, depth or size."""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

MAX_PIXELS = 50_000_000
"""JPEGs of up to four times as many are read at a half; any other larger file is refused."""

EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation but 1, the upright."""

_OPENING = threading.Lock()
"""Held while warnings are silenced, which is for the whole process."""

_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, ArithmeticError, LookupError, EOFError, struct.error)
"""What Pillow's decoders raise on damaged bytes, found by flipping some in every format."""


class PhotoError(ValueError):
    """A photo that cannot be read; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Photo:
    """Upright RGB pixels (H, W, 3) uint8, and the factor by which a huge file was shrunk (1.0: as stored)."""

    pixels: NDArray[np.uint8]
    scale: float = 1.0


def read_photo(source: Path | str | bytes) -> Photo:
    """The photo in a file, or in the bytes of one, with its EXIF orientation applied.

    Raises:
        PhotoError: not an image, truncated, or too large to be read in bounded memory.
    """
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise PhotoError(f"cannot be opened: {error.strerror or error}") from error
    if not data:
        raise PhotoError("the file is empty")
    try:
        with _opened(data) as image:
            return _decode(image)
    except Image.DecompressionBombError as error:
        raise PhotoError(f"too many pixels; at most {_limit()}") from error
    except UnidentifiedImageError as error:
        raise PhotoError("not an image file (JPEG, PNG, WebP, BMP, TIFF and GIF are read)") from error
    except PhotoError:
        raise
    except _DAMAGE as error:
        raise PhotoError(f"damaged image: {str(error) or type(error).__name__}") from error


def images_below(folder: Path) -> list[Path]:
    """The image files in a folder and its subfolders by their extension, in order, hidden ones left out."""
    below = (path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS and not os.path.isdir(path))
    return sorted(path for path in below if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _opened(data: bytes) -> Image.Image:
    """The image whose header is read; its pixels are not."""
    if data.startswith(b"\xff\xd8\xff"):  # a JPEG, of which Pillow's own limit would refuse what can be read at a half
        return JpegImageFile(io.BytesIO(data))
    with _OPENING, warnings.catch_warnings():  # that limit is for those who have none
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(data))


def _decode(image: Image.Image) -> Photo:
    width, height = image.size
    halved = width * height > MAX_PIXELS
    if width * height > MAX_PIXELS * (4 if image.format == "JPEG" else 1):
        raise PhotoError(f"the image has {width}x{height} pixels; at most {_limit()}")
    if halved:
        image.draft("RGB", (width // 2, height // 2))  # rounded up, an odd side would not be halved at all
    scale = image.size[0] / width
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    return Photo(np.ascontiguousarray(_to_rgb(image if turn is None else image.transpose(turn))), scale)


def _limit() -> str:
    return f"{MAX_PIXELS // 10**6} megapixels are read ({4 * MAX_PIXELS // 10**6} of a JPEG)"


def _orientation(image: Image.Image) -> int:
    """As EXIF says; 1, upright, where that is damaged: what else stands there is nobody's concern here."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:
        return 1


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise PhotoError("the image has 32-bit values, whose white is not known; 8 and 16 bits are read")
    if image.mode.startswith("I"):  # 16-bit greyscale: Pillow's convert would clip, not scale
        grey = np.asarray(image)
        eight = (np.clip(grey, 0, 65535) >> 8).astype(np.uint8)
        return np.repeat(eight[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 95) -> bytes:
    """RGB pixels (H, W, 3) as a JPEG file without chroma subsampling."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
