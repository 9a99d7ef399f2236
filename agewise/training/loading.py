"""The recipe's manifests as loaders: which face comes when depends on seed and epoch, on any number of processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from agewise.data.attributes import attributes, classes, identities
from agewise.data.dataset import Faces, balanced_weights
from agewise.data.manifest import check_frame
from agewise.faces.align import Window
from agewise.model.mivolo import CONFIGURATIONS
from agewise.training.config import Recipe


def open_faces(recipe: Recipe) -> tuple[Faces, Faces | None]:
    """The faces to learn from, and those that are only looked at. Raises ManifestError where they cannot be used."""
    data, model = recipe.data, recipe.model
    for manifest in filter(None, (data.train, data.valid)):
        check_frame(manifest, model.frame)
    window = Window(**model.window.model_dump())
    pairs = model.backbone.name in CONFIGURATIONS
    train = Path(data.train)
    tasks = {name: _known(recipe, name, train) for name in model.tasks}
    faces = Faces(train, window, model.size, recipe.augmentation, recipe.training.seed, tasks, pairs)
    if data.reweight:
        faces.weights *= balanced_weights(faces.targets, data.reweight).astype(np.float32)
    valid = Faces(Path(data.valid), window, model.size, bodies=pairs) if data.valid else None
    return faces, valid


def _known(recipe: Recipe, name: str, manifest: Path) -> NDArray[Any]:
    task = recipe.model.tasks[name]
    column = task.column or ("subject" if task.kind == "identity" else name)
    if task.kind == "attributes":
        return attributes(manifest, task.labels)
    if task.kind == "identity":
        return identities(manifest, column, task.subjects)
    return classes(manifest, column, task.labels)


def loader(faces: Faces, recipe: Recipe, training: bool = False) -> DataLoader[dict[str, Any]]:
    """Batches of the faces, drawn by age balance when it is for training."""
    count = min(len(faces), recipe.data.limit or len(faces)) if training else len(faces)
    balance = recipe.data.balance
    weights = balanced_weights(faces.targets[:count], balance) if training and balance else None
    processes = world(recipe)[1]
    return DataLoader(
        faces,
        batch_size=recipe.training.batch,
        sampler=EpochSampler(weights, count, recipe.training.seed, *world(recipe)) if training else None,
        num_workers=recipe.data.workers,
        drop_last=training and count >= recipe.training.batch * processes,
    )


def world(recipe: Recipe) -> tuple[int, int]:
    """Which process this is and how many there are, as Lightning launches them."""
    devices = recipe.training.devices
    local = max(1, torch.cuda.device_count()) if devices == -1 else devices
    node = int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0")))
    rank = int(os.environ.get("RANK", node * local + int(os.environ.get("LOCAL_RANK", "0"))))
    return rank, local * recipe.training.nodes


class EpochSampler(Sampler[int]):
    """Faces drawn by weight, without repeats at equal weights; the order depends on the seed and the epoch only.

    Process r of W takes each W-th face from the r-th on, so that W batches side by side are one batch W times as large.
    """

    def __init__(
        self, weights: NDArray[np.float64] | None, count: int, seed: int, rank: int = 0, processes: int = 1
    ) -> None:
        self.weights, self.count, self.seed, self.epoch = weights, count, seed, 0
        self.rank, self.processes = rank, processes

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.processes)

    def __iter__(self) -> Iterator[int]:
        order = np.resize(self._order(), len(self) * self.processes)
        return iter(order[self.rank :: self.processes].tolist())

    def _order(self) -> NDArray[np.int64]:
        rng = np.random.default_rng((self.seed, self.epoch))
        if self.weights is None:
            return rng.permutation(self.count)
        share = self.weights / self.weights.sum() * self.count
        copies = np.floor(share + rng.random(self.count)).astype(int)  # systematic: each face share times on average
        drawn = rng.permutation(np.repeat(np.arange(self.count), copies))
        return np.resize(drawn, self.count)


class EpochSeed(Callback):
    """Ties all randomness to seed and epoch, so that a resumed run ends as one that was not cut off."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Tells the dataset which random views to make."""
        faces = trainer.train_dataloader.dataset  # type: ignore[union-attr]  # one loader, given to fit
        faces.epoch = trainer.current_epoch

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002
        batch: dict[str, Any],  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Seeds dropout; not at the epoch's start, after which the loaders draw a number in some epochs only."""
        if batch_idx == 0:
            torch.manual_seed(int(np.random.SeedSequence((self.seed, trainer.current_epoch)).generate_state(1)[0]))
