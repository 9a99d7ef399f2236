"""The mean of several trainings: its weights, what it says of itself, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from agewise.data.manifest import fingerprint
from agewise.data.settings import SettingsError, check
from agewise.training.average import average
from agewise.training.config import Recipe
from agewise.training.fit import train
from agewise.training.run_folder import load_run


@pytest.fixture
def runs(tiny_run: Path, tmp_path: Path) -> list[Path]:
    """Three runs of one network: the weights of the second and third are moved by known amounts."""
    made = []
    for seed, moved in enumerate((0.0, 0.3, -0.6)):
        run = tmp_path / f"run-{seed}"
        shutil.copytree(tiny_run, run)
        weights = load_file(run / "model.safetensors")
        shifted = {name: value + moved if value.is_floating_point() else value for name, value in weights.items()}
        save_file(shifted, run / "model.safetensors")
        rewrite(run / "run.json", seed=seed, start=f"{seed}" * 64)
        made.append(run)
    return made


def rewrite(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_the_weights_are_the_mean(runs: list[Path], tmp_path: Path) -> None:
    average(runs, tmp_path / "mean")
    first, mean = (load_file(run / "model.safetensors") for run in (runs[0], tmp_path / "mean"))
    assert set(mean) == set(first)
    for name, value in first.items():
        expected = value - 0.1 if value.is_floating_point() else value
        assert mean[name].dtype == value.dtype
        assert torch.allclose(mean[name], expected, atol=1e-5), name


def test_a_mean_of_equals_answers_as_they_do(runs: list[Path], tiny_run: Path, tmp_path: Path) -> None:
    average([runs[0], tiny_run], tmp_path / "mean")
    size = load_run(tiny_run).settings.size
    seen = torch.randint(0, 256, (4, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(load_run(tmp_path / "mean").probs(seen), load_run(tiny_run).probs(seen), atol=1e-6)


def test_it_says_whose_mean_it_is(runs: list[Path], tmp_path: Path) -> None:
    average(runs[:2], tmp_path / "mean")
    told = json.loads((tmp_path / "mean" / "run.json").read_text())
    assert told["mean_of"] == [
        {"run": str(run), "weights": fingerprint(run / "model.safetensors"), "seed": seed, "start": f"{seed}" * 64}
        for seed, run in enumerate(runs[:2])
    ]
    assert "seed" not in told
    assert "start" not in told
    assert told["manifests"] == json.loads((runs[0] / "run.json").read_text())["manifests"]
    recipe = json.loads((tmp_path / "mean" / "recipe.json").read_text())
    assert (recipe["name"], recipe["runs"]) == ("mean", str(tmp_path))
    assert recipe["model"] == json.loads((runs[0] / "recipe.json").read_text())["model"]


def test_how_the_training_began_may_differ(runs: list[Path], tmp_path: Path) -> None:
    recipe = json.loads((runs[1] / "recipe.json").read_text())
    recipe["model"]["dropout"] = 0.5
    recipe["model"]["backbone"]["reopen_norms"] = True
    rewrite(runs[1] / "recipe.json", **recipe)
    average(runs[:2], tmp_path / "mean")
    assert load_run(tmp_path / "mean").settings.dropout != 0.5


def test_a_mean_is_written_anew_and_a_training_never(runs: list[Path], tmp_path: Path) -> None:
    average(runs[:2], tmp_path / "mean")
    average(runs, tmp_path / "mean")
    assert len(json.loads((tmp_path / "mean" / "run.json").read_text())["mean_of"]) == 3
    kept = fingerprint(runs[2] / "model.safetensors")
    with pytest.raises(SettingsError, match="run-2: in the way, and no mean of runs"):
        average(runs[:2], runs[2])
    assert fingerprint(runs[2] / "model.safetensors") == kept
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SettingsError, match="file: in the way"):
        average(runs[:2], tmp_path / "file")


def test_a_mean_of_means_is_refused(runs: list[Path], tmp_path: Path) -> None:
    average(runs[:2], tmp_path / "mean")
    with pytest.raises(SettingsError, match="mean: a mean of runs already"):
        average([tmp_path / "mean", runs[2]], tmp_path / "mean")


def test_a_mean_is_not_taken_for_a_training_of_its_name(runs: list[Path], tmp_path: Path) -> None:
    average(runs[:2], tmp_path / "mean")
    recipe = check(json.loads((tmp_path / "mean" / "recipe.json").read_text()), Recipe, "recipe.json")
    with pytest.raises(SettingsError, match="mean holds the mean of other runs"):
        train(recipe, progress=False)


def test_a_mean_cut_off_before_its_weights_says_what_makes_it(runs: list[Path], tmp_path: Path) -> None:
    average(runs[:2], tmp_path / "mean")
    (tmp_path / "mean" / "model.safetensors").unlink()
    with pytest.raises(SettingsError, match="this run is not finished; agewise average makes it"):
        load_run(tmp_path / "mean")


def test_fewer_than_two_are_refused(runs: list[Path], tmp_path: Path) -> None:
    for few in ([], runs[:1], [runs[0], runs[0].parent / "." / runs[0].name]):
        with pytest.raises(SettingsError, match="two or more different ones are needed"):
            average(few, tmp_path / "mean")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "model.safetensors").unlink(), "this run is not finished"),
        (lambda run: (run / "model.safetensors").write_bytes(b"x" * 9), "damaged"),
        (lambda run: shutil.rmtree(run), "not a run folder"),
        (lambda run: (run / "run.json").write_text("{"), "damaged"),
        (lambda run: resized(run), "its size is not that of"),
        (lambda run: rewrite(run / "run.json", manifests={"other.parquet": "1", **others(run)}), "held other faces"),
    ],
)
def test_what_cannot_be_averaged(
    runs: list[Path], tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(runs[1])
    with pytest.raises(SettingsError, match=message):
        average(runs, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def resized(run: Path) -> None:
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["model"]["size"] += 16
    rewrite(run / "recipe.json", **recipe)


def others(run: Path) -> dict[str, str]:
    return dict.fromkeys(json.loads((run / "run.json").read_text())["manifests"], "0" * 64)
