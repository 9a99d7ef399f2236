"""Runs on a part of their manifest: a fold left out and looked at, ages, limits, and what is learned of a label."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from agewise.ages import AGES, AgeDistribution
from agewise.data.choosing import in_fold
from agewise.data.manifest import ManifestError, probs_column
from agewise.data.settings import SettingsError
from agewise.training.fit import train
from agewise.training.loading import loader, open_faces

Make = Callable[..., Any]
YEARS = range(2, 82, 2)
PERSONS = [f"p{n % 12}" for n in range(40)]


@pytest.fixture
def faces(tmp_path: Path, faces_of: Make) -> Path:
    return Path(faces_of(tmp_path / "faces.parquet", YEARS, side=16, subject=PERSONS))


@pytest.fixture
def taught(tmp_path: Path, faces_of: Make) -> Path:
    """With a teacher's distributions, five years above the known age; of two faces no agreement is known."""
    ages = AgeDistribution.gaussian([age + 5 for age in YEARS], 3.0)
    spread = [None, None, *np.linspace(0, 6, 38)]
    return Path(faces_of(tmp_path / "taught.parquet", YEARS, side=16, age_probs=probs_column(ages), agreement=spread))


def means(found: Any) -> list[float]:
    return [round(float(mean), 1) for mean in found.targets @ AGES]


def shades(found: Any) -> list[float]:
    """What the pictures say: `faces_of` draws them the brighter the older."""
    return [float(found._crop(n).mean()) for n in range(len(found))]


def test_a_fold_is_left_out_and_looked_at(faces: Path, tiny_recipe: Make) -> None:
    seen: list[set[str]] = []
    for fold in range(3):
        given = {"folds": 3, "fold": fold, "valid": None}
        learned, valid = open_faces(tiny_recipe(faces, faces.parent, data=given))
        held_out = in_fold(faces, 3, fold)
        assert learned.rows.tolist() == np.flatnonzero(~held_out).tolist()
        assert valid is not None
        assert valid.rows.tolist() == np.flatnonzero(held_out).tolist()
        assert means(learned) == [float(age) for age, out in zip(YEARS, held_out, strict=True) if not out]
        assert np.corrcoef(means(learned), shades(learned))[0, 1] > 0.99  # each picture with its own label
        assert np.corrcoef(means(valid), shades(valid))[0, 1] > 0.99
        seen.append({PERSONS[row] for row in valid.rows})
        assert not seen[-1] & {PERSONS[row] for row in learned.rows}
    assert set.union(*seen) == set(PERSONS)
    assert sum(map(len, seen)) == len(set(PERSONS))


def test_another_valid_is_looked_at_instead(faces: Path, tmp_path: Path, faces_of: Make, tiny_recipe: Make) -> None:
    other = faces_of(tmp_path / "other.parquet", [7, 8], side=16)
    learned, valid = open_faces(tiny_recipe(faces, tmp_path, data={"folds": 3, "valid": str(other)}))
    assert valid is not None
    assert (len(learned), means(valid)) == (np.count_nonzero(~in_fold(faces, 3, 0)), [7.0, 8.0])


def test_ages_and_limit_count_what_is_left(faces: Path, tiny_recipe: Make) -> None:
    given = {"folds": 3, "fold": 1, "valid": None, "ages": (0, 40), "limit": 9}
    learned, valid = open_faces(tiny_recipe(faces, faces.parent, data=given))
    out = in_fold(faces, 3, 1)
    young = [row for row, age in enumerate(YEARS) if age <= 40]
    assert learned.rows.tolist() == [row for row in young if not out[row]][:9]
    assert valid is not None
    assert valid.rows.tolist() == [row for row in young if out[row]]  # all of them: the limit is of the learning
    recipe = tiny_recipe(faces, faces.parent, data={**given, "balance": 0.5, "reweight": 0.5})
    drawn = [batch["target"].numpy() for batch in loader(open_faces(recipe)[0], recipe, training=True)]
    assert sum(map(len, drawn)) == 8  # of 9, in whole batches
    assert max(float((batch @ AGES).max()) for batch in drawn) <= 40
    with pytest.raises(ManifestError, match="no face is left to learn from, of 40"):
        open_faces(tiny_recipe(faces, faces.parent, data={"ages": (90, 100)}))


