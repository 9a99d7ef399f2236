"""train(recipe) -> run folder, in the order in which things happen; a second call resumes what a kill cut off."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import save_file

from agewise.data.dataset import Faces
from agewise.data.manifest import ManifestError
from agewise.data.replacing import replacing
from agewise.model.age_model import AgeModel
from agewise.model.backbone import reopen_norms
from agewise.training.config import Recipe
from agewise.training.loading import EpochSeed, loader, open_faces
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
    faces, valid = open_faces(recipe)
    refuse_another(folder, recipe)
    if (folder / "model.safetensors").exists():
        return folder
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
    faces.epoch = batches.sampler.epoch = epoch  # type: ignore[attr-defined]  # Lightning asks for faces before it says
    module = AgeModule(recipe, model, torch.from_numpy(prior).float())
    with warnings.catch_warnings():
        for said in _NOISE:
            warnings.filterwarnings("ignore", f".*{said}")
        trainer = _trainer(recipe, progress, len(batches), step)
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
    return folder


def _begin(model: AgeModel, recipe: Recipe, faces: Faces, prior: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """What comes before the first step: weights of another run, norms reopened, the head told of the ages."""
    if recipe.model.backbone.reopen_norms:
        chosen = np.random.default_rng(recipe.training.seed).permutation(len(faces))[:NORM_FACES]
        reopen_norms(model.backbone, torch.stack([faces[int(index)]["crop"] for index in chosen]))
    for head in filter(None, (model.head, model.tokens)):
        head.start(prior)
    if recipe.training.start:
        start_from(recipe.training.start, model)


def _trainer(recipe: Recipe, progress: bool, batches: int, step: int) -> L.Trainer:
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
        callbacks=_callbacks(recipe, progress),
        plugins=[Checkpoints()],
        logger=[csv_logger(folder, step), TensorBoardLogger(folder, name="", version="")],
        enable_progress_bar=progress,
        enable_model_summary=False,
        log_every_n_steps=min(20, batches),
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _callbacks(recipe: Recipe, progress: bool) -> list[Callback]:
    folder, settings = recipe.folder, recipe.training
    callbacks: list[Callback] = [EpochSeed(settings.seed)]
    if settings.keep == "best":
        best = ModelCheckpoint(folder, filename="best", monitor="valid_excess", enable_version_counter=False)
        callbacks.append(best)
    if settings.patience:
        callbacks.append(EarlyStopping("valid_excess", patience=settings.patience, mode="min"))
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
