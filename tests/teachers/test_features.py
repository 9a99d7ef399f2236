"""Files of features: what the network says in memory, in order, resumed by the same one only; and DADL's recipe."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from agewise.ages import AGES
from agewise.data.dataset import labels
from agewise.data.manifest import COLUMNS, ManifestError, metadata, read_manifest, write_manifest
from agewise.data.settings import SettingsError
from agewise.faces.align import cut
from agewise.faces.image import read_photo
from agewise.model.age_model import TorchPredictor
from agewise.teachers.features import Member, open_members, write_features
from agewise.teachers.layers import LAYERS, read_distributions
from agewise.teachers.readout import Bank, read_out_features
from agewise.teachers.recipe import members as members_of
from agewise.teachers.recipe import read_teacher_recipe
from agewise.training.losses.cross_entropy import cross_entropy
from agewise.training.losses.distribution import distribution
from agewise.training.run_folder import load_run

Write = Callable[..., Path]
BAD = {"bytes": b"no picture", "path": None}


class Dead(BaseException):
    """What kill -9 does, as far as one process can do it to itself."""


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agewise.data.crops.PART_ROWS", 10)


@pytest.fixture(scope="module")
def teacher(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three runs, each with other weights, and a recipe of the teacher's own beside them."""
    folder = tmp_path_factory.mktemp("teacher")
    for number, name in enumerate(("children-0", "general-00", "general-01")):
        shutil.copytree(tiny_run, folder / name)
        path = folder / name / "model.safetensors"
        save_file({key: value * (1 - number / 20) for key, value in load_file(path).items()}, path)
    (folder / "recipe.json").write_text("{}")
    return folder


def crops(manifest: Path) -> NDArray[np.uint8]:
    return np.stack([read_photo(row["bytes"]).pixels for row in read_manifest(manifest)["image"].to_pylist()])


def values(path: Path, name: str) -> NDArray[np.float32]:
    return np.array(pq.read_table(path)[name].to_pylist(), dtype=np.float32)


def test_values_are_those_of_the_network(tmp_path: Path, faces_of: Write, tiny_run: Path) -> None:
    source = faces_of(tmp_path / "faces.parquet", range(3, 80, 7), subject=[f"s{n}" for n in range(11)])
    target = tmp_path / "new" / "f.parquet"
    steps: list[tuple[int, int]] = []
    done = write_features(open_members(tiny_run), source, target, batch=4, progress=lambda *step: steps.append(step))
    assert done == (11, [])
    assert (steps[0], steps[-1]) == ((4, 11), (11, 11))
    model, seen = load_run(tiny_run), crops(source)
    with torch.inference_mode():
        features = model.backbone(torch.from_numpy(cut(seen, model.window, model.settings.size)))["age"]
        raw = model.head(features)
    np.testing.assert_allclose(values(target, "features"), features.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values(target, "raw"), raw.numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values(target, "probs"), TorchPredictor(model)(seen).probs, atol=1e-6)
    np.testing.assert_allclose(torch.from_numpy(values(target, "raw")).softmax(1), values(target, "probs"), atol=1e-6)
    made = pq.read_table(target)
    assert made.column_names == ["row", "age", "subject", *LAYERS, "error"]
    assert made["row"].to_pylist() == list(range(11))
    assert made["age"].to_pylist() == [float(age) for age in range(3, 80, 7)]
    assert made["error"].null_count == 11
    assert features.std(dim=0).max() > 0.01  # of another face, other values


