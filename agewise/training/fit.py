"""train(recipe) -> run folder, in the order in which things happen; a second call resumes what a kill cut off."""

from __future__ import annotations

import csv
import json
import platform
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import numpy as np
import timm
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Sampler

import agewise
from agewise.data.dataset import Faces, balanced_weights
from agewise.data.manifest import ManifestError, check_frame, fingerprint
from agewise.data.replacing import replacing
from agewise.data.settings import SettingsError, check
from agewise.faces.align import Window
from agewise.model.age_model import AgeModel
from agewise.model.backbone import reopen_norms
from agewise.training.config import Recipe
from agewise.training.module import AgeModule, Batch, channels_last

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
    events, last.ckpt (to resume from) and, once training is over, model.safetensors.

    Raises:
        SettingsError: the folder holds another run, or the network cannot be made.
        ManifestError: a manifest cannot be used.
    """
    folder = recipe.folder
    faces, valid = _faces(recipe)
    _refuse_another(folder, recipe)
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
    _claim(folder, recipe)
    epoch, step = _position(resume) if resume.exists() else (0, 0)
    loader = _loader(faces, recipe, recipe.data.balance)
    faces.epoch = loader.sampler.epoch = epoch  # type: ignore[attr-defined]  # Lightning asks for faces before it says
    with warnings.catch_warnings():
        for said in _NOISE:
            warnings.filterwarnings("ignore", f".*{said}")
        trainer = _trainer(recipe, progress, len(loader), step)
        try:
            trainer.fit(
                AgeModule(recipe, model),
                loader,
                _loader(valid, recipe) if valid else None,
                ckpt_path=resume if resume.exists() else None,
                weights_only=True,
            )
        except ManifestError as error:  # from a loader's process, with a traceback in front
            raise ManifestError(str(error).strip().rpartition("ManifestError: ")[2]) from error
    if trainer.interrupted:
        raise KeyboardInterrupt
    with replacing(folder / "model.safetensors") as partial:
        save_file({name: value.contiguous() for name, value in _best_weights(resume).items()}, partial)
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
    try:
        model.load_state_dict(load_file(run / "model.safetensors"))
    except (SafetensorError, RuntimeError) as error:
        raise SettingsError(f"{run / 'model.safetensors'}: damaged, or of another network") from error
    return model.eval()


class _Checkpoints(TorchCheckpointIO):
    """Checkpoints renamed within their folder; Lightning's own pass through the system's temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if storage_options is not None:
            raise TypeError(f"storage options {storage_options} are not taken")
        with replacing(path) as partial:
            torch.save(checkpoint, partial)


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


class _Epoch(Callback):
    """Ties all randomness to seed and epoch, so that a resumed run ends as one that was not cut off."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Tells the dataset which random views to make."""
        faces = trainer.train_dataloader.dataset  # type: ignore[union-attr]  # one loader, set above
        faces.epoch = trainer.current_epoch

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,  # noqa: ARG002
        batch: Batch,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Seeds dropout; not at the epoch's start, after which the loaders draw a number in some epochs only."""
        if batch_idx == 0:
            torch.manual_seed(int(np.random.SeedSequence((self.seed, trainer.current_epoch)).generate_state(1)[0]))


def _faces(recipe: Recipe) -> tuple[Faces, Faces | None]:
    data, model = recipe.data, recipe.model
    for manifest in filter(None, (data.train, data.valid)):
        check_frame(manifest, "aligned")
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


def _trainer(recipe: Recipe, progress: bool, batches: int, step: int) -> L.Trainer:
    folder, settings = recipe.folder, recipe.training
    callbacks: list[Callback] = [
        _Epoch(settings.seed),
        ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False),
    ]
    if settings.ema:
        callbacks.append(WeightAveraging(use_buffers=True, avg_fn=_ramped_mean(settings.ema)))
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=5))
    return L.Trainer(
        max_epochs=settings.epochs,
        precision=settings.precision,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.clip or None,
        callbacks=callbacks,
        plugins=[_Checkpoints()],
        logger=[_csv_logger(folder, step), TensorBoardLogger(folder, name="", version="")],
        enable_progress_bar=progress,
        enable_model_summary=False,
        log_every_n_steps=min(20, batches),
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _ramped_mean(decay: float) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor | int], torch.Tensor]:
    """An exponential moving average that follows closely at first: short runs must not keep their first weights."""

    def mean(averaged: torch.Tensor, current: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        return averaged * kept + current * (1 - kept)

    return mean


def _position(checkpoint: Path) -> tuple[int, int]:
    """The epoch and the step that come after a Lightning checkpoint."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise SettingsError(f"{checkpoint}: damaged; delete it to begin the run anew") from error
    return state["epoch"] + 1, state["global_step"]


def _csv_logger(folder: Path, step: int) -> CSVLogger:
    """Lightning's logger of metrics.csv, which deletes a file that is there, with the rows up to a step put back."""
    path, earlier = folder / "metrics.csv", []
    if path.exists():
        with path.open(newline="") as stream:
            earlier = [row for row in csv.DictReader(stream) if int(row["step"]) < step]
    logger = CSVLogger(folder, name="", version="")
    logger.experiment.metrics += earlier
    logger.save()
    return logger


def _manifests(recipe: Recipe) -> dict[str, str]:
    return {path: fingerprint(path) for path in (recipe.data.train, recipe.data.valid) if path}


def _refuse_another(folder: Path, recipe: Recipe) -> None:
    """Raises SettingsError where the folder holds a run of another recipe, or of other faces."""
    if not (folder / "recipe.json").exists() or not (folder / "run.json").exists():
        return
    said = folder / "recipe.json"
    earlier = check(json.loads(said.read_text()), Recipe, str(said))
    changed = [name for name in Recipe.model_fields if getattr(earlier, name) != getattr(recipe, name)]
    if not changed and json.loads((folder / "run.json").read_text())["manifests"] != _manifests(recipe):
        changed = ["content of its manifests"]
    if changed:
        raise SettingsError(f"{folder} holds a run with another {', '.join(changed)}; give this one another name")


def _claim(folder: Path, recipe: Recipe) -> None:
    """Writes what the run is."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "recipe.json", recipe.model_dump(mode="json"))
    run = {
        "seed": recipe.training.seed,
        "manifests": _manifests(recipe),
        "agewise": agewise.__version__,
        "versions": {"torch": torch.__version__, "lightning": L.__version__, "timm": timm.__version__},
        "python": platform.python_version(),
        "threads": recipe.training.threads or torch.get_num_threads(),
    }
    _write(folder / "run.json", run)


def _write(path: Path, values: dict[str, Any]) -> None:
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=1) + "\n")


def _best_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The model's (averaged) weights in a Lightning checkpoint, opened without unpickling code."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix("model."): value for name, value in state.items()}
