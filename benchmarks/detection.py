"""How many faces the detector finds: whole portraits, and mosaics of 25 FairFace faces at 40 pixels.

The detector's rules were tuned on the portraits and on mosaics of fairface-val; these mosaics are of fairface-train.

python benchmarks/detection.py [DATA], DATA being the folder with fairface-train and the portraits (../shared/data).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agewise.faces.detect import Detector
from agewise.faces.face import Face
from agewise.faces.image import read_photo

Picture = NDArray[np.uint8]
CHIP = 44
"""Side, in pixels, of a FairFace chip whose face is 40 pixels: the face fills 0.9 of it."""


def pictures(path: Path) -> Iterator[Picture]:
    """The pictures of a Parquet file."""
    for batch in pq.ParquetFile(path).iter_batches(200, columns=["image"]):
        for image in batch.column(0).to_pylist():
            yield read_photo(image["bytes"]).pixels


def mosaics(chips: list[Picture], side: int, rng: np.random.Generator) -> Iterator[tuple[Picture, NDArray[np.float64]]]:
    """Grids of 5 x 5 chips in a grey square of `side` pixels, and where each chip's centre is (25, 2)."""
    step = side // 5
    for start in range(0, len(chips), 25):
        canvas = np.full((side, side, 3), 128, dtype=np.uint8)
        centres = []
        for place, chip in enumerate(chips[start : start + 25]):
            left, top = (place % 5) * step, (place // 5) * step
            if step > CHIP:
                left, top = left + int(rng.integers(step - CHIP)), top + int(rng.integers(step - CHIP))
            canvas[top : top + CHIP, left : left + CHIP] = cv2.resize(chip, (CHIP, CHIP), interpolation=cv2.INTER_AREA)
            centres.append((left + CHIP / 2, top + CHIP / 2))
        yield canvas, np.array(centres)


def found(faces: list[Face], centres: NDArray[np.float64]) -> int:
    """How many chips have a face of their own: centred within a quarter of the chip, a quarter to 1.1 of it in size."""
    free = [face for face in faces if 0.25 * CHIP < face.size < 1.1 * CHIP]
    hits = 0
    for centre in centres:
        for face in free:
            middle = np.array([face.box[0] + face.box[2], face.box[1] + face.box[3]]) / 2
            if np.abs(middle - centre).max() < CHIP / 4:
                free.remove(face)
                hits += 1
                break
    return hits


def main(data: Path) -> None:
    """Prints a row a test."""
    detector = Detector()
    for name in ("portraits-studio", "portraits-synthetic"):
        counts = np.array([len(detector(picture)) for picture in pictures(data / f"{name}.parquet")])
        print(f"{name}: exactly one face in {(counts == 1).mean():.1%} of {len(counts)} photos")
    rng = np.random.default_rng(0)
    everything = list(pictures(data / "fairface-train.parquet"))
    chips = [everything[index] for index in rng.permutation(len(everything))[:1000]]
    for side in (5 * CHIP, 1600):
        hits, extra, started = 0, 0, time.perf_counter()
        for canvas, centres in mosaics(chips, side, rng):
            faces = detector(canvas)
            good = found(faces, centres)
            hits, extra = hits + good, extra + len(faces) - good
        seconds = (time.perf_counter() - started) / (len(chips) / 25)
        print(
            f"mosaics of 25 faces at 40 px in {side} x {side} px: {hits / len(chips):.1%} of {len(chips)} found, "
            f"{extra} false, {seconds * 1000:.0f} ms a mosaic"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data"))