def test_a_teacher_has_a_column_a_member(tmp_path: Path, faces_of: Write, teacher: Path) -> None:
    source, target = faces_of(tmp_path / "faces.parquet", [5, 30, 70]), tmp_path / "f.parquet"
    members = open_members(teacher, "general-*")
    assert list(members) == ["general-00", "general-01"]
    assert list(open_members(teacher)) == ["children-0", "general-00", "general-01"]
    assert list(open_members(teacher, "general-01, children-?")) == ["children-0", "general-01"]
    write_features(members, source, target)
    table, votes = read_distributions(target)
    assert table.column_names == ["row", "age", "error"]
    for name, vote in zip(members, votes, strict=True):
        alone = TorchPredictor(load_run(teacher / name))(crops(source))
        np.testing.assert_allclose(vote.probs, alone.probs, atol=1e-6)
        assert len(values(target, f"features_{name}")[0]) == load_run(teacher / name).backbone.features
    assert np.abs(votes[0].probs - votes[1].probs).max() > 1e-4
    assert metadata(target)["models"] == {name: member.digest for name, member in members.items()}


def test_half_precision_is_near_and_smaller(tmp_path: Path, faces_of: Write, tiny_run: Path) -> None:
    source, members = faces_of(tmp_path / "faces.parquet", range(40)), open_members(tiny_run)
    for half in (False, True):
        write_features(members, source, tmp_path / f"{half}.parquet", half=half)
    for layer in LAYERS:
        tolerance = 0 if layer == "probs" else 1e-3
        full = values(tmp_path / "False.parquet", layer)
        np.testing.assert_allclose(values(tmp_path / "True.parquet", layer), full, rtol=tolerance, atol=tolerance)
    sizes = [(tmp_path / f"{half}.parquet").stat().st_size for half in (True, False)]
    assert sizes[0] < 0.8 * sizes[1]


@pytest.mark.usefixtures("small_parts")
def test_a_face_that_cannot_be_read_stays_with_its_reason(tmp_path: Path, faces_of: Write, tiny_run: Path) -> None:
    good = read_manifest(faces_of(tmp_path / "all.parquet", range(25)))["image"].to_pylist()
    images = [BAD if row == 3 or row >= 20 else image for row, image in enumerate(good)]
    source, target = faces_of(tmp_path / "faces.parquet", range(25), image=images), tmp_path / "f.parquet"
    count, left_out = write_features(open_members(tiny_run), source, target, batch=5)
    assert count == 25
    assert [row for row, _ in left_out] == ["row 3", *(f"row {row}" for row in range(20, 25))]
    assert all(reason.startswith("not an image file") for _, reason in left_out)
    made = pq.read_table(target)
    for layer in LAYERS:
        assert np.flatnonzero(made[layer].is_null()).tolist() == [3, 20, 21, 22, 23, 24]
    assert [row for row, reason in enumerate(made["error"].to_pylist()) if reason] == [3, 20, 21, 22, 23, 24]
    table, votes = read_distributions(target)
    assert table["row"].to_pylist() == [row for row in range(20) if row != 3]
    assert len(votes[0]) == 19
    assert write_features(open_members(tiny_run), source, target) == (count, left_out)
    none = faces_of(tmp_path / "none.parquet", [1, 2], image=[BAD, BAD])
    write_features(open_members(tiny_run), none, tmp_path / "n.parquet")
    with pytest.raises(ManifestError, match="none of its 2 rows has values"):
        read_distributions(tmp_path / "n.parquet")


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("calls", [0, 2, 5, 7])
def test_a_resumed_file_is_the_whole_one(
    tmp_path: Path, faces_of: Write, tiny_run: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    source, target, whole = faces_of(tmp_path / "faces.parquet", range(25)), tmp_path / "f.parquet", tmp_path / "w"
    members = open_members(tiny_run)
    write_features(members, source, whole, batch=4)
    left, said = [calls + 1], Member.layers  # the first call finds out how wide the layers are

    def dying(self: Member, *given: Any) -> dict[str, NDArray[np.float32]]:
        left[0] -= 1
        if left[0] < 0:
            raise Dead
        return said(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Member, "layers", dying)
        with pytest.raises(Dead):
            write_features(members, source, target, batch=4)
    assert not target.exists()
    if calls >= 3:  # a part was complete
        with pytest.raises(ManifestError, match="was begun with another half; delete it"):
            write_features(members, source, target, half=True)
    write_features(members, source, target, batch=4)
    assert pq.read_table(target).equals(pq.read_table(whole))
    assert metadata(target) == metadata(whole)
    assert not target.with_name("f.parquet.parts").exists()


def test_a_finished_file_of_something_else_is_kept(
    tmp_path: Path, faces_of: Write, tiny_run: Path, teacher: Path
) -> None:
    source, target = faces_of(tmp_path / "faces.parquet", [10, 20]), tmp_path / "f.parquet"
    write_features(open_members(tiny_run), source, target)
    before = target.read_bytes()
    others = open_members(teacher / "general-01")
    for members, manifest, half in (
        (others, source, False),
        (open_members(tiny_run), faces_of(tmp_path / "b.parquet", [30]), False),
        (open_members(tiny_run), source, True),
    ):
        with pytest.raises(ManifestError, match="exists and is not of these networks and this manifest; delete it"):
            write_features(members, manifest, target, half=half)
    with pytest.raises(ManifestError, match=r"faces\.parquet exists and is not"):
        write_features(others, source, source)
    assert target.read_bytes() == before
    moved = tmp_path / "moved.parquet"
    shutil.copy(source, moved)
    assert write_features(open_members(tiny_run), moved, target) == (2, [])  # the same faces under another name


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ({"image": pa.array([], pa.null())}, "no row to look at"),
        ({"age": [20.0, 300.0]}, "row 1: age is 300; 0..122 years or null is allowed"),
        ({"raw": [1.0, 2.0]}, "column raw would be overwritten by the features; rename it"),
    ],
)
def test_what_has_no_features_leaves_nothing(
    tmp_path: Path, faces_of: Write, tiny_run: Path, columns: dict[str, Any], wanted: str
) -> None:
    empty = "image" in columns
    source = faces_of(tmp_path / "in" / "faces.parquet", [] if empty else [1, 2], **({} if empty else columns))
    with pytest.raises(ManifestError, match=wanted):
        write_features(open_members(tiny_run), source, tmp_path / "out" / "f.parquet")
    assert not (tmp_path / "out").exists()


