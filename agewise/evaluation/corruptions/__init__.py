"""The 13 x 5 corruptions of LFW+C (Greco et al. 2021), and extras. To add one: a file here, a line in EXTRAS."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from agewise.evaluation.corruptions.blur import defocus_blur, gaussian_blur, motion_blur, zoom_blur
from agewise.evaluation.corruptions.digital import jpeg_compression, pixelate
from agewise.evaluation.corruptions.extras import low_light, low_resolution, mask, patch, rotation, sunglasses
from agewise.evaluation.corruptions.light import brightness_minus, brightness_plus, contrast_minus, contrast_plus
from agewise.evaluation.corruptions.noise import gaussian_noise, shot_noise
from agewise.evaluation.corruptions.profiles import PROFILES, Generator, Picture, Profile, resaved
from agewise.evaluation.corruptions.spatter import spatter

CORRUPTIONS: dict[str, Callable[[Picture, int, Generator, Profile], Picture]] = {
    "gaussian_blur": gaussian_blur,
    "defocus_blur": defocus_blur,
    "zoom_blur": zoom_blur,
    "motion_blur": motion_blur,
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "contrast_plus": contrast_plus,
    "contrast_minus": contrast_minus,
    "brightness_plus": brightness_plus,
    "brightness_minus": brightness_minus,
    "spatter": spatter,
    "jpeg_compression": jpeg_compression,
    "pixelate": pixelate,
}
"""The paper's, in its order: 4 blurs, 2 noises, 7 digital."""

EXTRAS: dict[str, Callable[[Picture, int, Generator], Picture]] = {
    "mask": mask,
    "sunglasses": sunglasses,
    "patch": patch,
    "low_light": low_light,
    "low_resolution": low_resolution,
    "rotation": rotation,
}
"""Ours: in no number that is compared with the paper, and the same in both profiles."""

CATEGORIES = {
    "blur": tuple(CORRUPTIONS)[:4],
    "noise": tuple(CORRUPTIONS)[4:6],
    "digital": tuple(CORRUPTIONS)[6:],
}
"""The paper's groups of kinds, over whose kinds and severities its Table 6 averages."""

SEVERITIES = (1, 2, 3, 4, 5)

LEAST_SIDE = 16
"""Pixels: pixelate leaves 4 of them, and a face of fewer is not one."""


def corrupt(image: Picture, kind: str, severity: int, rng: Generator | int, profile: Profile = "paper") -> Picture:
    """The image under a corruption: a new array of the same size.

    image: uint8 RGB (H, W, 3); of LFW+ the whole stored crop, before the face is cut out and resized.
    rng: a Generator, or a seed for one; `cell_rng` makes one that any run can make again.

    Raises:
        ValueError: no such kind, severity or profile, or not such an image.
    """
    _check(image, kind, severity, profile)
    pixels, level, generator = np.ascontiguousarray(image), int(severity), np.random.default_rng(rng)
    if kind in EXTRAS:
        return EXTRAS[kind](pixels, level, generator)
    changed = CORRUPTIONS[kind](pixels, level, generator, profile)
    return resaved(changed) if profile == "released" else np.ascontiguousarray(changed)


def cell_rng(seed: int, image_key: str, kind: str, severity: int) -> Generator:
    """The random numbers of one cell (image, kind, severity), whatever was drawn before; both profiles share them.

    >>> cell_rng(0, "a.jpg", "spatter", 1).random() == cell_rng(0, "a.jpg", "spatter", 1).random()
    True
    """
    name = "\0".join((str(seed), image_key, kind, str(severity)))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest(), "big"))


def _check(image: Picture, kind: str, severity: int, profile: Profile) -> None:
    if kind not in CORRUPTIONS and kind not in EXTRAS:
        raise ValueError(f"no corruption {kind!r}; there are {', '.join([*CORRUPTIONS, *EXTRAS])}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity {severity!r} of {kind}; 1 to 5 are allowed")
    if profile not in PROFILES:
        raise ValueError(f"no profile {profile!r} of the corruptions; there are {', '.join(PROFILES)}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"the image is {image.dtype} {image.shape}; uint8 (height, width, 3) is needed")
    if min(image.shape[:2]) < LEAST_SIDE:
        raise ValueError(f"the image has {image.shape[1]}x{image.shape[0]} pixels; {LEAST_SIDE} a side are needed")
