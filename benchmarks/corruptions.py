"""What the 65 corrupted variants of a face cost, beside the package imagecorruptions where it is at hand.

python benchmarks/corruptions.py [--peer FOLDER] [--side 224] [--runs 9] [--profile paper]; one thread. FOLDER holds
the package imagecorruptions. Its release 1.1.2 names parts of scikit-image, SciPy and NumPy that are gone; in a
copy: `multichannel=True` -> `channel_axis=-1`, `np.float_` -> `np.float64`, `scipy.ndimage.interpolation` ->
`scipy.ndimage`, and the line with pkg_resources -> `resource_filename = None`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from agewise.evaluation.corruptions import CORRUPTIONS, EXTRAS, SEVERITIES, cell_rng, corrupt
from agewise.evaluation.corruptions.blur import disc, filtered, mean_zoom, smear, zoom_factors
from agewise.evaluation.corruptions.digital import compressed, pixelated
from agewise.evaluation.corruptions.light import brightened, contrasted
from agewise.evaluation.corruptions.profiles import Picture, Profile, grey_levels, smooth
from agewise.evaluation.corruptions.spatter import SPLASHES, splashed
from agewise.faces.align import align
from agewise.faces.detect import Detector
from agewise.faces.image import read_photo

PHOTO = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
IMAGES, SIDE = 15_699, 256
"""Of LFW+C (Greco et al. 2021)."""
RELEASED: Profile = "released"
"""Whose kernels the package shares."""
SHARED = {
    "gaussian_blur": "gaussian_blur",
    "defocus_blur": "defocus_blur",
    "zoom_blur": "zoom_blur",
    "motion_blur": "motion_blur",
    "gaussian_noise": "gaussian_noise",
    "shot_noise": "shot_noise",
    "contrast_minus": "contrast",
    "brightness_plus": "brightness",
    "spatter": "spatter",
    "jpeg_compression": "jpeg_compression",
    "pixelate": "pixelate",
}
"""Kinds that the package has too, and its names of them."""

Values = tuple[float, ...]
PARAMETERS: dict[str, tuple[Values, ...]] = {
    "gaussian_blur": ((1,), (2,), (3,), (4,), (6,)),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "gaussian_noise": ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    "contrast_minus": ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    "brightness_plus": ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    "spatter": ((0,), (1,), (2,), (3,), (4,)),
    "jpeg_compression": ((25,), (18,), (15,), (10,), (7,)),
    "pixelate": ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
}
"""The package's own (Hendrycks and Dietterich 2019), in pixels of the image."""


def with_parameters(image: Picture, kind: str, values: Values, draws: np.random.RandomState) -> Picture:
    """Our operation with the package's parameters, its channel order and, where it can be, its random numbers."""
    first, second = (*values, 0.0)[:2]
    if kind == "spatter":
        splash = SPLASHES[int(first)]
        noise = draws.normal(splash.mean, splash.std, image.shape[:2]).astype(np.float32)
        return grey_levels(splashed(image, noise, splash, "paper"), RELEASED)
    if kind == "motion_blur":
        return grey_levels(smear(image, first, second, draws.uniform(-45, 45)), RELEASED)
    if kind == "gaussian_noise":
        noisy = image + draws.normal(0, 255 * first, image.shape)
        return grey_levels(noisy, RELEASED)
    small = int(image.shape[1] * first), int(image.shape[0] * first)
    steady: dict[str, Callable[[], Picture]] = {
        "gaussian_blur": lambda: grey_levels(smooth(image, first), RELEASED),
        "defocus_blur": lambda: grey_levels(filtered(image, disc(first, second, RELEASED)), RELEASED),
        "zoom_blur": lambda: grey_levels(mean_zoom(image, zoom_factors(first, second, RELEASED), RELEASED), RELEASED),
        "contrast_minus": lambda: contrasted(image, first, RELEASED),
        "brightness_plus": lambda: brightened(image, first, RELEASED),
        "jpeg_compression": lambda: compressed(image, int(first)),
        "pixelate": lambda: pixelated(image, small),
    }
    return steady[kind]()


def face(side: int) -> Picture:
    """The photo's one face in the standard frame."""
    pixels = read_photo(PHOTO).pixels
    (found,) = Detector(threads=1)(pixels)
    return align(pixels, found, side)