def test_a_manifest_of_another_frame_is_refused(tmp_path: Path, faces_of: Write, tiny_run: Path) -> None:
    rows = read_manifest(faces_of(tmp_path / "faces.parquet", [1, 2]))
    square = write_manifest(rows, tmp_path / "square.parquet", {"frame": "square"})
    with pytest.raises(ManifestError, match="its crops are in the square frame; the aligned one is needed"):
        write_features(open_members(tiny_run), square, tmp_path / "f.parquet")


def test_a_value_that_is_no_number(tmp_path: Path, faces_of: Write, tiny_run: Path) -> None:
    source = faces_of(tmp_path / "faces.parquet", [1, 2, 3])
    for half, factor in ((True, 1e6), (False, np.nan)):
        members = open_members(tiny_run)
        head = members[""].model.head
        with torch.no_grad():
            head.linear.weight.mul_(factor)
        kind = "a value that is no number" + (" in half precision" if half else "")
        with pytest.raises(ManifestError, match=rf"faces\.parquet: rows 0\.\.2: raw: {kind}$"):
            write_features(members, source, tmp_path / "f.parquet", half=half)


def test_folders_that_are_no_teacher(tmp_path: Path, teacher: Path) -> None:
    with pytest.raises(SettingsError, match="neither a run folder nor a folder of runs"):
        open_members(tmp_path)
    with pytest.raises(SettingsError, match=r"no run is called adult-\*; there are children-0, general-00, general-01"):
        open_members(teacher, "adult-*")
    cut_off = tmp_path / "cut-off"
    shutil.copytree(teacher, cut_off)
    (cut_off / "general-01" / "model.safetensors").unlink()
    with pytest.raises(SettingsError, match=r"general-01: this run is not finished; agewise train resumes it"):
        open_members(cut_off)
    assert list(open_members(cut_off, "general-00")) == ["general-00"]


