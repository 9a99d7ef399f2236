"""train(recipe) -> run folder, in the order in which things happen; a second call resumes what a kill cut off."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from safetensors.torch import save_file

from agewise.data.dataset import Faces
from agewise.data.manifest import ManifestError
from agewise.data.replacing import replacing
from agewise.data.settings import SettingsError
from agewise.model.age_model import AgeModel
from agewise.model.backbone import reopen_norms
from agewise.training.config import Recipe
from agewise.training.imitation import teacher_of
from agewise.training.loading import EpochSampler, EpochSeed, loader, open_faces
from agewise.training.module import AgeModule, channels_last
from agewise.training.run_folder import (
    Checkpoints,
    claim,
    csv_logger,
    position,
    refuse_another,
    start_from,
    weights_in,
)

NORM_FACES = 512
"""Faces from which folded batch norms are re-estimated."""
_NOISE = (
    "exists and is not empty",
    "does not have many workers",
    "have no `val_dataloader`",
    r".*\(treespec, LeafSpec\)",
    r"torch\.distributed\.nn\.functional\.all_gather is deprecated",
)
"""Warnings of Lightning that no user can heed: of a folder to be resumed, of the recipe's choices, of Lightning."""


def train(recipe: Recipe, progress: bool = True) -> Path:
    """Runs a recipe and returns its run folder.

    The folder holds recipe.json (resolved), run.json (seed, manifest hashes, versions), metrics.csv, TensorBoard
    events, last.ckpt (to resume from), best.ckpt where the recipe keeps the best, and, once training is over,
    model.safetensors.

    Raises:
        SettingsError: the folder holds another run, or the network cannot be made.
        ManifestError: a manifest cannot be used.
    """
    folder = recipe.folder
    refuse_another(folder, recipe)
    if (folder / "model.safetensors").exists():
        return folder
    faces, valid = open_faces(recipe)
    teacher = teacher_of(recipe)
    if teacher:
        faces.teacher = teacher.window, teacher.settings.size
    L.seed_everything(recipe.training.seed, verbose=False)
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    resume = folder / "last.ckpt"
    prior = faces.targets.mean(axis=0, dtype=np.float64)
    model = AgeModel(recipe.model, pretrained=not resume.exists())
    if not resume.exists():
        _begin(model, recipe, faces, prior)
    channels_last(model).train()
    claim(folder, recipe)
    epoch, step = position(resume) if resume.exists() else (0, 0)
    batches = loader(faces, recipe, training=True)
    assert isinstance(batches.sampler, EpochSampler)
    faces.epoch = batches.sampler.epoch = epoch  # Lightning asks for faces before it says
    module = AgeModule(recipe, model, torch.from_numpy(prior).float(), teacher)
    with warnings.catch_warnings():
        for said in _NOISE:
            warnings.filterwarnings("ignore", f".*{said}")
        try:
            trainer = _trainer(recipe, _callbacks(recipe, batches.sampler, progress), len(batches), step)
        except (MisconfigurationException, TypeError, ValueError) as error:  # of accelerator, devices or strategy
            raise SettingsError(f"training: {' '.join(str(error).split())}") from error
        try:
            trainer.fit(
                module,
                batches,
                loader(valid, recipe) if valid else None,
                ckpt_path=resume if resume.exists() else None,
                weights_only=True,
            )
        except ManifestError as error:  # from a loader's process, with a traceback in front
            raise ManifestError(str(error).strip().rpartition("ManifestError: ")[2]) from error
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        best = folder / "best.ckpt"
        chosen = best if recipe.training.keep == "best" else resume
        with replacing(folder / "model.safetensors") as partial:
            save_file(weights_in(chosen), partial)
    trainer.strategy.barrier()  # nobody returns before the weights are there
    return folder


def _begin(model: AgeModel, recipe: Recipe, faces: Faces, prior: NDArray[np.float64]) -> None:
    """What comes before the first step: weights of another run, norms reopened, the head told of the ages."""
    if recipe.model.backbone.reopen_norms:
        chosen = np.random.default_rng(recipe.training.seed).permutation(len(faces))[:NORM_FACES]
        reopen_norms(model.backbone, torch.stack([faces[int(index)]["crop"] for index in chosen]))
    model.head.start(prior)  # and not the tokens' head, whose answer is added to it
    if recipe.training.start:
        start_from(recipe.training.start, model)


def _trainer(recipe: Recipe, callbacks: list[Callback], batches: int, step: int) -> L.Trainer:
    folder, settings = recipe.folder, recipe.training
    return L.Trainer(
        max_epochs=settings.epochs,
        precision=settings.precision,
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy=settings.strategy,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.clip or None,
        callbacks=callbacks,
        plugins=[Checkpoints()],
        logger=[csv_logger(folder, step), TensorBoardLogger(folder, name="", version="")],
        enable_progress_bar=any(isinstance(callback, TQDMProgressBar) for callback in callbacks),
        enable_model_summary=False,
        log_every_n_steps=min(20, batches),
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


class Patience(EarlyStopping):
    """Stops as it did before where a run is resumed that was killed between its last epoch and its end."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Asked before the first epoch that would be trained."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


def _callbacks(recipe: Recipe, sampler: EpochSampler, progress: bool) -> list[Callback]:
    folder, settings = recipe.folder, recipe.training
    callbacks: list[Callback] = [EpochSeed(settings.seed, sampler)]
    if settings.keep == "best":
        best = ModelCheckpoint(folder, filename="best", monitor="valid_excess", enable_version_counter=False)
        callbacks.append(best)
    if settings.patience:
        callbacks.append(Patience("valid_excess", patience=settings.patience, mode="min"))
    if settings.ema:
        callbacks.append(WeightAveraging(use_buffers=True, avg_fn=_ramped_mean(settings.ema)))
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=5))
    last = ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    return [*callbacks, last]


def _ramped_mean(decay: float) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor | int], torch.Tensor]:
    """An exponential moving average that follows closely at first: short runs must not keep their first weights."""

    def mean(averaged: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        if not averaged.is_floating_point():
            return current
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        return averaged * kept + current * (1 - kept)

    return mean
