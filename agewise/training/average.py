"""Several trainings of one network -> one run whose weights are their mean (Wortsman et al. 2022, uniform soup)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from agewise.data.manifest import fingerprint
from agewise.data.replacing import replacing
from agewise.data.settings import SettingsError
from agewise.model.age_model import AgeModel
from agewise.training.run_folder import load_run, read_json, write_json

OF_TRAINING: dict[str, bool | dict[str, bool]] = {"dropout": True, "backbone": {"weights": True, "reopen_norms": True}}
"""Settings of a model that say how a training began or went, not what the network is."""

OF_ONE = ("seed", "start", "teacher")
"""What run.json says that differs from run to run of one mean."""


def average(runs: Sequence[Path], target: Path) -> None:
    """Writes a run folder of the first run's recipe, and of the mean of the weights of all.

    Runs from the same weights, apart in their seeds or in how they were trained, mostly lie in one basin, and their
    mean errs less than each; of networks that began differently it is worth nothing. run.json names them all.

    Raises:
        SettingsError: fewer than two runs, or one twice; one is not there, not finished, itself a mean or of another
            network; they learned from other faces under one name; the target holds a run that was trained.
    """
    if len({run.resolve() for run in runs}) < max(2, len(runs)):
        raise SettingsError(f"{len(runs)} runs ({', '.join(map(str, runs))}); two or more different ones are needed")
    models = [load_run(run) for run in runs]
    for run, model in zip(runs[1:], models[1:], strict=True):
        differing = [name for name, value in _network(models[0]).items() if _network(model).get(name) != value]
        if differing:
            raise SettingsError(f"{run}: its {differing[0]} is not that of {runs[0]}; runs of one network are averaged")
    told = [read_json(run / "run.json") for run in runs]
    for run, one in zip(runs, told, strict=True):
        if "mean_of" in one:
            raise SettingsError(f"{run}: a mean of runs already; give the runs that it is made of")
    manifests: dict[str, str] = {}
    for run, one in zip(runs, told, strict=True):
        for path, sha in one["manifests"].items():
            if manifests.setdefault(path, sha) != sha:
                raise SettingsError(f"{run}: {path} held other faces for it than for a run before it")
    _check_free(target)
    recipe = {**read_json(runs[0] / "recipe.json"), "name": target.name, "runs": str(target.parent)}
    members = [
        {
            "run": str(run),
            "weights": fingerprint(run / "model.safetensors"),
            **{name: one[name] for name in OF_ONE if name in one},
        }
        for run, one in zip(runs, told, strict=True)
    ]
    shared = {name: value for name, value in told[0].items() if name not in OF_ONE}
    target.mkdir(parents=True, exist_ok=True)
    (target / "model.safetensors").unlink(missing_ok=True)
    write_json(target / "run.json", {**shared, "manifests": manifests, "mean_of": members})
    write_json(target / "recipe.json", recipe)
    with replacing(target / "model.safetensors") as partial:
        save_file(_mean([model.state_dict() for model in models]), partial)


def _network(model: AgeModel) -> dict[str, Any]:
    """The settings that two runs must share, by name, and the shapes of their weights."""
    said = model.settings.model_dump(exclude=OF_TRAINING)
    backbone = {f"backbone.{name}": value for name, value in said.pop("backbone").items()}
    return {**backbone, **said, **{name: value.shape for name, value in model.state_dict().items()}}


def _check_free(target: Path) -> None:
    """Raises SettingsError where a folder holds what averaging did not write."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        said = target / "run.json"
        if not said.is_file() or "mean_of" not in read_json(said):
            raise SettingsError(f"{target}: in the way, and no mean of runs; give this one another name")


def _mean(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of each weight, computed in double precision; counters are the first run's.

    So are averaged the means and variances of batch norms, which are not estimated anew on faces: runs that began alike
    have much the same.
    """
    return {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(first.dtype)
        if first.is_floating_point()
        else first.clone()
        for name, first in states[0].items()
    }
