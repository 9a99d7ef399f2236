"""Manifest -> training batches: a crop, its target distribution, its weight, and what else is known of the face."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from agewise.ages import AGES, AgeDistribution
from agewise.data.augmentation.augment import Augmentation, view
from agewise.data.augmentation.paper import paper_view, region_of
from agewise.data.manifest import ManifestError, distributions, first_fault, numbers, open_manifest
from agewise.data.shards import PART_ROWS
from agewise.data.stored import open_pictures
from agewise.faces.align import Window, cut
from agewise.faces.bodies import letterbox

LABELS = ("age", "age_std", "age_low", "age_high", "age_probs", "weight")


class Faces(Dataset[dict[str, Any]]):
    """The faces of a manifest: crop (size, size, 3) uint8, target (101,), weight, label bounds `low`, `high` in years.

    A target is the teacher's distribution where the row has one, or else the exact age (with its std), or its group;
    `group_only` tells the last. Where there are tasks, a row of no known age has the group of all ages: it teaches them
    alone. With `bodies`, crop is a pair (2, size, size, 3): the face, and column `body` or black.
    """

    def __init__(
        self,
        manifest: Path,
        window: Window,
        size: int,
        policy: Augmentation | None = None,
        seed: int = 0,
        tasks: Mapping[str, NDArray[Any]] | None = None,
        bodies: bool = False,
    ) -> None:
        """tasks: what is known of each row beside its age, by task (`agewise.data.attributes`)."""
        self.targets, self.low, self.high, self.group_only, self.weights = read_labels(manifest, bool(tasks))
        self.images = open_pictures(manifest)
        has_bodies = bodies and "body" in open_manifest(manifest).schema_arrow.names
        self.bodies = open_pictures(manifest, "body") if has_bodies else None
        self.pairs, self.tasks = bodies, dict(tasks or {})
        self.window, self.size, self.policy, self.seed = window, size, policy, seed
        self.teacher: tuple[Window, int] | None = None
        """The window and the size in which a teacher is shown the same views, as `teacher_crop`; never degraded."""
        self.manifest = manifest
        self.rows = np.arange(len(self.targets))
        self.epoch = 0

    def only(self, rows: NDArray[np.intp]) -> Faces:
        """These faces alone, by their numbers here; the pictures stay where they are."""
        chosen = copy(self)
        chosen.rows = self.rows[rows]
        chosen.targets, chosen.weights, chosen.group_only = (
            self.targets[rows],
            self.weights[rows],
            self.group_only[rows],
        )
        chosen.low, chosen.high = self.low[rows], self.high[rows]
        chosen.tasks = {name: known[rows] for name, known in self.tasks.items()}
        return chosen

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One face; its random view depends on seed, epoch and index only. Raises ManifestError if it is unreadable."""
        whole = self._crop(index)
        pixels = self._view(whole, index, self.window, self.size, self.policy)
        if self.pairs:
            pixels = np.stack([pixels, self._body(index)])
        shown = {}
        if self.teacher is not None:
            shown["teacher_crop"] = self._view(whole, index, *self.teacher, _clear(self.policy))
        return {
            "crop": torch.from_numpy(pixels),
            **{name: torch.from_numpy(other) for name, other in shown.items()},
            "target": torch.from_numpy(self.targets[index]),
            "weight": self.weights[index],
            "low": self.low[index],
            "high": self.high[index],
            "group_only": self.group_only[index],
            "tasks": {name: known[index] for name, known in self.tasks.items()},
        }

    def _view(
        self, crop: NDArray[np.uint8], index: int, window: Window, size: int, policy: Augmentation | None
    ) -> NDArray[np.uint8]:
        """A view (size, size, 3) of a crop; other windows of one face are turned and lit alike.

        Shifts are shares of each window, which moves one by a hundredth of its side against the other, and the hidden
        rectangle is elsewhere.
        """
        rng = np.random.default_rng((self.seed, self.epoch, index))
        if policy is None:
            return np.asarray(cut(crop[None], window, size)[0])
        if policy.policy == "own":
            return view(crop, window, size, policy, rng)
        return paper_view(crop, region_of(window, len(crop)), size, policy.policy, rng)

    def _crop(self, index: int) -> NDArray[np.uint8]:
        decoded = _decoded(self.images[int(self.rows[index])])
        if decoded is None or decoded.shape[0] != decoded.shape[1]:
            wanted = "square picture that can be read (agewise prepare makes them)"
            raise ManifestError(f"{self.manifest}: row {self.rows[index]} has no {wanted}")
        return decoded

    def _body(self, index: int) -> NDArray[np.uint8]:
        """The body in its letterbox (size, size, 3), or black where the row has none."""
        decoded = _decoded(self.bodies[int(self.rows[index])]) if self.bodies is not None else None
        if decoded is None:
            return np.zeros((self.size, self.size, 3), np.uint8)
        return letterbox(decoded, self.size)


