"""The recipe's manifests as loaders: which face comes when depends on seed and epoch, on any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pyarrow.compute as pc
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from agewise.data.attributes import attributes, classes, identities
from agewise.data.choosing import chosen_rows, in_fold, of_ages
from agewise.data.dataset import Faces
from agewise.data.manifest import ManifestError, check_frame, numbers, open_manifest, read_manifest
from agewise.data.settings import SettingsError
from agewise.data.targets import shaped, weights_of
from agewise.data.weights import balanced_weights, even_weights
from agewise.faces.align import Window
from agewise.model.mivolo import CONFIGURATIONS
from agewise.training.config import Recipe


def open_faces(recipe: Recipe) -> tuple[Faces, Faces | None]:
    """The faces to learn from, and those that are only looked at. Raises ManifestError where they cannot be used."""
    data, model = recipe.data, recipe.model
    for manifest in filter(None, (data.train, data.valid)):
        check_frame(manifest, model.frame, model.margin)
    _refuse_parts(Path(data.train))
    window = Window(**model.window.model_dump())
    pairs = model.backbone.name in CONFIGURATIONS
    train = Path(data.train)
    tasks = {name: _known(recipe, name, train) for name in model.tasks}
    faces = _shaped(Faces(train, window, model.size, recipe.augmentation, recipe.training.seed, tasks, pairs), recipe)
    held_out = in_fold(train, data.folds, data.fold) if data.folds else np.zeros(len(faces), bool)
    kept = of_ages(faces.targets, data.ages) if data.ages else np.ones(len(faces), bool)
    faces = faces.only(chosen_rows(train, kept, ~held_out, limit=data.limit))
    if data.even:
        faces.weights *= even_weights(faces.targets, _cells(train, data.even)[faces.rows]).astype(np.float32)
    if data.reweight:
        faces.weights *= balanced_weights(faces.targets, data.reweight).astype(np.float32)
    valid = _valid(recipe, Path(data.valid), window) if data.valid else None
    if valid is None and (held_out & kept).any():
        valid = _valid(recipe, train, window).only(chosen_rows(train, kept, held_out))
    chooses = recipe.training.keep == "best" or recipe.training.patience > 0
    if valid is not None and chooses and np.isnan(valid.low + valid.high).all():
        raise ManifestError(f"{data.valid or train}: no face of known age, to choose the best epoch by")
    return faces, valid


def _shaped(faces: Faces, recipe: Recipe) -> Faces:
    """The faces with the targets and weights that the recipe wants of their labels."""
    settings = recipe.data.target
    if settings.agreement != "none":
        spread = numbers(read_manifest(faces.manifest, columns=["agreement"], need=["agreement"]), "agreement")
        if np.isnan(spread).all():
            raise ManifestError(f"{faces.manifest}: column agreement is empty: an ensemble's agewise annotate fills it")
        faces.weights *= weights_of(spread, settings).astype(np.float32)
    else:
        spread = np.full(len(faces), np.nan)
    faces.targets = shaped(faces.targets, spread, settings, faces.group_only)
    return faces


def _cells(manifest: Path, columns: tuple[str, ...]) -> NDArray[np.str_]:
    """Which values each row (N,) has in some columns, as one word."""
    table = read_manifest(manifest, columns=columns, need=columns)
    return np.array([repr(tuple(row.values())) for row in table.to_pylist()])


def _refuse_parts(manifest: Path) -> None:
    """Raises ManifestError where a manifest to learn from holds what a split or agewise clean has set aside."""
    has = open_manifest(manifest).schema_arrow.names
    if "dropped" in has and (count := pc.count(read_manifest(manifest, columns=["dropped"])["dropped"]).as_py()):
        told = f"{manifest}: agewise clean dropped {count} of its rows, and all would be learned from"
        raise ManifestError(f"{told}; agewise select {manifest} dropped= --out KEPT.parquet")
    if "split" not in has:
        return
    found = {str(part) for part in read_manifest(manifest, columns=["split"])["split"].unique().to_pylist()}
    if "train" in found and found & {"valid", "val", "test"}:
        told = f"{manifest}: holds the parts {', '.join(sorted(found))} of a split, and all would be learned from"
        raise ManifestError(f"{told}; agewise select {manifest} split=train --out TRAIN.parquet")


def _valid(recipe: Recipe, manifest: Path, window: Window) -> Faces:
    """The faces that are only looked at, with the classes that their manifest knows."""
    columns = open_manifest(manifest).schema_arrow.names
    told = [
        name for name, task in recipe.model.tasks.items() if task.kind == "classes" and (task.column or name) in columns
    ]
    tasks = {name: _known(recipe, name, manifest) for name in told}
    return Faces(manifest, window, recipe.model.size, tasks=tasks, bodies=recipe.model.backbone.name in CONFIGURATIONS)


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
    count, balance = len(faces), recipe.data.balance
    weights = balanced_weights(faces.targets, balance) if training and balance else None
    processes = processes_of(recipe)
    whole = count >= recipe.training.batch * processes
    return DataLoader(
        faces,
        batch_size=recipe.training.batch,
        sampler=EpochSampler(weights, count, recipe.training.seed, processes, whole) if training else None,
        num_workers=recipe.data.workers,
        drop_last=training and whole,
    )


def processes_of(recipe: Recipe) -> int:
    """How many processes the recipe asks for, on all machines."""
    devices = recipe.training.devices
    local = max(1, torch.cuda.device_count()) if devices == -1 else devices
    return local * recipe.training.nodes


class EpochSampler(Sampler[int]):
    """Faces drawn by weight, without repeats at equal weights; the order depends on the seed and the epoch only.

    Process r of W takes each W-th face from the r-th on, so that W batches side by side are one batch W times as large.
    What does not go round is left out if `whole`, as one process does with what fills no batch; or else comes again.
    """

    def __init__(
        self, weights: NDArray[np.float64] | None, count: int, seed: int, processes: int = 1, whole: bool = False
    ) -> None:
        self.weights, self.count, self.seed, self.epoch = weights, count, seed, 0
        self.rank, self.processes, self.whole = 0, processes, whole

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.processes if self.whole else -(-self.count // self.processes)

    def __iter__(self) -> Iterator[int]:
        order = np.resize(self._order(), len(self) * self.processes)
        return iter(order[self.rank :: self.processes].tolist())

    def _order(self) -> NDArray[np.int64]:
        rng = np.random.default_rng((self.seed, self.epoch))
        if self.weights is None:
            return rng.permutation(self.count)
        share = self.weights / self.weights.sum() * self.count
        passed = np.floor(
            np.cumsum(share)[:-1] + rng.random()
        )  # systematic: each face its share, up or down to a whole
        copies = np.diff(np.concatenate([[0.0], passed, [self.count]])).astype(int)
        return rng.permutation(np.repeat(np.arange(self.count), copies))


class EpochSeed(Callback):
    """Ties all randomness to seed and epoch, so that a resumed run ends as one that was not cut off."""

    def __init__(self, seed: int, sampler: EpochSampler) -> None:
        self.seed, self.sampler = seed, sampler

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Gives each process its share of the faces: only here, however it was launched, does it know which it is."""
        if trainer.world_size != self.sampler.processes:
            asked = f"training.devices and training.nodes ask for {self.sampler.processes}"
            raise SettingsError(f"{trainer.world_size} processes were launched; {asked}")
        self.sampler.rank = trainer.global_rank

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
            seeds = np.random.SeedSequence((self.seed, trainer.current_epoch, trainer.global_rank))
            torch.manual_seed(int(seeds.generate_state(1)[0]))
