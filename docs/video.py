"""Measures what docs/video.md says of fused ages: python docs/video.py PORTRAITS-STUDIO.parquet.

The correlation of a person's errors, coverage of fused photos, and the flicker of clips that are made of the photos: a
face that moves, grows and shrinks, tilts, blurs and changes its light, from the first photo to the second.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.deployment.estimate import Estimator
from agewise.deployment.fuse import Fusion, weight
from agewise.faces.image import encode_jpeg, read_photo
from agewise.faces.quality import quality

Pixels = NDArray[np.uint8]
Looks = tuple[AgeDistribution, list[float]]
FRAMES, WIDTH, HEIGHT = 40, 480, 360


def main(portraits: Path) -> None:
    """Prints the numbers of every table."""
    estimator = Estimator(threads=1)
    people = _people(portraits)
    truth = np.array([age for age, _ in people])
    photos = [_looks(estimator, pair) for _, pair in people]
    errors = np.array([ages.mean - age for (ages, _), age in zip(photos, truth, strict=True)])
    print("rho", _interval(errors, len(people), lambda rows: (rows[:, 0] * rows[:, 1]).mean() / (rows**2).mean()))
    _table("photos", photos, truth)
    clips = [_looks(estimator, _clip(pair, np.random.default_rng(n))) for n, (_, pair) in enumerate(people)]
    _table("frames", clips, truth)
    shown = np.array([_shown(clip) for clip in clips])
    alone = np.array([ages.mean for ages, _ in clips])
    for name, part in (("whole clip", slice(None)), ("second half", slice(FRAMES // 2, None))):
        print(
            "flicker,", name, *(_interval(ages[:, part].std(axis=1), len(people)) for ages in (alone, shown)), sep="\t"
        )


def _people(portraits: Path) -> list[tuple[float, list[Pixels]]]:
    """Age and both photos of those who have two."""
    found: dict[str, list[tuple[float, Pixels]]] = {}
    for row in pq.read_table(portraits).to_pylist():
        photo = row["age"], read_photo(row["image"]["bytes"]).pixels
        found.setdefault(str(row["subject"]), []).append(photo)
    return [(photos[0][0], [pixels for _, pixels in photos]) for photos in found.values() if len(photos) == 2]


def _looks(estimator: Estimator, frames: Sequence[Pixels] | Iterator[Pixels]) -> Looks:
    """The age of the largest face of each frame, and its weight."""
    ages, weights = [], []
    for pixels in frames:
        faces = estimator.detector(pixels)[:1]
        ages.append(estimator.model.of_faces(pixels, faces))
        weights += [weight(quality(pixels, face)) for face in faces]
    return AgeDistribution.concatenate(ages), weights


def _clip(photos: Sequence[Pixels], rng: np.random.Generator) -> Iterator[Pixels]:
    """Frames of faces of 25 to 140 pixels."""
    noise = rng.integers(60, 150, (HEIGHT // 30, WIDTH // 30, 3), dtype=np.uint8)
    back = cv2.resize(noise, (WIDTH, HEIGHT))
    phase, size = rng.uniform(0, 2 * np.pi, 6), rng.uniform(0.2, 0.5)
    height, width = photos[0].shape[:2]
    second = cv2.resize(photos[1], (width, height))
    for n in range(FRAMES):
        turn = 2 * np.pi * n / FRAMES
        share = float(np.clip((n / FRAMES - 0.45) / 0.1, 0, 1))
        scale = size * (1 + 0.4 * np.sin(turn + phase[0]))
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 8 * np.sin(2 * turn + phase[1]), scale)
        x, y = WIDTH / 2 + 90 * np.sin(turn + phase[2]), HEIGHT / 2 + 50 * np.sin(1.5 * turn + phase[3])
        matrix[:, 2] += [x - width / 2, y - height / 2]
        face = cv2.GaussianBlur(cv2.addWeighted(photos[0], 1 - share, second, share, 0), (0, 0), 0.35 / scale)
        inside = cv2.warpAffine(np.full((height, width), 255, np.uint8), matrix, (WIDTH, HEIGHT)) > 127
        frame = np.where(inside[:, :, None], cv2.warpAffine(face, matrix, (WIDTH, HEIGHT)), back)
        frame = _moved(frame, max(0.0, np.sin(3 * turn + phase[4])) * rng.uniform(0, 9), rng.uniform(0, 180))
        light = 1 + 0.35 * np.sin(2 * turn + phase[5]) + rng.normal(0, 0.03)
        noisy = np.clip(frame * light + rng.normal(0, 4, frame.shape), 0, 255).astype(np.uint8)
        yield read_photo(encode_jpeg(noisy, 60)).pixels


def _moved(frame: Pixels, length: float, angle: float) -> Pixels:
    """Blurred by a motion of so many pixels."""
    side = int(length) | 1
    if side < 3:
        return frame
    line = np.zeros((side, side), np.float32)
    line[side // 2] = 1
    line = cv2.warpAffine(line, cv2.getRotationMatrix2D((side // 2, side // 2), angle, 1), (side, side))
    return np.asarray(cv2.filter2D(frame, -1, line / line.sum()), np.uint8)


def _table(name: str, looks: Sequence[Looks], truth: NDArray[np.float64]) -> None:
    """A line a way of fusing: MAE, width and coverage of the 90 % intervals."""
    each = AgeDistribution.concatenate([ages for ages, _ in looks])
    _line(f"{name} alone", each, np.repeat(truth, len(each) // len(truth)), len(truth))
    _line(f"{name} fused", AgeDistribution.concatenate([_fused(*one) for one in looks]), truth, len(truth))
    equal = [_fused(ages, [1.0] * len(ages)) for ages, _ in looks]
    _line(f"{name} fused, equal weights", AgeDistribution.concatenate(equal), truth, len(truth))
    logs = [np.log(np.maximum(ages.probs, 1e-8)).sum(axis=0, keepdims=True) for ages, _ in looks]
    product = [AgeDistribution(np.exp(values - values.max())) for values in logs]
    _line(f"{name} multiplied as if independent", AgeDistribution.concatenate(product), truth, len(truth))


def _fused(ages: AgeDistribution, weights: Sequence[float]) -> AgeDistribution:
    fusion = Fusion()
    for row, counted in enumerate(weights):
        fusion.add(ages[row : row + 1], counted)
    return fusion.ages


def _shown(clip: Looks) -> list[float]:
    """The age that is shown in each frame of a clip."""
    ages, weights = clip
    return [float(_fused(ages[: n + 1], weights[: n + 1]).mean[0]) for n in range(len(ages))]


def _line(name: str, ages: AgeDistribution, truth: NDArray[np.float64], people: int) -> None:
    low, high = ages.interval().T
    covered = (low <= truth) & (truth <= high)
    error = np.abs(ages.mean - truth)
    print(name, _interval(error, people), f"{(high - low).mean():.1f}", _interval(covered, people), sep="\t")


def _interval(
    values: NDArray[np.generic], people: int, statistic: Callable[[NDArray[np.generic]], np.floating] = np.mean
) -> str:
    """A statistic with its 95 % interval over people, whose values stand together."""
    rows, rng = values.reshape(people, -1), np.random.default_rng(0)
    drawn = [float(statistic(rows[rng.integers(0, people, people)])) for _ in range(1000)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{float(statistic(rows)):.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(str(__doc__).splitlines()[0])
    main(Path(sys.argv[1]))
