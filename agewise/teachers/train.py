"""train_teacher(recipe) -> a folder of runs and the contract that makes one ensemble of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

from agewise.data.replacing import replacing
from agewise.data.settings import SettingsError
from agewise.teachers.recipe import TeacherRecipe, members
from agewise.training.config import Recipe
from agewise.training.fit import train
from agewise.training.loading import open_faces
from agewise.training.run_folder import refuse_another

CONTRACT = "teacher.toml"
"""The file in a teacher's folder by which it is opened."""

Said = Callable[[str, int, int], None]
"""Called as a member is done: its name, how many are, and how many there will be."""


def train_teacher(recipe: TeacherRecipe, progress: bool = True, said: Said = lambda _name, _done, _total: None) -> Path:
    """Trains what is not trained yet, `parallel` members at a time, and returns the teacher's contract.

    Each member is an ordinary run folder below the teacher's; a second call resumes the member that a kill cut off.
    Raises what `train` raises: SettingsError where the folder holds another teacher's runs.
    """
    made = members(recipe)
    for member in made.values():
        refuse_another(member.folder, member)
    for kind in ("general", "children"):  # what cannot be learned from is said before the long work
        first = next((member for name, member in made.items() if name.startswith(kind)), None)
        if first is not None and not _trained(first):
            open_faces(first)
    done = [name for name, member in made.items() if _trained(member)]
    for number, name in enumerate(done, 1):
        said(name, number, len(made))
    if recipe.parallel == 1:
        for name, member in made.items():
            train(member, progress=progress)  # of a finished one, it only compares the recipe and the manifests
            if name not in done:
                done.append(name)
                said(name, len(done), len(made))
    else:
        _side_by_side(recipe, made, done, said)
    return _write(recipe, list(made))


def _side_by_side(recipe: TeacherRecipe, made: dict[str, Recipe], done: list[str], said: Said) -> None:
    """Each member in a process of its own: the first failure is raised, what runs by then is finished first."""
    threads = max(1, (os.cpu_count() or 1) // recipe.parallel)
    with ProcessPoolExecutor(recipe.parallel, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        jobs = {pool.submit(_train_alone, member, threads): name for name, member in made.items()}
        try:
            for job in as_completed(jobs):
                job.result()
                if jobs[job] not in done:
                    done.append(jobs[job])
                    said(jobs[job], len(done), len(jobs))
        except BrokenProcessPool as error:
            why = (
                "a member's process was killed, perhaps for its memory; with a smaller `parallel` the same call goes on"
            )
            raise ChildProcessError(why) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _train_alone(member: Recipe, threads: int) -> None:
    import logging

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    chosen = member.training.threads or threads
    train(member.model_copy(update={"training": member.training.model_copy(update={"threads": chosen})}), False)


def _trained(member: Recipe) -> bool:
    return (member.folder / "model.safetensors").is_file()


def _write(recipe: TeacherRecipe, names: list[str]) -> Path:
    """The contract of the ensemble, and its recipe as it was resolved."""
    missing = [name for name in names if not (recipe.folder / name / "model.safetensors").is_file()]
    if missing:
        raise SettingsError(f"{recipe.folder}: {', '.join(missing)} not trained")
    with replacing(recipe.folder / "recipe.json") as partial:
        partial.write_text(recipe.model_dump_json(indent=1) + "\n")
    general = [name for name in names if name.startswith("general")]
    children = [name for name in names if name.startswith("children")]
    lines = {
        "name": recipe.name,
        "licence": recipe.licence,
        "members": general,
        **({"children": children, "switch": recipe.switch} if children else {}),
        "views": list(recipe.views),
    }
    contract = recipe.folder / CONTRACT
    with replacing(contract) as partial:
        partial.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items()))
    return contract