def test_a_run_keeps_the_best_epoch_by_its_fold(faces: Path, tiny_recipe: Make) -> None:
    data = {"folds": 3, "fold": 2, "valid": None}
    training = {"epochs": 2, "keep": "best", "batch": 8}
    folder = train(tiny_recipe(faces, faces.parent, data=data, training=training), progress=False)
    with (folder / "metrics.csv").open(newline="") as stream:
        scored = [row for row in csv.DictReader(stream) if row["valid_excess"]]
    assert [row["epoch"] for row in scored] == ["0", "1"]
    assert (folder / "best.ckpt").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"fold": 1}, "fold is 1 of 1 folds, which are counted from 0"),
        ({"folds": 3, "fold": 3}, "fold is 3 of 3 folds"),
        ({"folds": 1}, "folds"),
        ({"ages": (40, 20)}, "ages are 40..20; two of 0..100, the younger first, are needed"),
        ({"ages": (0, 101)}, "ages are 0..101"),
    ],
)
def test_what_cannot_be_is_refused(faces: Path, tiny_recipe: Make, data: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        tiny_recipe(faces, faces.parent, data=data)


def test_the_known_label_stays_beside_the_target(taught: Path, tiny_recipe: Make) -> None:
    """What `teacher-bounded` reads; and in a shuffled batch each face has its own."""
    recipe = tiny_recipe(taught, taught.parent, loss={"name": "teacher-bounded"})
    for batch in loader(open_faces(recipe)[0], recipe, training=True):
        assert (batch["low"] == batch["high"]).all()
        low = batch["low"].numpy()
        apart = batch["target"].numpy() @ AGES - low
        assert apart[low > 15] == pytest.approx(np.full((low > 15).sum(), 5), abs=0.2)
    assert train(recipe, progress=False).is_dir()


def test_what_is_learned_of_a_label(taught: Path, tiny_recipe: Make) -> None:
    def learned(**target: Any) -> Any:
        return open_faces(tiny_recipe(taught, taught.parent, data={"target": target}))[0]

    plain, mean = learned(), learned(learn="mean")
    np.testing.assert_allclose(mean.targets @ AGES, plain.targets @ AGES, atol=1e-3)
    assert (np.count_nonzero(mean.targets, axis=1) <= 2).all()
    spread = np.array([0, 0, *np.linspace(0, 6, 38)])
    np.testing.assert_allclose(learned(agreement="weight").weights, 1 / (1 + (spread / 3) ** 2), rtol=1e-5)
    assert (learned(agreement="width").weights == 1).all()
    wide = AgeDistribution(learned(learn="mean", agreement="width").targets[12:28]).std
    np.testing.assert_allclose(wide, spread[12:28], atol=0.15)


def test_agreement_needs_its_column(faces: Path, tmp_path: Path, faces_of: Make, tiny_recipe: Make) -> None:
    for kind in ("weight", "width"):
        with pytest.raises(ManifestError, match="agreement"):
            open_faces(tiny_recipe(faces, tmp_path, data={"target": {"agreement": kind}}))
    empty = faces_of(tmp_path / "empty.parquet", [3, 4], agreement=[None, None])
    with pytest.raises(ManifestError, match="column agreement is empty"):
        open_faces(tiny_recipe(empty, tmp_path, data={"target": {"agreement": "weight"}}))


@pytest.mark.parametrize("target", [{"learn": "mean"}, {"agreement": "width"}])
def test_a_face_of_a_group_alone_keeps_its_group(
    tmp_path: Path, faces_of: Make, tiny_recipe: Make, target: dict[str, str]
) -> None:
    """In a manifest of which a part was annotated."""
    taught = probs_column(AgeDistribution.gaussian([30.0], 3.0))
    probs = pa.concat_arrays([pa.nulls(1, taught.type), taught])
    bounds = {"age": None, "age_low": [20.0, 20.0], "age_high": [29.0, 29.0]}
    mixed = faces_of(tmp_path / "mixed.parquet", [24, 24], age_probs=probs, agreement=[None, 2.0], **bounds)
    learned = open_faces(tiny_recipe(mixed, tmp_path, data={"target": target}))[0]
    assert learned.group_only.tolist() == [True, False]
    assert np.flatnonzero(learned.targets[0]).tolist() == list(range(20, 30))


def test_ages_that_are_made_even_between_the_sexes(tmp_path: Path, faces_of: Make, tiny_recipe: Make) -> None:
    ages, sex = [20.0] * 6 + [60.0] * 2 + [20.0] * 2 + [60.0] * 6, ["F"] * 8 + ["M"] * 8
    manifest = faces_of(tmp_path / "faces.parquet", ages, sex=sex, age_std=[1.0] * 16)
    plain, even = (open_faces(tiny_recipe(manifest, tmp_path, data={"even": names}))[0] for names in ([], ["sex"]))
    assert plain.weights == pytest.approx(1.0)
    assert even.weights[:8].reshape(4, 2).sum(axis=1) == pytest.approx([4 / 3, 4 / 3, 4 / 3, 4.0], rel=0.02)
    with pytest.raises(ManifestError, match="camera"):
        open_faces(tiny_recipe(manifest, tmp_path, data={"even": ["camera"]}))
