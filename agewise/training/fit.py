"""train(recipe) -> run folder, in the order in which things happen; a second call resumes what a kill cut off."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import numpy as np
import timm
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Sampler

import agewise
from agewise.data.dataset import Faces, balanced_weights
from agewise.data.manifest import fingerprint
from agewise.data.settings import SettingsError, check
from agewise.faces.align import Window
from agewise.model.age_model import AgeModel
from agewise.model.backbone import reopen_norms
from agewise.training.config import Recipe
from agewise.training.module import AgeModule, channels_last

NORM_FACES = 512
"""Faces from which folded batch norms are re-estimated."""


def train(recipe: Recipe, progress: bool = True) -> Path:
    """Runs a recipe and returns its run folder.

    The folder holds recipe.json (resolved), run.json (seed, manifest hashes, versions), metrics.csv, TensorBoard
    events, last.ckpt (to resume from) and, once training is over, model.safetensors.

    Raises:
        SettingsError: the folder holds a run of another recipe.
        ManifestError: a manifest cannot be used.
    """
    folder = recipe.folder
    faces, valid = _faces(recipe)
    _claim(folder, recipe)
    if (folder / "model.safetensors").exists():
        return folder
    L.seed_everything(recipe.training.seed, verbose=False)
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    resume = folder / "last.ckpt"
    model = AgeModel(recipe.model, pretrained=not resume.exists())
    if recipe.model.backbone.reopen_norms and not resume.exists():
        chosen = np.random.default_rng(recipe.training.seed).permutation(len(faces))[:NORM_FACES]
        reopen_norms(model.backbone, torch.stack([faces[int(index)]["crop"] for index in chosen]))
    channels_last(model).train()
    trainer = _trainer(recipe, progress)
    trainer.fit(
        AgeModule(recipe, model),
        _loader(faces, recipe, recipe.data.balance),
        _loader(valid, recipe) if valid else None,
        ckpt_path=resume if resume.exists() else None,
        weights_only=True,
    )
    if trainer.interrupted:
        raise KeyboardInterrupt
    partial = folder / ".model.partial"
    save_file({name: value.contiguous() for name, value in _best_weights(resume).items()}, partial)
    os.replace(partial, folder / "model.safetensors")
    return folder


def load_run(folder: Path | str) -> AgeModel:
    """The trained model of a run folder. Raises SettingsError where the run is not there or not finished."""
    run = Path(folder)
    if not (run / "recipe.json").is_file():
        raise SettingsError(f"{run}: not a run folder (it has no recipe.json)")
    recipe = check(json.loads((run / "recipe.json").read_text()), Recipe, str(run / "recipe.json"))
    if not (run / "model.safetensors").is_file():
        raise SettingsError(f"{run}: this run is not finished; agewise train resumes it")
    model = AgeModel(recipe.model, pretrained=False)
    model.load_state_dict(load_file(run / "model.safetensors"))
    return model.eval()


class EpochSampler(Sampler[int]):
    """Faces drawn by weight, without repeats at equal weights; the order depends on the seed and the epoch only."""

    def __init__(self, weights: np.ndarray[tuple[int], np.dtype[np.float64]] | None, count: int, seed: int) -> None:
        self.weights, self.count, self.seed, self.epoch = weights, count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        if self.weights is None:
            return iter(rng.permutation(self.count).tolist())
        share = self.weights / self.weights.sum() * self.count
        copies = np.floor(share + rng.random(self.count)).astype(int)  # systematic: each face share times on average
        drawn = rng.permutation(np.repeat(np.arange(self.count), copies))
        return iter(np.resize(drawn, self.count).tolist())


class _EpochOfFaces(Callback):
    """Tells the dataset which epoch it is, so that its random views differ between epochs and not between runs."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        faces = trainer.train_dataloader.dataset  # type: ignore[union-attr]  # one loader, set above
        faces.epoch = trainer.current_epoch


def _faces(recipe: Recipe) -> tuple[Faces, Faces | None]:
    data, model = recipe.data, recipe.model
    window = Window(**model.window.model_dump())
    faces = Faces(Path(data.train), window, model.size, recipe.augmentation, recipe.training.seed)
    valid = Faces(Path(data.valid), window, model.size) if data.valid else None
    return faces, valid


def _loader(faces: Faces, recipe: Recipe, balance: float | None = None) -> DataLoader[dict[str, torch.Tensor]]:
    training = balance is not None
    count = min(len(faces), recipe.data.limit or len(faces)) if training else len(faces)
    weights = balanced_weights(faces.targets[:count], balance) if balance else None
    return DataLoader(
        faces,
        batch_size=recipe.training.batch,
        sampler=EpochSampler(weights, count, recipe.training.seed) if training else None,
        num_workers=recipe.data.workers,
        drop_last=training and count >= recipe.training.batch,
    )


def _trainer(recipe: Recipe, progress: bool) -> L.Trainer:
    folder, settings = recipe.folder, recipe.training
    callbacks: list[Callback] = [
        _EpochOfFaces(),
        ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False),
    ]
    if settings.ema:
        callbacks.append(EMAWeightAveraging(decay=settings.ema))
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=5))
    return L.Trainer(
        max_epochs=settings.epochs,
        precision=settings.precision,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.clip or None,
        callbacks=callbacks,
        logger=[CSVLogger(folder, name="", version=""), TensorBoardLogger(folder, name="", version="")],
        enable_progress_bar=progress,
        enable_model_summary=False,
        log_every_n_steps=20,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _claim(folder: Path, recipe: Recipe) -> None:
    """Writes what the run is; refuses a folder that holds another one."""
    said = folder / "recipe.json"
    resolved = json.loads(recipe.model_dump_json())
    if said.exists() and (earlier := json.loads(said.read_text())) != resolved:
        changed = [key for key in resolved if earlier.get(key) != resolved[key]]
        raise SettingsError(f"{folder} holds a run with another {', '.join(changed)}; give this one another name")
    folder.mkdir(parents=True, exist_ok=True)
    said.write_text(json.dumps(resolved, indent=1) + "\n")
    manifests = [path for path in (recipe.data.train, recipe.data.valid) if path]
    run = {
        "seed": recipe.training.seed,
        "manifests": {path: fingerprint(path) for path in manifests},
        "agewise": agewise.__version__,
        "versions": {"torch": torch.__version__, "lightning": L.__version__, "timm": timm.__version__},
        "python": platform.python_version(),
        "threads": recipe.training.threads or torch.get_num_threads(),
    }
    (folder / "run.json").write_text(json.dumps(run, indent=1) + "\n")


def _best_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The model's (averaged) weights in a Lightning checkpoint, opened without unpickling code."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix("model."): value for name, value in state.items()}
