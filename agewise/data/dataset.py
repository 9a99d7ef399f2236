"""Manifest -> training batches: a crop, its target distribution and its weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from agewise.ages import AgeDistribution
from agewise.data.augment import Augmentation, view
from agewise.data.manifest import ManifestError, distributions, numbers, read_manifest
from agewise.faces.align import Window, cut

LABELS = ("age", "age_std", "age_low", "age_high", "age_probs", "weight")


class Faces(Dataset[dict[str, Any]]):
    """The faces of a manifest: crop (size, size, 3) uint8, target (101,), weight, label bounds `low`, `high` in years.

    A target is the teacher's distribution where the row has one, or else the exact age (with its std), or its group.
    """

    def __init__(
        self, manifest: Path, window: Window, size: int, policy: Augmentation | None = None, seed: int = 0
    ) -> None:
        table = read_manifest(manifest, columns=["image", *LABELS], need=["image"])
        if not len(table):
            raise ManifestError(f"{manifest}: no row to learn from")
        self.targets, self.low, self.high = labels(table, manifest)
        self.weights = np.nan_to_num(numbers(table, "weight"), nan=1.0).astype(np.float32)
        self.images = table["image"].combine_chunks()
        self.window, self.size, self.policy, self.seed = window, size, policy, seed
        self.manifest = manifest
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One face; its random view depends on seed, epoch and index only. Raises ManifestError if it is unreadable."""
        crop = self._crop(index)
        if self.policy is None:
            pixels = cut(crop[None], self.window, self.size)[0]
        else:
            rng = np.random.default_rng((self.seed, self.epoch, index))
            pixels = view(crop, self.window, self.size, self.policy, rng)
        return {
            "crop": torch.from_numpy(pixels),
            "target": torch.from_numpy(self.targets[index]),
            "weight": self.weights[index],
            "low": self.low[index],
            "high": self.high[index],
        }

    def _crop(self, index: int) -> NDArray[np.uint8]:
        data = self._bytes(self.images[index].as_py() or {})
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
        if decoded is None or decoded.shape[0] != decoded.shape[1]:
            wanted = "square picture that can be read (agewise prepare makes them)"
            raise ManifestError(f"{self.manifest}: row {index} has no {wanted}")
        return np.asarray(decoded, dtype=np.uint8)

    def _bytes(self, image: dict[str, Any]) -> bytes:
        if image.get("bytes") or not image.get("path"):
            return image.get("bytes") or b""
        path = self.manifest.parent / image["path"]
        return path.read_bytes() if path.is_file() else b""


def labels(table: pa.Table, name: Path) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Targets (N, 101) and the bounds (N,), (N,) in years between which each true age is known to lie, NaN if not.

    Raises ManifestError where a row has no label at all.
    """
    age, std = numbers(table, "age"), np.nan_to_num(numbers(table, "age_std"), nan=0.0)
    low, high = numbers(table, "age_low"), numbers(table, "age_high")
    exact, grouped = ~np.isnan(age), ~np.isnan(low) & ~np.isnan(high)
    targets = np.zeros((len(table), 101))
    targets[grouped] = AgeDistribution.of_groups(low[grouped], high[grouped]).probs
    targets[exact] = AgeDistribution.gaussian(age[exact], std[exact]).probs
    if "age_probs" in table.column_names:
        told = table["age_probs"].is_valid().to_numpy()
        targets[told] = distributions(table.filter(pa.array(told))).probs
    empty = targets.sum(axis=1) == 0
    if empty.any():
        raise ManifestError(f"{name}: row {int(np.argmax(empty))} has no age, age_low and age_high, or age_probs")
    bottom = np.where(exact, age, low)
    top = np.where(exact, age, high + 1)
    return targets.astype(np.float32), bottom.astype(np.float32), top.astype(np.float32)


def balanced_weights(targets: NDArray[np.float32], power: float, width: float = 4.0) -> NDArray[np.float64]:
    """Sampling weights (N,), mean 1: the inverse density of each target's ages, to a power (0: as they come, 1: even).

    The density is smoothed over neighbouring ages (Yang et al. 2021, label distribution smoothing).
    """
    ages = np.arange(targets.shape[1])
    kernel = np.exp(-0.5 * ((ages[:, None] - ages) / width) ** 2)
    density = (kernel / kernel.sum(axis=0)) @ targets.mean(axis=0)
    weights = targets @ (np.maximum(density, 1e-4) ** -power)
    return np.asarray(weights / weights.mean(), dtype=np.float64)