def _clear(policy: Augmentation | None) -> Augmentation | None:
    """The same views, none of them degraded."""
    return policy if policy is None else policy.model_copy(update={"degrade": 0.0})


def _decoded(data: bytes) -> NDArray[np.uint8] | None:
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    return None if decoded is None else np.asarray(decoded, dtype=np.uint8)


def read_labels(
    manifest: Path, ageless: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
    """What `labels` gives of every row, and weights (N,); a part is read at a time, so that 412 bytes a row are held.

    Raises ManifestError where there is no row, no column `image`, or a row whose label is missing or cannot be.
    """
    file = open_manifest(manifest, need=["image"])
    count = file.metadata.num_rows
    if not count:
        raise ManifestError(f"{manifest}: no row to learn from")
    targets, group_only = np.empty((count, len(AGES)), np.float32), np.empty(count, np.bool_)
    low, high, weights = (np.empty(count, np.float32) for _ in range(3))
    start = 0
    for batch in file.iter_batches(PART_ROWS, columns=[name for name in LABELS if name in file.schema_arrow.names]):
        table = pa.Table.from_batches([batch])
        wrong = first_fault(table)
        if wrong is not None:
            raise ManifestError(f"{manifest}: row {start + wrong[0]}: {wrong[1]}")
        rows = slice(start, start + len(table))
        targets[rows], low[rows], high[rows], group_only[rows] = labels(table, manifest, start, ageless)
        weights[rows] = np.nan_to_num(numbers(table, "weight"), nan=1.0)
        start += len(table)
    return targets, low, high, group_only, weights


def labels(
    table: pa.Table, name: Path, start: int = 0, ageless: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Targets (N, 101), bounds (N,), (N,) of the true ages in years, and which targets (N,) are no more than a group.

    A bound that is not known is NaN. Raises ManifestError where a row, counted from `start`, has no label, unless
    `ageless` rows are wanted: their group is all ages.
    """
    age, std = numbers(table, "age"), np.nan_to_num(numbers(table, "age_std"), nan=0.0)
    low, high = numbers(table, "age_low"), numbers(table, "age_high")
    exact, grouped = ~np.isnan(age), ~np.isnan(low) & ~np.isnan(high)
    told = table["age_probs"].is_valid().to_numpy() if "age_probs" in table.column_names else np.zeros(len(table), bool)
    targets = np.zeros((len(table), 101))
    targets[grouped] = AgeDistribution.of_groups(low[grouped], high[grouped]).probs
    targets[exact] = AgeDistribution.gaussian(age[exact], std[exact]).probs
    if told.any():
        targets[told] = distributions(table.filter(pa.array(told))).probs
    empty = targets.sum(axis=1) == 0
    if empty.any() and not ageless:
        row = start + int(np.argmax(empty))
        raise ManifestError(f"{name}: row {row} has no age, age_low and age_high, or age_probs")
    targets[empty] = 1 / len(AGES)
    bottom = np.where(exact, age, low)
    top = np.where(exact, age, high + 1)
    return (
        targets.astype(np.float32),
        bottom.astype(np.float32),
        top.astype(np.float32),
        (grouped & ~exact & ~told) | empty,
    )
