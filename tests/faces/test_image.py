"""Photos of every kind and fault -> upright RGB, or one line of what is wrong."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from agewise.faces import image as image_module
from agewise.faces.image import PhotoError, encode_jpeg, images_below, read_photo

ROOT = Path(__file__).parents[2]


def picture(height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """Smooth, so that JPEG hardly changes it, and different in its four corners."""
    y, x = np.mgrid[0:height, 0:width]
    planes = x * 200 // width + 20, y * 200 // height + 20, (x + y) * 100 // (height + width) + 50
    return np.stack(planes, axis=2).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


TURNS = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda upright: np.rot90(upright, -1),
}
"""What the file holds of an upright photo, by EXIF orientation (CIPA DC-008, table 7)."""


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_photos_are_turned_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(TURNS[orientation](picture())))
    read = read_photo(encoded(stored, kind, exif=exif, **({} if kind == "PNG" else {"quality": 95})))
    assert read.scale == 1.0
    assert read.pixels.flags.c_contiguous
    np.testing.assert_allclose(read.pixels.astype(int), picture(), atol=0 if kind == "PNG" else 12)


def test_an_orientation_that_does_not_exist_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x112] = 77
    assert (read_photo(encoded(Image.fromarray(picture()), "PNG", exif=exif)).pixels == picture()).all()


@pytest.mark.parametrize(
    ("tag", "kind", "count", "value"),
    [
        (0x128, 4, 1, struct.pack("<I", 70000)),
        (0x128, 2, 3, b"in\0\0"),
        (0x11A, 2, 2, b"?\0\0\0"),
        (0x213, 8, 1, b"\xff" * 4),
    ],
)
def test_a_photo_is_turned_whatever_else_its_exif_says(tag: int, kind: int, count: int, value: bytes) -> None:
    """A unit of resolution beyond 16 bits or as text, a resolution as text, a negative position of chroma."""
    entries = sorted([struct.pack("<HHIHH", 0x112, 3, 1, 6, 0), struct.pack("<HHI", tag, kind, count) + value])
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + b"".join(entries) + bytes(4)
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(picture(), 1)))
    read = read_photo(encoded(stored, "JPEG", exif=exif, quality=95))
    np.testing.assert_allclose(read.pixels.astype(int), picture(), atol=12)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_damaged_exif_block_leaves_the_photo_as_it_is(kind: str) -> None:
    read = read_photo(encoded(Image.fromarray(picture()), kind, exif=b"Exif\0\0MM\0", lossless=True))
    assert (read.pixels == picture()).all()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_exact_formats_are_read_exactly(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"photo.{kind.lower()}"
    source = Image.fromarray(picture(8, 8)).quantize(64).convert("RGB")
    source.save(path)
    assert (read_photo(path).pixels == np.asarray(source)).all()


def test_grey_and_black_and_white() -> None:
    grey = picture()[..., 0]
    assert (read_photo(encoded(Image.fromarray(grey), "PNG")).pixels == grey[..., None]).all()
    two = read_photo(encoded(Image.fromarray(grey).convert("1"), "PNG")).pixels
    assert set(np.unique(two)) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_brightness(kind: str) -> None:
    grey = picture()[..., 0]
    data = encoded(Image.fromarray(grey.astype(np.uint16) * 257), kind)
    assert (read_photo(data).pixels == grey[..., None]).all()


def test_floating_point_is_refused() -> None:
    with pytest.raises(PhotoError, match="32-bit values"):
        read_photo(encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


def test_cmyk_is_converted() -> None:
    data = encoded(Image.fromarray(picture()).convert("CMYK"), "JPEG", quality=95)
    np.testing.assert_allclose(read_photo(data).pixels.astype(int), picture(), atol=12)


def test_the_transparent_is_white() -> None:
    rgba = np.dstack([picture(), np.full((24, 32), 255, np.uint8)])
    rgba[:12, :, 3] = 0
    read = read_photo(encoded(Image.fromarray(rgba), "PNG")).pixels
    assert (read[:12] == 255).all()
    assert (read[12:] == picture()[12:]).all()
    grey = Image.fromarray(rgba).convert("LA")
    assert (read_photo(encoded(grey, "PNG")).pixels[:12] == 255).all()


def test_palettes_with_and_without_a_transparent_colour() -> None:
    image = Image.fromarray(picture()).quantize(16)
    plain = read_photo(encoded(image, "PNG")).pixels
    assert (plain == np.asarray(image.convert("RGB"))).all()
    first = np.asarray(image) == np.asarray(image)[0, 0]
    read = read_photo(encoded(image, "PNG", transparency=int(np.asarray(image)[0, 0]))).pixels
    assert (read[first] == 255).all()
    assert (read[~first] == plain[~first]).all()


def test_one_pixel() -> None:
    assert read_photo(encoded(Image.new("RGB", (1, 1), "red"), "PNG")).pixels.tolist() == [[[255, 0, 0]]]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"These are my holiday photos.\n" * 20, "not an image file"),
        (b"\xff\xd8\xff\xe0", "not an image file|damaged image"),
        (encode_jpeg(picture(200, 200))[:2000], "damaged image: .*truncated"),
        (encoded(Image.fromarray(picture(200, 200)), "PNG")[:300], "damaged image"),
    ],
    ids=["empty", "text", "four bytes", "half a JPEG", "half a PNG"],
)
def test_faults_are_named_in_one_line(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=reason) as caught:
        read_photo(path)
    assert "\n" not in str(caught.value)


def test_absent_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="cannot be opened: No such file"):
        read_photo(tmp_path / "absent.jpg")
    with pytest.raises(PhotoError, match="cannot be opened: Is a directory"):
        read_photo(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_damaged_bytes_raise_nothing_but_photo_errors(kind: str) -> None:
    rng = np.random.default_rng(0)
    whole = np.frombuffer(encoded(Image.fromarray(picture()), kind), np.uint8)
    outcomes = set()
    for _ in range(150):
        data = whole.copy()
        data[rng.integers(0, min(len(data), 400), 4)] = rng.integers(0, 256, 4)
        try:
            outcomes.add(read_photo(data.tobytes()).pixels.dtype)
        except PhotoError as error:
            outcomes.add(type(error))
    assert outcomes <= {np.dtype(np.uint8), PhotoError}
    assert PhotoError in outcomes


def test_a_huge_jpeg_is_read_scaled_in_bounded_memory(tmp_path: Path) -> None:
    """100 megapixels, with odd sides, would be 300 MB of pixels; a process of its own tells its greatest size."""
    path = tmp_path / "huge.jpg"
    Image.new("L", (10001, 9999), 90).save(path, quality=50)
    code = (
        "import resource, sys; from agewise.faces.image import read_photo\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; photo = read_photo(sys.argv[1])\n"
        "print(*photo.pixels.shape, photo.scale, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=True)
    height, width, channels, scale, kilobytes = (float(value) for value in done.stdout.split())
    assert (height, width, channels) == (5000, 5001, 3)
    assert scale == pytest.approx(0.5, abs=1e-3)
    assert kilobytes < 250_000


def test_a_huge_png_is_refused_before_it_is_decoded() -> None:
    data = encoded(Image.new("1", (10000, 10000)), "PNG")
    with pytest.raises(PhotoError, match="the image has 10000x10000 pixels; at most 50 megapixels"):
        read_photo(data)


def test_a_jpeg_of_a_200_megapixel_camera_is_read_and_a_larger_one_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's own limit of 179 megapixels is not ours."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    monkeypatch.setattr(image_module, "MAX_PIXELS", 1_000_000)
    photo = read_photo(encoded(Image.new("L", (2040, 1530), 90), "JPEG"))
    assert (photo.pixels.shape, photo.scale) == ((765, 1020, 3), 0.5)
    with pytest.raises(PhotoError, match=r"2040x2000 pixels; at most 1 megapixels are read \(4 of a JPEG\)"):
        read_photo(encoded(Image.new("L", (2040, 2000)), "JPEG"))
    with pytest.raises(PhotoError, match=r"too many pixels; at most 1 megapixels are read"):
        read_photo(encoded(Image.new("1", (64, 64)), "PNG"))


def test_reading_in_threads_leaves_the_filters_of_warnings_as_they_are() -> None:
    before, data = list(warnings.filters), encoded(Image.fromarray(picture()), "PNG")
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(read_photo, [data] * 400))) == 400
    assert warnings.filters == before


def test_jpegs_keep_their_colours() -> None:
    np.testing.assert_allclose(read_photo(encode_jpeg(picture())).pixels.astype(int), picture(), atol=8)


def test_images_below_a_folder_are_found_in_order(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/c.png", "a/notes.txt", ".hidden.jpg", "d.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in images_below(tmp_path)] == ["a/c.png", "b.JPG", "d.webp"]
