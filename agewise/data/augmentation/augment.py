"""Random views of a crop in training: geometry, light, hidden parts and, if asked, what a worse camera does to it."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from agewise.data.augmentation.degrade import degraded
from agewise.data.settings import Settings
from agewise.faces.align import Window, warp


class Augmentation(Settings):
    """How far a training view departs from its crop; all zero is the crop itself."""

    policy: Literal["own", "paper", "released"] = Field(
        default="own", description="own: as set below; else Table 2 of Greco et al. 2021 (docs/profiles.md)"
    )
    rotation: float = Field(default=5.0, ge=0, le=45, description="std of the turn, degrees")
    scale: float = Field(default=0.05, ge=0, le=0.3, description="std of the size, as a share")
    shift: float = Field(default=0.03, ge=0, le=0.3, description="std of the shift, as a share of the window")
    skew: float = Field(default=0.03, ge=0, le=0.2, description="std of the shear")
    contrast: float = Field(default=0.15, ge=0, le=0.5, description="std of the factor on contrast")
    brightness: float = Field(default=15.0, ge=0, le=60, description="std of the shift in grey levels")
    colour: float = Field(default=0.1, ge=0, le=0.5, description="std of the factor on each channel")
    grey: float = Field(default=0.1, ge=0, le=1, description="share of views without colour")
    flip: float = Field(default=0.5, ge=0, le=1, description="share of mirrored views")
    erase: float = Field(default=0.2, ge=0, le=1, description="share of views with a hidden rectangle")
    degrade: float = Field(default=0.0, ge=0, le=1, description="share of views as of a worse camera (degrade.py)")

    @model_validator(mode="after")
    def _has_no_settings_of_the_papers(self) -> Augmentation:
        fields = type(self).model_fields
        changed = [name for name in fields if name != "policy" and getattr(self, name) != fields[name].default]
        if self.policy != "own" and changed:
            raise ValueError(f"the policy {self.policy!r} has no settings; {changed[0]} is one of 'own'")
        return self


def bounded_normal(rng: np.random.Generator, std: float) -> float:
    """A normal draw around 0, clipped at two standard deviations (Greco et al. 2021, Table 2)."""
    return float(np.clip(rng.normal(0.0, std), -2 * std, 2 * std)) if std > 0 else 0.0


def view(
    crop: NDArray[np.uint8], window: Window, size: int, policy: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A random view (size, size, 3) of a crop (H, H, 3) in the standard frame, around `window`; sampled once.

    What is drawn for `degrade` comes last, so that without it the rest of the view is the same.
    """
    pixels = warp(crop, _placement(len(crop), window, size, policy, rng), size)
    pixels = _relit(pixels, policy, rng)
    if rng.random() < policy.erase:
        _erase(pixels, rng)
    if policy.degrade > 0 and rng.random() < policy.degrade:
        pixels = degraded(pixels, rng)
    return pixels


def _placement(
    frame: int, window: Window, size: int, policy: Augmentation, rng: np.random.Generator
) -> NDArray[np.float64]:
    angle = np.deg2rad(bounded_normal(rng, policy.rotation))
    grow = np.exp(bounded_normal(rng, policy.scale))
    mirror = -1.0 if rng.random() < policy.flip else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1.0, bounded_normal(rng, policy.skew)], [bounded_normal(rng, policy.skew), 1.0]])
    linear = turn @ shear @ np.diag([mirror, 1.0]) * (grow * size / (window.side * frame))
    centre = np.array([window.x, window.y]) * frame
    moved = size * np.array([0.5 + bounded_normal(rng, policy.shift), 0.5 + bounded_normal(rng, policy.shift)])
    return np.column_stack([linear, moved - linear @ centre])


def _relit(pixels: NDArray[np.uint8], policy: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    factor = 1.0 + bounded_normal(rng, policy.contrast)
    shift = bounded_normal(rng, policy.brightness)
    tint = [1.0 + bounded_normal(rng, policy.colour) for _ in range(3)]
    if rng.random() < policy.grey:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        pixels = np.repeat(grey[:, :, None], 3, axis=2)
    levels = np.arange(256.0)
    curves = [np.clip(((levels - 128) * factor + 128 + shift) * gain, 0, 255) for gain in tint]
    return np.asarray(cv2.LUT(pixels, np.stack(curves, axis=1)[None].astype(np.uint8)), dtype=np.uint8)


def _erase(pixels: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Fills a random rectangle of 2 to 15 % of the view with one random colour (Zhong et al. 2020)."""
    size = len(pixels)
    area, aspect = rng.uniform(0.02, 0.15), np.exp(rng.uniform(-0.7, 0.7))
    height = min(size, max(1, round(size * float(np.sqrt(area * aspect)))))
    width = min(size, max(1, round(size * float(np.sqrt(area / aspect)))))
    top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
    pixels[top : top + height, left : left + width] = rng.integers(0, 256, 3)
