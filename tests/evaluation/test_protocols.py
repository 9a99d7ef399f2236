"""Protocols on generated manifests: who is tested by which model, and scores by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from agewise import metrics
from agewise.ages import AgeDistribution
from agewise.data.manifest import IMAGE, ManifestError, fingerprint, metadata, read_manifest, write_manifest
from agewise.data.settings import SettingsError
from agewise.evaluation.predictions import predict_manifest
from agewise.evaluation.protocols.classes import class_masses, classes_of
from agewise.evaluation.protocols.page import to_markdown, write_outcome
from agewise.evaluation.protocols.parts import lay_out
from agewise.evaluation.protocols.run import run
from agewise.evaluation.protocols.settings import names, read_protocol
from agewise.evaluation.robustness.cells import predict_cells
from agewise.evaluation.robustness.scores import ALL
from agewise.faces.image import encode_jpeg


class Shade:
    """The fake model: a grey crop of value v is v + off years old, give or take one year; it counts what it saw."""

    def __init__(self, off: float = 0.0) -> None:
        self.off = off
        self.seen: list[int] = []

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        shades = crops[:, 4, 4, 0].astype(float)
        self.seen += shades.astype(int).tolist()
        return AgeDistribution.gaussian((shades + self.off).clip(0, 100), 1.0)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def manifest(shades: list[int], name: str = "faces", frame: str | None = "aligned", **columns: Any) -> Path:
        pictures = [
            {"bytes": encode_jpeg(np.full((16, 16, 3), shade, np.uint8)), "path": None} if shade >= 0 else None
            for shade in shades
        ]
        table = pa.table({"image": pa.array(pictures, IMAGE), **columns})
        return write_manifest(table, tmp_path / f"{name}.parquet", {"frame": frame} if frame else None)

    return manifest


@pytest.fixture
def lap(write) -> Path:
    """Two faces to train on, three to choose by and four to test, one of which has no picture."""
    return write(
        [90, 91, 20, 30, 40, 25, 35, 45, -1],
        age=[90.0, 91.0, 21.0, 30.0, 40.0, 26.0, 35.0, 45.5, 50.0],
        age_std=[2.0, 2.0, 2.0, 3.0, 4.0, 2.0, 0.0, 0.0, 3.0],
        split=["train"] * 2 + ["valid"] * 3 + ["test"] * 4,
        age_kind=["apparent"] * 9,
    )


@pytest.fixture
def adience(write) -> Path:
    """Two faces a fold, each of a class of Adience."""
    groups = [(0, 2), (4, 6), (8, 12), (15, 20), (25, 32), (38, 43), (48, 53), (60, 100), (25, 32), (38, 43)]
    return write(
        [1, 5, 10, 22, 28, 40, 50, 70, 40, 3],
        age_low=[float(low) for low, _ in groups],
        age_high=[float(high) for _, high in groups],
        name="adience",
        fold=[row // 2 for row in range(10)],
        subject=[f"u{row // 2}" for row in range(10)],
    )


@pytest.mark.parametrize("name", names())
def test_every_protocol_reads_and_scores_only_what_it_publishes(name: str) -> None:
    protocol = read_protocol(name)
    assert protocol.name == name
    for one in protocol.published:
        assert set(one.scores) <= set(protocol.metrics)


def test_a_wrong_protocol_is_one_line() -> None:
    with pytest.raises(
        SettingsError, match="no metric 'map'; there are mae, bias, excess, epsilon_error, top1, one_off"
    ):
        read_protocol("lfw-plus", ['metrics=["map"]'])
    with pytest.raises(SettingsError, match="no setting fold; there are name, says"):
        read_protocol("adience", ["fold=3"])


def test_lap_chooses_on_valid_and_tests_the_chosen_one_once(lap, tmp_path) -> None:
    good, bad = Shade(0.4), Shade(4.0)
    outcome = run(read_protocol("lap-2016"), {"bad": bad, "good": good}, {"lap": lap}, tmp_path / "o", 50)
    assert [(one.model, one.part) for one in outcome.results] == [("bad", "valid"), ("good", "valid"), ("good", "test")]
    assert sorted(bad.seen) == [20, 30, 40]
    assert sorted(good.seen) == [
        20,
        25,
        30,
        35,
        40,
        45,
    ]  # nobody saw a face to train on, and only one those of the test
    test = outcome.results[-1].score
    pred = AgeDistribution.gaussian([25.4, 35.4, 45.4], 1.0).mean
    seen = metrics.epsilon_errors(pred, [26.0, 35.0, 45.5], [2.0, 0.0, 0.0])
    assert seen[1:].tolist() == pytest.approx([1.0, 1.0])  # all annotators agree: only the exact age is right
    assert test.metrics["epsilon_error"].value == pytest.approx((seen.sum() + 1.0) / 4, abs=1e-6)
    assert test.metrics["epsilon_error"].n == 4
    assert test.metrics["mae"].n == 3
    text = to_markdown(outcome)
    assert "published: SENet, VMAGE" in text
    assert "0.3033" in text
    assert "kind of age apparent" in text
    assert not list((tmp_path / "o").glob("*.crops.parquet"))


def test_an_exact_age_scores_0_where_all_annotators_agree(write, tmp_path) -> None:
    manifest = write([35], age=[35.0], age_std=[0.0], split=["test"])
    outcome = run(read_protocol("lap-2016"), {"m": Shade()}, {"lap": manifest}, tmp_path / "o", 10)
    assert outcome.results[0].score.metrics["epsilon_error"].value == pytest.approx(0.0, abs=1e-6)
    assert outcome.results[0].score.metrics["epsilon_error"].interval is None  # one face


def test_lap_from_files_of_predictions(lap, tmp_path) -> None:
    protocol = read_protocol("lap-2016")
    file = predict_manifest(Shade(0.4), lap, tmp_path / "p.parquet", name="m")
    read = run(protocol, {"m": file}, {"lap": lap}, tmp_path / "o", 20).results
    asked = run(protocol, {"m": Shade(0.4)}, {"lap": lap}, tmp_path / "o", 20).results
    assert read == asked
    with pytest.raises(ManifestError, match="no predictions of"):
        run(protocol, {"m": lap}, {"lap": lap}, tmp_path / "o")


def test_adience_by_five_models(adience, tmp_path) -> None:
    """Each fold by its own model; top-1 and 1-off by hand, mean and sample std over folds."""
    models = {str(fold): Shade() for fold in range(5)}
    outcome = run(read_protocol("adience"), models, {"adience": adience}, tmp_path / "o", 20)
    assert [sorted(models[str(fold)].seen) for fold in range(5)] == [[1, 5], [10, 22], [28, 40], [50, 70], [3, 40]]
    top1 = [one.score.metrics["top1"].value for one in outcome.results]
    off1 = [one.score.metrics["one_off"].value for one in outcome.results]
    assert top1 == [1.0, 1.0, 1.0, 1.0, 0.0]  # 22 is between 15-20 and 25-32, and nearer to the first
    assert off1 == [1.0, 1.0, 1.0, 1.0, 0.5]  # 40 for 25-32 is a neighbour, 3 for 38-43 is not
    assert outcome.mean == pytest.approx({"top1": 0.8, "one_off": 0.9})
    assert outcome.std == pytest.approx({"top1": np.std(top1, ddof=1), "one_off": np.std(off1, ddof=1)})
    assert "0.800 ± 0.447" in to_markdown(outcome)


def test_a_face_without_a_prediction_or_class(write, tmp_path) -> None:
    manifest = write(
        [1, -1, 5, 9, 10, 28],
        age_low=[0.0, 0.0, 4.0, 8.0, 8.0, 27.0],
        age_high=[2.0, 2.0, 6.0, 23.0, 12.0, 32.0],
        fold=[0, 0, 1, 1, 2, 2],
    )
    outcome = run(
        read_protocol("adience", ['folds=["0", "1", "2"]']),
        {"m": Shade()},
        {"a": manifest},
        tmp_path,
        10,
    )
    scores = [one.score for one in outcome.results]
    assert [one.metrics["top1"].value for one in scores] == [0.5, 1.0, 1.0]  # no prediction counts as wrong
    assert [one.n for one in scores] == [2, 1, 2]  # 8-23 is no class; 27-32 is inside one
    assert dict(scores[1].dropped) == {"no label that the protocol scores": 1}
    assert any("must have seen none of their faces" in note for note in outcome.notes)


def test_folds_are_tested_by_their_own_models_only(adience, tmp_path) -> None:
    protocol = read_protocol("adience")
    with pytest.raises(ManifestError, match=r"the models are 0, 1; one a fold is needed, named 0, 1, 2, 3, 4"):
        run(protocol, {"0": Shade(), "1": Shade()}, {"a": adience}, tmp_path)
    with pytest.raises(ManifestError, match="column fold has 0, 1, 2, 3, 4; 0, 1, 9 is needed"):
        run(read_protocol("adience", ['folds=["0", "1", "9"]']), {"m": Shade()}, {"a": adience}, tmp_path)


def test_masses_of_classes_are_those_of_the_head() -> None:
    from agewise.model.heads.groups import SCHEMES, GroupHead

    bounds = SCHEMES["adience"]
    cells = GroupHead(1, scheme="adience").cells.numpy()
    probs = np.random.default_rng(0).random((7, 101))
    ages = AgeDistribution(probs)
    np.testing.assert_allclose(class_masses(ages, bounds), ages.probs @ cells.T)
    np.testing.assert_allclose(class_masses(ages, bounds).sum(axis=1), 1.0)
    low, high = np.array([0.0, 25, 3, np.nan, 61]), np.array([2.0, 32, 3, np.nan, 61])
    assert classes_of(low, high, bounds).tolist() == [0, 4, -1, -1, 7]


def test_lfw_plus_is_one_number_with_its_faces(write, tmp_path) -> None:
    manifest = write([20, 30, 40, 50], age=[22.0, 30.0, 40.0, 47.0])
    outcome = run(read_protocol("lfw-plus"), {"m": Shade()}, {"lfw": manifest}, tmp_path, 20)
    (only,) = outcome.results
    assert only.score.metrics["mae"].value == pytest.approx(1.25, abs=1e-6)
    assert only.score.metrics["bias"].value == pytest.approx(0.25, abs=1e-6)
    assert only.score.n == 4
    assert outcome.mean == {}


def test_the_matrix_has_every_pair(write, tmp_path) -> None:
    manifests = {
        "ages": write([20, 30, 40], "ages", age=[22.0, 31.0, 43.0]),
        "groups": write([20, 35, 41], "groups", age_low=[20.0, 20.0, 40.0], age_high=[29.0, 29.0, 49.0]),
    }
    outcome = run(read_protocol("cross-dataset"), {"a": Shade(), "b": Shade(3)}, manifests, tmp_path / "o", 20)
    found = {(one.model, one.manifest): one.score.metrics for one in outcome.results}
    assert found["a", "ages"]["mae"].value == pytest.approx(2.0, abs=1e-6)
    assert found["b", "ages"]["mae"].value == pytest.approx((1 + 2 + 0) / 3, abs=1e-6)
    assert found["a", "groups"]["excess"].value == pytest.approx(5 / 3, abs=1e-6)
    assert "mae" not in found["a", "groups"]
    assert len(found) == 4


def test_lfw_plus_c_reads_cells_or_makes_them(write, tmp_path) -> None:
    manifest = write([40, 80], age=[40.0, 80.0])
    protocol = read_protocol("lfw-plus-c")
    few = predict_cells(lambda: Shade(), manifest, tmp_path / "few", name="m", kinds=["pixelate"], profile="released")
    with pytest.raises(ManifestError, match="needs all of the 13 kinds x 5 severities"):
        run(protocol, {"m": few}, {"lfw": manifest}, tmp_path / "o")
    with pytest.raises(ManifestError, match="in profile paper"):
        run(read_protocol("lfw-plus-c", ["profile=paper"]), {"m": few}, {"lfw": manifest}, tmp_path / "o")
    outcome = run(protocol, {"m": Shade()}, {"lfw": manifest}, tmp_path / "o", 10)
    parts = {one.part: one.score.metrics["mae"].value for one in outcome.results}
    assert parts["clean"] == pytest.approx(0, abs=1e-6)
    assert parts["noise"] == pytest.approx((parts["gaussian_noise"] + parts["shot_noise"]) / 2)
    assert parts[ALL] > 0


def test_one_person_is_left_out_at_a_time(write, tmp_path) -> None:
    manifest = write([20, 30, 40], age=[21.0, 30.0, 38.0], split=["ann", "ann", "bo"], subject=["ann", "ann", "bo"])
    models = {"ann": Shade(), "bo": Shade()}
    outcome = run(read_protocol("leave-one-person-out"), models, {"fg": manifest}, tmp_path / "o", 10)
    assert models["ann"].seen == [20, 30]
    assert outcome.mean["mae"] == pytest.approx((0.5 + 2.0) / 2, abs=1e-6)


def test_what_recipes_need_is_laid_out(lap, adience, write, tmp_path) -> None:
    rounds = lay_out(read_protocol("lap-2016"), lap, tmp_path / "l")
    sizes = {part: len(read_manifest(path)) for part, path in rounds["lap-2016"].items()}
    assert sizes == {"train": 2, "valid": 3, "test": 4}
    assert metadata(rounds["lap-2016"]["train"])["frame"] == "aligned"
    rounds = lay_out(read_protocol("adience"), adience, tmp_path / "a")
    assert list(rounds) == ["0", "1", "2", "3", "4"]
    for fold, paths in rounds.items():
        assert set(read_manifest(paths["test"])["fold"].to_pylist()) == {int(fold)}
        assert len(read_manifest(paths["train"])) == 8
        assert int(fold) not in read_manifest(paths["train"])["fold"].to_pylist()
    with pytest.raises(ManifestError, match="nothing is trained by it"):
        lay_out(read_protocol("lfw-plus"), write([1], "w", age=[1.0], split=["test"]), tmp_path / "w")


def test_other_refusals(lap, write, tmp_path) -> None:
    protocol, whole = (read_protocol(name) for name in ("lap-2016", "lfw-plus"))
    with pytest.raises(ManifestError, match="2 manifests, 1 models; one manifest and models are needed"):
        run(protocol, {"m": Shade()}, {"a": lap, "b": lap}, tmp_path)
    with pytest.raises(ManifestError, match="no column split"):
        run(protocol, {"m": Shade()}, {"a": write([1], "x", age=[1.0])}, tmp_path)
    with pytest.raises(ManifestError, match="no row of part 'test' in column split; it has train"):
        run(protocol, {"m": Shade()}, {"a": write([1], "x", age=[1.0], split=["train"])}, tmp_path)
    with pytest.raises(ManifestError, match="a: no face to score by epsilon_error: age and age_std, and a"):
        run(protocol, {"m": Shade()}, {"a": write([1], "x", age=[1.0], split=["test"])}, tmp_path)
    with pytest.raises(ManifestError, match="not known to be face crops"):
        run(whole, {"m": Shade()}, {"a": write([1], "x", frame=None, age=[1.0])}, tmp_path)
    square = Shade()
    square.frame = "square"  # type: ignore[attr-defined]  # as a model that says its own
    with pytest.raises(ManifestError, match="in the aligned frame; the square one is needed"):
        run(whole, {"m": square}, {"a": write([1], "x", age=[1.0])}, tmp_path)


def test_the_hash_is_of_the_rules_alone() -> None:
    protocol = read_protocol("lfw-plus")
    talk = ['says="another"', 'notes=["x"]', 'paper=""']
    assert read_protocol("lfw-plus", talk).sha256 == protocol.sha256
    hashes = {read_protocol("lfw-plus", [rule]).sha256 for rule in ('metrics=["mae"]', "missing=wrong", "column=part")}
    assert len(hashes | {protocol.sha256}) == 4
    assert len({read_protocol(name).sha256 for name in names()}) == len(names())


def test_a_protocol_is_found_by_its_name_or_path(tmp_path) -> None:
    with pytest.raises(SettingsError, match=r"no protocol 'lfw'; there are adience, .*, or give a TOML file"):
        read_protocol("lfw")
    with pytest.raises(SettingsError, match="the paper has no set 'lap'; there are vmage, "):
        read_protocol("lfw-plus", ["paper=lap"])
    (tmp_path / "mine.toml").write_text('name = "mine"\nsays = "so"\nkind = "whole"\nmetrics = ["mae"]\n')
    assert read_protocol(tmp_path / "mine.toml").known == []


def test_what_is_written_says_all_hashes(write, tmp_path) -> None:
    manifest = write([20, 30, 40], age=[22.0, 30.0, 40.0])
    outcome = run(read_protocol("lfw-plus"), {"m": Shade()}, {"lfw": manifest}, tmp_path / "o", 20)
    written = write_outcome(outcome, tmp_path / "o")
    said = json.loads(written[0].read_text())
    assert said["manifests"]["lfw"] == {"file": manifest.name, "rows": 3, "sha256": fingerprint(manifest)}
    assert said["sha256"] == read_protocol("lfw-plus").sha256
    assert said["models"] == {"m": "m"}
    assert said["results"][0]["metrics"]["mae"]["value"] == pytest.approx(2 / 3)
    assert "unknown" in written[1].read_text()  # the bias of all that is published
    for path in written[1:]:
        assert fingerprint(manifest) in path.read_text()


def test_a_tables_protocol_is_run_elsewhere(write, tmp_path) -> None:
    with pytest.raises(ManifestError, match=r"run by agewise\.evaluation\.paper"):
        run(read_protocol("paper-tables"), {"m": Shade()}, {"a": write([1], age=[1.0])}, tmp_path)


def test_earlier_predictions_are_found_in_a_report(write, tmp_path) -> None:
    manifest = write([20, 30], age=[22.0, 30.0])
    predict_manifest(Shade(), manifest, tmp_path / "report" / "predictions.parquet", name="m 1")
    outcome = run(read_protocol("lfw-plus"), {"m": tmp_path / "report"}, {"lfw": manifest}, tmp_path / "o", 20)
    assert dict(outcome.models) == {"m": "m 1"}
    ages = outcome.results[0].ages
    assert ages is not None
    assert ages["age"].to_pylist() == [22.0, 30.0]
    with pytest.raises(ManifestError, match="no cells there; agewise robustness makes them"):
        run(read_protocol("lfw-plus-c"), {"m": tmp_path / "report"}, {"lfw": manifest}, tmp_path / "o")
