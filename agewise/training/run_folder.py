"""The folder of a run: what it says of itself, its checkpoints, and what is read back from them."""

from __future__ import annotations

import csv
import json
import platform
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning as L
import timm
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from safetensors import SafetensorError
from safetensors.torch import load_file

import agewise
from agewise.data.choice import checked_options
from agewise.data.manifest import fingerprint
from agewise.data.replacing import replacing
from agewise.data.settings import SettingsError, check
from agewise.model.age_model import GIVEN, AgeModel, ModelSettings
from agewise.model.heads import HEADS
from agewise.model.narrowing import narrow
from agewise.model.tasks import TaskSettings
from agewise.training.config import Recipe


def load_run(folder: Path | str) -> AgeModel:
    """The trained model of a run folder. Raises SettingsError where the run is not there or not finished."""
    run = Path(folder)
    weights = _weights(run)
    model = AgeModel(_recipe(run).model, pretrained=False)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise SettingsError(f"{run / 'model.safetensors'}: damaged, or of another network") from error
    return model.eval()


def start_from(folder: Path | str, model: AgeModel) -> None:
    """Gives a model the weights of a run: all of the backbone; the head and each task if they are the same ones.

    A model that is narrower takes the strongest filters of the run's.

    Raises SettingsError where the run is not there, not finished, or of another backbone.
    """
    run = Path(folder)
    width = model.settings.backbone.width
    state, own = _weights(run), model.state_dict()
    if width < _recipe(run).model.backbone.width == 1:
        state = _narrowed(run, width)
    anew = _others(_recipe(run).model, model.settings)
    fits = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    fits = {name: value for name, value in fits.items() if not name.startswith(anew)}
    missing = [name for name in own if name.startswith("backbone.") and name not in fits]
    if missing:
        raise SettingsError(f"training.start: the run {run} has another backbone: no {missing[0]} of this shape in it")
    model.load_state_dict(fits, strict=False)


def _narrowed(run: Path, width: float) -> dict[str, torch.Tensor]:
    """The weights of a run whose network is as wide as it was made, after `narrow`."""
    wide = load_run(run)
    before = wide.backbone.features
    kept = narrow(wide.backbone.network, width)
    inside = {name for name in wide.state_dict() if name.startswith("backbone.")}
    return {
        name: value if name in inside or value.ndim < 2 or value.shape[-1] != before else value[..., kept]
        for name, value in wide.state_dict().items()
    }


def _others(earlier: ModelSettings, now: ModelSettings) -> tuple[str, ...]:
    """Beginnings of the names of weights that mean another thing now, though their shapes may agree."""
    head = [checked_options(settings.head, HEADS, "head", GIVEN) for settings in (earlier, now)]
    same = earlier.head.name == now.head.name and head[0] == head[1]

    def meaning(task: TaskSettings | None) -> object:
        return task and (task.kind, task.labels, task.subjects)

    tasks = [name for name, task in now.tasks.items() if meaning(earlier.tasks.get(name)) != meaning(task)]
    return (*([] if same else ["head.", "tokens."]), *(f"tasks.{name}." for name in tasks))


def _recipe(run: Path) -> Recipe:
    said = run / "recipe.json"
    return check(read_json(said), Recipe, str(said))


def read_json(path: Path) -> Any:
    """What a file of a run says. Raises SettingsError where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError(f"{path}: damaged ({error})") from error


def _weights(run: Path) -> dict[str, torch.Tensor]:
    path = run / "model.safetensors"
    if not (run / "recipe.json").is_file():
        raise SettingsError(f"{run}: not a run folder (it has no recipe.json)")
    if not path.is_file():
        said = run / "run.json"
        again = "average makes" if said.is_file() and "mean_of" in read_json(said) else "train resumes"
        raise SettingsError(f"{run}: this run is not finished; agewise {again} it")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise SettingsError(f"{path}: damaged, or of another network") from error


class Checkpoints(TorchCheckpointIO):
    """Checkpoints renamed within their folder; Lightning's own pass through the system's temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Writes a checkpoint."""
        if storage_options is not None:
            raise TypeError(f"storage options {storage_options} are not taken")
        with replacing(path) as partial:
            torch.save(checkpoint, partial)


def position(checkpoint: Path) -> tuple[int, int]:
    """The epoch and the step that come after a Lightning checkpoint."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise SettingsError(f"{checkpoint}: damaged; delete it to begin the run anew") from error
    return state["epoch"] + 1, state["global_step"]