def test_a_digest_is_of_weights_and_of_how_a_face_is_seen(tmp_path: Path, tiny_run: Path) -> None:
    copy = tmp_path / "other-name"
    shutil.copytree(tiny_run, copy)
    said = json.loads((copy / "recipe.json").read_text())
    first = open_members(tiny_run)[""].digest
    assert open_members(copy)[""].digest == first
    said["model"]["window"]["side"] = 0.5
    (copy / "recipe.json").write_text(json.dumps(said))
    assert open_members(copy)[""].digest != first


def test_from_training_faces_to_a_readout(tmp_path: Path, faces_of: Write, teacher: Path) -> None:
    members = open_members(teacher, "general-*")
    train = faces_of(tmp_path / "train.parquet", range(2, 82))
    test = faces_of(tmp_path / "test.parquet", [10, 40, 70])
    write_features(members, train, tmp_path / "a.parquet")
    write_features(members, test, tmp_path / "b.parquet")
    bank = Bank.of_features(tmp_path / "a.parquet", alpha=1e5)
    mean, read, spread = read_out_features(tmp_path / "b.parquet", bank)
    votes = [TorchPredictor(load_run(teacher / name))(crops(test)) for name in members]
    np.testing.assert_allclose(mean.probs, (votes[0].probs + votes[1].probs) / 2, atol=1e-6)
    assert (read.mean >= 2).all()
    assert (read.mean <= 81).all()
    np.testing.assert_allclose(spread, np.abs(votes[0].mode - votes[1].mode) / 2**0.5, atol=1e-6)
    again = read_out_features(tmp_path / "a.parquet", Bank.of_features(tmp_path / "a.parquet", alpha=1e12))[1]
    np.testing.assert_allclose(again.mean, np.arange(2, 82), atol=1e-6)  # a training face is its own nearest one


# DADL's targets and loss


def test_the_recipe_s_target_and_loss_are_dadl_s() -> None:
    teacher = read_teacher_recipe(Path(__file__).parents[2] / "recipes" / "teachers" / "dadl.toml")
    assert (teacher.general.folds, teacher.children) == (4, None)
    recipe = members_of(teacher)["general-00"]
    assert (recipe.model.head.name, recipe.loss.name, recipe.loss.options) == ("categorical", "distribution", {})
    means, stds = np.array([3.2, 27.5, 61.0, 99.0]), np.array([0.9, 4.2, 7.7, 3.0])
    columns = {"age": means, "age_std": stds}
    table = pa.table({name: pa.array(column, COLUMNS[name]) for name, column in columns.items()})
    target = torch.from_numpy(labels(table, Path("m"))[0])
    density = np.exp(-((AGES - means[:, None]) ** 2) / (2 * stds[:, None] ** 2))
    wanted = density / density.sum(axis=1, keepdims=True)  # a discrete Gaussian that sums to 1
    np.testing.assert_allclose(target, wanted, atol=1e-7)
    logits = torch.randn(4, 101, generator=torch.Generator().manual_seed(0)).mul(3).requires_grad_()
    probs = logits.detach().double().softmax(dim=1).numpy()
    clamped = -(wanted * np.log(probs.clip(1e-15, 1 - 1e-15))).sum(axis=1)
    entropy = -(wanted * np.log(wanted.clip(1e-300))).sum(axis=1)
    given = cross_entropy(logits.log_softmax(dim=1), target)
    np.testing.assert_allclose(given.detach(), clamped, rtol=1e-5)
    ours = distribution(logits.log_softmax(dim=1), target)
    np.testing.assert_allclose(ours.detach(), clamped - entropy, rtol=1e-4, atol=1e-5)
    ours.sum().backward()
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad, probs - wanted, atol=1e-5)  # softmax behind -target / p