def spent(action: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000


def ours(image: Picture, kind: str, profile: Profile) -> Callable[[], object]:
    """All severities of a kind."""
    return lambda: [corrupt(image, kind, s, cell_rng(0, "face", kind, s), profile) for s in SEVERITIES]


def package(peer: Any, image: Picture, name: str) -> Callable[[], object]:
    """All severities of one of its kinds."""
    return lambda: [peer.corrupt(image, severity, name) for severity in SEVERITIES]


def costs(image: Picture, kinds: list[str], profile: Profile, runs: int) -> dict[str, NDArray[np.float64]]:
    """Milliseconds (runs,) of the five severities of each kind, after a run that is not counted."""
    found = np.array([[spent(ours(image, kind, profile)) for kind in kinds] for _ in range(runs + 1)])[1:]
    return dict(zip(kinds, found.T, strict=True))


def compare_speed(peer: Any, image: Picture, profile: Profile, runs: int) -> None:
    """Each kind's five severities, ours and the package's in turn, each with its own parameters."""
    rows = []
    for run in range(runs + 1):
        for kind, name in SHARED.items():
            action = ours(image, kind, profile)
            theirs = package(peer, image, name)
            pair = (spent(action), spent(theirs)) if run % 2 else (spent(theirs), spent(action))[::-1]
            rows.append(pair)
    table = np.array(rows).reshape(runs + 1, len(SHARED), 2)[1:]
    print(f"\n{'kind, its five severities':26s} {'ours ms':>9s} {'theirs ms':>10s} {'ratio':>7s}  quartiles")
    for index, kind in enumerate(SHARED):
        say_ratio(kind, table[:, index])
    say_ratio("all", table.sum(axis=1))


def say_ratio(what: str, pairs: NDArray[np.float64]) -> None:
    """One row: medians, and the median of the paired runs' ratios."""
    low, middle, high = np.percentile(pairs[:, 1] / pairs[:, 0], [25, 50, 75])
    own, theirs = np.median(pairs, axis=0)
    print(f"{what:26s} {own:9.2f} {theirs:10.2f} {middle:7.2f}  {low:.2f}-{high:.2f}")


def compare_pixels(peer: Any, image: Picture) -> None:
    """With the package's parameters and draws: how far the pixels are apart, in grey levels."""
    print(f"\n{'same parameters and draws':26s} {'largest':>9s} {'mean':>9s} {'differ':>9s}")
    for kind, name in SHARED.items():
        if kind == "shot_noise":
            continue  # Poisson draws of another order; its law is tested
        gaps = []
        for severity, values in zip(SEVERITIES, PARAMETERS[kind], strict=True):
            np.random.seed(severity)
            expected = peer.corrupt(image, severity, name).astype(float)
            found = with_parameters(image, kind, values, np.random.RandomState(severity))
            gaps.append(np.abs(found - expected))
        gap = np.array(gaps)
        print(f"{kind:26s} {gap.max():9.0f} {gap.mean():9.4f} {(gap > 0).mean():9.2%}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--peer", type=Path)
    options.add_argument("--side", type=int, default=224)
    options.add_argument("--runs", type=int, default=9)
    options.add_argument("--profile", default="paper", choices=get_args(Profile))
    given = options.parse_args()
    cv2.setNumThreads(1)
    image = face(given.side)
    kinds = [*CORRUPTIONS, *EXTRAS]
    small = costs(image, kinds, given.profile, given.runs)
    large = costs(face(SIDE), list(CORRUPTIONS), given.profile, given.runs)
    print(f"profile {given.profile}: ms an image, mean of five severities, median of {given.runs} runs")
    print(f"{'kind':26s} {given.side:6d} px {SIDE:6d} px")
    for kind in kinds:
        wide = f"{np.median(large[kind]) / 5:9.2f}" if kind in large else ""
        print(f"{kind:26s} {np.median(small[kind]) / 5:9.2f} {wide}")
    whole = float(np.median(sum(large.values()))) / 1000
    variants = len(CORRUPTIONS) * len(SEVERITIES)
    print(f"the {variants} variants of one face: {np.median(sum(small[kind] for kind in CORRUPTIONS)):.1f} ms")
    print(f"LFW+C, {IMAGES * variants:,} images of {SIDE} px: {whole * IMAGES / 3600:.2f} core-hours")
    if given.peer:
        sys.path.insert(0, str(given.peer))
        peer = import_module("imagecorruptions")
        compare_speed(peer, image, given.profile, given.runs)
        compare_pixels(peer, image)


if __name__ == "__main__":
    main()
