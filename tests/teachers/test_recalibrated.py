"""Recalibration of an annotated manifest: ages put right, within known groups, nothing overwritten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.data.manifest import ManifestError, distributions, metadata, probs_column, read_manifest, write_manifest
from agewise.teachers.annotation.annotate import annotate, annotate_folder
from agewise.teachers.recalibrate import Response
from agewise.teachers.recalibrated import recalibrate

Write = Callable[..., Path]


def flattened(crops: NDArray[np.uint8]) -> AgeDistribution:
    """A teacher that draws everybody towards 30, of faces made as in `faces_of`."""
    years = ((crops.mean(axis=(1, 2, 3)) - 40) / 1.6).clip(0, 100)
    return AgeDistribution.gaussian(0.6 * AgeDistribution.gaussian(years, 3.0).mean + 12, 3.0)


def test_recalibration_from_end_to_end(tmp_path: Path, faces_of: Write) -> None:
    ages = np.tile(np.arange(2.0, 82.0, 1.0), 4)
    low = np.floor(ages / 10) * 10
    source = faces_of(tmp_path / "faces.parquet", ages, side=8, age_low=low, age_high=low + 9)
    soft, fixed, response = (tmp_path / name for name in ("soft.parquet", "fixed.parquet", "r.json"))
    annotate(source, flattened, soft, identity="flat")
    before = np.abs(distributions(read_manifest(soft)).mean - ages).mean()
    fitted = recalibrate(soft, fixed, response)
    after = distributions(read_manifest(fixed))
    assert before > 7
    assert np.abs(after.mean - ages).mean() < 3
    assert fitted.mean[[10, 30, 60]] == pytest.approx([18, 30, 48], abs=2)
    assert Response.read(response).mean == pytest.approx(fitted.mean, abs=1e-5)
    assert metadata(fixed)["step"] == "recalibrate"
    grouped = pq.read_table(soft)
    grouped = grouped.set_column(grouped.schema.get_field_index("age"), "age", pa.nulls(len(grouped), pa.float64()))
    pq.write_table(grouped, tmp_path / "grouped.parquet")
    recalibrate(tmp_path / "grouped.parquet", fixed, response, fit_on=soft, constrain=True)
    probs = distributions(read_manifest(fixed)).probs
    outside = (np.arange(101) < low[:, None]) | (np.arange(101) > low[:, None] + 9)
    assert probs[outside].max() == 0
    recalibrate(tmp_path / "grouped.parquet", fixed, response, fit_on=soft, constrain=True, edge=2.0)
    assert 0.01 < distributions(read_manifest(fixed)).probs[outside].sum() / len(ages) < 0.3
    assert metadata(fixed)["edge"] == 2.0


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"age": None}, "no row with an age, or with age_low and age_high"),
        ({}, "3 labelled faces do not fix a recalibration; 100 or more are needed"),
    ],
)
def test_what_cannot_be_recalibrated_leaves_nothing(
    tmp_path: Path, faces_of: Write, changes: dict[str, Any], wanted: str
) -> None:
    source = faces_of(tmp_path / "faces.parquet", [1, 2, 3], **changes)
    annotate(source, flattened, tmp_path / "soft.parquet", identity="t")
    with pytest.raises(ValueError, match=wanted):
        recalibrate(tmp_path / "soft.parquet", tmp_path / "new" / "fixed.parquet", tmp_path / "new" / "r.json")
    with pytest.raises(ManifestError, match="no column age_probs"):
        recalibrate(source, tmp_path / "new" / "fixed.parquet", tmp_path / "new" / "r.json")
    assert not (tmp_path / "new").exists()


def test_recalibration_never_overwrites_what_it_reads(tmp_path: Path, faces_of: Write) -> None:
    source = faces_of(tmp_path / "faces.parquet", np.tile(np.arange(2.0, 82.0), 2), side=8)
    soft, other, new = (tmp_path / name for name in ("soft.parquet", "other.parquet", "new"))
    annotate(source, flattened, soft, identity="flat")
    other.write_bytes(soft.read_bytes())
    before = soft.read_bytes()
    for target, response in ((soft, new), (new, soft), (other, new), (new, other)):
        with pytest.raises(ManifestError, match="is the manifest that is read"):
            recalibrate(soft, target, response, fit_on=other)
    with pytest.raises(ManifestError, match="new is to hold the manifest and the response"):
        recalibrate(soft, new, new)
    for edge in (-1.0, 1e9, float("nan"), float("inf")):
        with pytest.raises(ManifestError, match=r"blur .* is .*; 0..20 years is allowed"):
            recalibrate(soft, new, tmp_path / "r.json", constrain=True, edge=edge)
    assert soft.read_bytes() == other.read_bytes() == before
    assert not new.exists()


def test_a_folder_of_parts_is_recalibrated_as_one_file_is(tmp_path: Path, faces_of: Write) -> None:
    source = faces_of(tmp_path / "faces.parquet", np.tile(np.arange(2.0, 82.0), 2), side=8)
    annotate(source, flattened, tmp_path / "soft.parquet", identity="flat")
    annotate_folder(source, flattened, tmp_path / "soft", identity="flat", rows=50)
    for name in ("soft.parquet", "soft"):
        recalibrate(tmp_path / name, tmp_path / f"{name}.fixed.parquet", tmp_path / f"{name}.json")
    one, parts = (read_manifest(tmp_path / f"{name}.fixed.parquet") for name in ("soft.parquet", "soft"))
    assert distributions(parts).probs == pytest.approx(distributions(one).probs, abs=1e-6)
    assert metadata(tmp_path / "soft.fixed.parquet")["teacher"] == "flat"


def test_a_teacher_that_reads_women_younger_is_put_right_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is fitted apart has the prior of all; who is of unknown value is read as everybody is."""
    monkeypatch.setattr("agewise.teachers.recalibrated.FEWEST", 300)
    rng = np.random.default_rng(0)
    age = rng.uniform(5, 80, 1500).round()
    sex = np.array(["F", "M", None], dtype=object)[np.repeat([0, 1, 2], 500)]
    read = (age - np.where(sex == "F", 6.0, 0.0) + rng.normal(0, 2, 1500)).clip(0, 100)
    probs = AgeDistribution.gaussian(read, 3.0).probs.astype(np.float32)
    table = pa.table(
        {"age": age, "sex": pa.array(sex.tolist(), pa.string()), "age_probs": probs_column(AgeDistribution(probs))}
    )
    source, fixed, response = (tmp_path / name for name in ("raw.parquet", "fixed.parquet", "r.json"))
    write_manifest(table, source, {"step": "annotate"})
    fitted = recalibrate(source, fixed, response, by="sex")
    away = distributions(read_manifest(fixed)).mean - age
    bias = {name: away[sex == name].mean() for name in ("F", "M", None)}
    assert abs(bias["F"]) < 0.6
    assert abs(bias["M"]) < 0.6
    expected = fitted.posterior(distributions(read_manifest(source)).mean).mean - age
    assert away[sex == None] == pytest.approx(expected[sex == None], abs=1e-3)  # noqa: E711  # row by row
    assert metadata(fixed)["by"] == "sex"
    for column, wanted in {"age_probs": "of lists or records", "age": "no value has the 300 faces"}.items():
        with pytest.raises(ManifestError, match=wanted):
            recalibrate(source, fixed, response, by=column)


def test_a_column_to_fit_apart_that_is_not_there(tmp_path: Path, faces_of: Write) -> None:
    source, soft = (
        faces_of(tmp_path / "faces.parquet", np.tile(np.arange(2.0, 82.0), 2), side=8),
        tmp_path / "soft.parquet",
    )
    annotate(source, flattened, soft, identity="flat")
    with pytest.raises(ManifestError, match="no column sex"):
        recalibrate(soft, tmp_path / "fixed.parquet", tmp_path / "r.json", by="sex")
    assert not (tmp_path / "fixed.parquet").exists()