def weights_in(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The model's (averaged) weights in a Lightning checkpoint, opened without unpickling code."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    own = {name: value for name, value in state.items() if name.startswith("model.")}
    return {name.removeprefix("model."): value.contiguous() for name, value in own.items()}


def csv_logger(folder: Path, step: int) -> CSVLogger:
    """Lightning's logger of metrics.csv, which deletes a file that is there, with the rows up to a step put back."""
    logger = CSVLogger(folder, name="", version="")
    _put_back(logger, folder / "metrics.csv", step)
    return logger


@rank_zero_only
def _put_back(logger: CSVLogger, path: Path, step: int) -> None:
    earlier = []
    if path.exists():
        with path.open(newline="") as stream:
            earlier = [row for row in csv.DictReader(stream) if int(row["step"]) < step]
    logger.experiment.metrics += earlier
    logger.save()


def refuse_another(folder: Path, recipe: Recipe) -> None:
    """Raises SettingsError where the folder holds a run of another recipe, or of other faces, or a mean of runs.

    A run that came to nothing, with neither checkpoint nor weights, is none.
    """
    if not any((folder / name).exists() for name in ("last.ckpt", "model.safetensors")):
        return
    if not (folder / "recipe.json").exists() or not (folder / "run.json").exists():
        return
    told = read_json(folder / "run.json")
    if "mean_of" in told:
        raise SettingsError(f"{folder} holds the mean of other runs (agewise average); give this one another name")
    earlier = _recipe(folder)
    one, other = _deciding(earlier), _deciding(recipe)
    changed = [name for name in one if one[name] != other[name]]
    if not changed and told["manifests"] != _manifests(recipe):
        changed = ["content of its manifests"]
    for part, run in _needed_runs(recipe).items():
        if not changed and part in told and told[part] != fingerprint(Path(run) / "model.safetensors"):
            changed = [f"content of {'imitation' if part == 'teacher' else 'training'}.{part}"]
    if changed:
        raise SettingsError(f"{folder} holds a run with another {', '.join(changed)}; give this one another name")


def _deciding(recipe: Recipe) -> dict[str, Any]:
    """The settings by name, `training.rate` and the like, without those of the machine."""
    parts: dict[str, Any] = recipe.model_dump(exclude={"data": {"workers"}, "training": {"threads", "accelerator"}})
    tables = {name: part for name, part in parts.items() if isinstance(part, dict)}
    nested = {f"{name}.{key}": value for name, part in tables.items() for key, value in part.items()}
    return {**{name: part for name, part in parts.items() if name not in tables}, **nested}


@rank_zero_only
def claim(folder: Path, recipe: Recipe) -> None:
    """Writes what the run is; of several processes, the first does."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "recipe.json", recipe.model_dump(mode="json"))
    run = {
        "seed": recipe.training.seed,
        "manifests": _manifests(recipe),
        "agewise": agewise.__version__,
        "versions": {"torch": torch.__version__, "lightning": L.__version__, "timm": timm.__version__},
        "python": platform.python_version(),
        "threads": recipe.training.threads or torch.get_num_threads(),
    }
    for part, other in _needed_runs(recipe).items():
        run[part] = fingerprint(Path(other) / "model.safetensors")
    write_json(folder / "run.json", run)


def _needed_runs(recipe: Recipe) -> dict[str, str]:
    """The other runs that a run depends on."""
    named = {"start": recipe.training.start, "teacher": recipe.imitation.teacher}
    return {part: run for part, run in named.items() if run}


def _manifests(recipe: Recipe) -> dict[str, str]:
    return {path: fingerprint(path) for path in (recipe.data.train, recipe.data.valid) if path}


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes a file of a run, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(values, indent=1) + "\n")
