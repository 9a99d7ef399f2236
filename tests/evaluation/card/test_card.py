"""What a card is made of: a file's metadata, JSON of other commands, and prose in short lines."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from agewise.data.settings import SettingsError
from agewise.deployment.benchmark import Benchmark, NetworkTime, PhotoTime, Spread
from agewise.deployment.quantize import quantize
from agewise.deployment.runtime import OnnxModel
from agewise.evaluation.card import evidence
from agewise.evaluation.card.about import About, read_about
from agewise.evaluation.card.card import Evidence, card
from agewise.evaluation.card.evidence import read_quantized, read_report, read_speed
from agewise.evaluation.card.onnx_file import CardError, ModelFile, parameters, read_model_file
from agewise.evaluation.card.prose import WIDTH, bullets, paragraphs, table
from agewise.evaluation.card.records import RobustnessSaid
from agewise.evaluation.card.scores import manifest_said, report_lines, weak
from agewise.evaluation.groups import Estimate, Score
from agewise.evaluation.robustness.report import to_json as robustness_json
from agewise.evaluation.robustness.scores import Robustness
from agewise.model.calibration.axis import Spread as Widths
from agewise.model.calibration.calibration import Calibration, Origin, as_metadata

ROOT = Path(__file__).parents[3]
RUN = {
    "seed": 3,
    "manifests": {"work/train.parquet": "aa" * 32, "work/valid.parquet": "bb" * 32},
    "agewise": "0.1.0",
    "versions": {"torch": "2.9"},
    "python": "3.11.7",
    "threads": 2,
}
RECIPE = {
    "name": "tiny",
    "data": {"train": "work/train.parquet", "valid": "work/valid.parquet", "limit": None},
    "model": {"backbone": {"name": "test_resnet", "width": 0.75}, "head": {"name": "corn"}},
    "training": {"rate": 6e-4},
}


@pytest.fixture
def file_of(tiny_model: Callable[..., Path]) -> Callable[..., ModelFile]:
    """An exported file as the card knows it; keywords change its metadata."""

    def read(**changes: Any) -> ModelFile:
        path = tiny_model(**{"recipe": RECIPE, "run": RUN, **changes})
        return read_model_file(path, path.name, path.name, OnnxModel(path, threads=1).info)

    return read


def report_of(model: ModelFile, bands: dict[str, Score], **changes: Any) -> dict[str, Any]:
    """report.json with these bands of age, as `agewise evaluate` writes it."""
    everybody = next(iter(bands.values()))
    said = {
        "model": model.identity,
        "manifest": {"name": "set.parquet", "sha256": "cc" * 32},
        "protocol": None,
        "summary": ["It was scored."],
        "labels": "age",
        "intervals": {"level": 0.95, "method": "percentile bootstrap", "resampled": "faces"},
        "decision": "mean",
        "audit": "Nobody looked",
        "kinds": {},
        "overall": asdict(replace(everybody, name="all")),
        "bands": [asdict(one) for one in bands.values()],
        "groups": {},
        "gaps": {},
        "absent": ["sex", "ethnicity"],
        "robustness": None,
    }
    return {**said, **changes}


def score(name: str, bias: float, interval: tuple[float, float] | None, n: int = 50, inside: float = 0.9) -> Score:
    values = {"mae": (abs(bias) + 1, None), "bias": (bias, interval), "cs5": (0.5, None), "crps": (2.0, None)}
    metrics = {key: Estimate(value, ends, n) for key, (value, ends) in values.items()}
    return Score(name, n, {}, {**metrics, "coverage": Estimate(inside, (inside - 0.1, inside + 0.05), n)})


def read(folder: Path, model: ModelFile, said: dict[str, Any]) -> evidence.ReportSaid:
    (folder / "report.json").write_text(json.dumps(said))
    return read_report(folder, model)


def test_weights_are_counted_without_what_quantisation_adds() -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "weights": rng.integers(-9, 9, (8, 3, 3, 3)).astype(np.int8),
        "scales": np.ones(8, np.float16),
        "zeros": np.zeros(8, np.int8),
        "bias": np.zeros(8, np.int32),
        "shape": np.array([1, 2, 3, 4]),
        "one": np.float32(1),
    }
    nodes = [
        helper.make_node("Cast", ["scales"], ["scales.single"], to=TensorProto.FLOAT),
        helper.make_node("DequantizeLinear", ["weights", "scales.single", "zeros"], ["out"], axis=0),
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    assert parameters(helper.make_graph(nodes, "g", [], [], stored)) == 8 * 27 + 8


def test_the_parameters_of_a_plain_file(file_of: Callable[..., ModelFile]) -> None:
    model = file_of()
    assert (model.parameters, model.stored) == (3 * 101, "single precision")
    assert model.identity == f"tiny {model.sha256[:8]}"


def test_the_hash_is_of_the_bytes(tiny_model: Callable[..., Path]) -> None:
    path = tiny_model(recipe=RECIPE, run=RUN)
    model = read_model_file(path, path.name, path.name, OnnxModel(path, threads=1).info)
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.size == len(path.read_bytes())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": {}}, "its metadata has no recipe; a card is of what `agewise export` made of a run"),
        ({"run": {}}, "its metadata has no run;"),
        ({"run": {**RUN, "manifests": 5}}, "its metadata: run.manifests:"),
        ({"recipe": {**RECIPE, "model": {}}}, "its metadata: recipe.model.backbone: Field required"),
        ({"quantized": {"sort": "int8"}}, "its metadata: quantized.kind: Field required"),
    ],
)
def test_metadata_that_say_too_little(file_of: Callable[..., ModelFile], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        file_of(**changes)


def test_bands_far_off_are_named_unless_it_may_be_chance(file_of: Callable[..., ModelFile], tmp_path: Path) -> None:
    model = file_of()
    bands = {
        "young": score("young", -7.0, (-8.0, -6.5), n=1200),
        "old": score("old", 3.5, (3.1, 4.0), inside=0.61),
        "chance": score("chance", 4.0, (-0.5, 8.0)),
        "few": score("few", 9.0, None, n=2),
        "near": score("near", 2.9, (2.8, 3.0)),
    }
    first, second = weak(read(tmp_path, model, report_of(model, bands)))
    young, old = "7.00 [6.50, 8.00] too young (N = 1,200)", "3.50 [3.10, 4.00] too old (N = 50)"
    assert first.endswith(f"3 years or more off: **young** {young}; **old** {old}.")
    assert "holds the ages of only 61.0 % [51.0, 66.0] of old (N = 50)." in second


def test_dropped_faces_are_told_and_counted_by_band(file_of: Callable[..., ModelFile], tmp_path: Path) -> None:
    model = file_of()
    whole = replace(score("0-3", 0.1, (0.0, 0.2)), dropped={"no image": 4})
    report = read(tmp_path, model, report_of(model, {"0-3": whole}))
    assert list(weak(report)) == ["set.parquet: 4 faces have no score: no image (4)."]
    lines = report_lines(report, model)
    assert "| 0-3 | 50 | 4 | 1.10 | 0.10 [0.00, 0.20] | 50.0 % | 90.0 % [80.0, 95.0] | 2.00 |" in lines
    assert "50 faces scored, 4 dropped: no image (4);" in " ".join(lines)


@pytest.mark.parametrize(
    ("name", "sha256", "said"),
    [
        ("train.parquet", "aa" * 32, "these are the faces that the model was trained on; this is no test.**"),
        ("valid.parquet", "bb" * 32, "the run was validated on this file."),
        ("valid.parquet", "dd" * 32, "the run had a file of this name with other content."),
        ("other.parquet", "dd" * 32, f"Manifest other.parquet, SHA-256 `{'dd' * 32}`."),
    ],
)
def test_what_the_run_did_with_the_faces_is_said(
    file_of: Callable[..., ModelFile], tmp_path: Path, name: str, sha256: str, said: str
) -> None:
    model = file_of()
    manifest = {"name": name, "sha256": sha256}
    found = read(tmp_path, model, report_of(model, {"a": score("a", 0, (0, 0))}, manifest=manifest))
    assert said in " ".join(report_lines(found, model))


def test_the_command_has_every_option_that_is_not_usual(file_of: Callable[..., ModelFile], tmp_path: Path) -> None:
    model = file_of()
    changes = {"decision": "median", "absent": ["camera"], "protocol": "lap-2016 1234", "kinds": {"real": 50}}
    said = " ".join(report_lines(read(tmp_path, model, report_of(model, {"a": score("a", 0, None)}, **changes)), model))
    assert f"`agewise evaluate {model.called} set.parquet --groups camera --decision median`." in said
    assert "Protocol: lap-2016 1234. " in said
    assert "Kinds of age: real (50). It has no column camera." in said


def test_corruptions_stand_in_a_table(file_of: Callable[..., ModelFile], tmp_path: Path) -> None:
    model = file_of()
    at = {"mae": Estimate(5.0, (4.0, 6.0), 9), "bias": Estimate(-1.0, None, 9), "coverage": Estimate(0.8, None, 9)}
    worse = {**at, "mae": Estimate(7.5, None, 9), "shift": Estimate(-2.0, None, 9), "rise": Estimate(2.5, (1, 3), 9)}
    clean, blurred = Score("clean", 9, {}, at), Score("blur", 9, {}, worse)
    found = Robustness(
        model=model.identity,
        manifest="set.parquet",
        sha256="cc" * 32,
        rows=20,
        limit=9,
        profile="paper",
        seed=0,
        labels="age",
        resampled="faces",
        clean=clean,
        cells={"gaussian_blur": (blurred,)},
        kinds={"gaussian_blur": blurred},
        means={},
        groups={},
        absent=(),
    )
    said = json.loads(robustness_json(found))
    bands = {"a": score("a", 0, None)}
    lines = report_lines(read(tmp_path, model, report_of(model, bands, robustness=said)), model)
    assert "| under | N | mae | rise | bias | coverage | shift |" in lines
    assert "| not corrupted | 9 | 5.00 [4.00, 6.00] |  | -1.00 | 80.0 % |  |" in lines
    assert "| gaussian_blur | 9 | 7.50 | 2.50 [1.00, 3.00] | -1.00 | 80.0 % | -2.00 |" in lines
    assert f"`agewise robustness {model.called} set.parquet --limit 9`" in " ".join(lines)
    with pytest.raises(CardError, match="of another file: it is of other 12345678"):
        read(tmp_path, model, report_of(model, bands, robustness={**said, "model": "other 12345678"}))
    assert RobustnessSaid.model_validate(said).manifest.limit == 9


def test_quantisation_of_the_file_and_of_its_original(
    tiny_model: Callable[..., Path], faces_of: Callable[..., Path], tmp_path: Path
) -> None:
    faces = faces_of(tmp_path / "faces.parquet", [year % 60 for year in range(80)], sex=["F", "M"] * 40)
    source = tiny_model(recipe=RECIPE, run=RUN)
    made = quantize(source, tmp_path / "half.onnx", kind="float16", check_on=faces, threads=1)
    said = {"kind": "float16", "ranges": "", "bytes": made.size, "bytes_before": made.size_before}
    said |= {"sha256": made.sha256, "sha256_before": made.sha256_before}
    path = tmp_path / "quantized.json"
    path.write_text(json.dumps({**said, **made.shift.as_json()}))
    before, after = (
        read_model_file(one, one.name, one.name, OnnxModel(one, threads=1).info) for one in (source, made.path)
    )
    for model, words in ((before, "The float16 file of this one has"), (after, "This file has")):
        found = read_quantized(path, model)
        text = card(model, about(model), Evidence((one_report(tmp_path, model),), quantized=(found,)))
        whole = found.shift.overall
        assert words in text
        assert f"| all | 80 | {whole.before:.2f} | {whole.after:.2f} | {whole.rise:+.2f}" in text
        assert "| sex: F | 40 | " in text
    assert after.stored == "float16"
    later = replace(after, sha256="ab" * 32)  # calibrated anew
    text = card(later, about(later), Evidence((one_report(tmp_path, later),), quantized=(read_quantized(path, later),)))
    assert "This file before it was calibrated anew has" in text
    other = after.said.model_copy(update={"quantized": after.said.quantized.model_copy(update={"checked_on": {}})})
    for model in (replace(before, sha256="cd" * 32), replace(after, said=other)):
        with pytest.raises(
            CardError, match=rf"quantized\.json: of other files, {made.sha256_before[:8]} and its float16, "
        ):
            read_quantized(path, model)
    path.write_text(json.dumps({**said, **made.shift.as_json(), "parts": []}))
    with pytest.raises(CardError, match="no errors in it; give what `agewise quantize --json` printed"):
        read_quantized(path, before)


def test_the_ranges_of_8_bits_are_told(file_of: Callable[..., ModelFile], tmp_path: Path) -> None:
    on = {"manifest": "val.parquet", "sha256": "ee" * 32, "faces": 256, "ranges": "min-max"}
    model = file_of(quantized={"kind": "int8", "calibrated_on": on, "checked_on": {"manifest": "val.parquet"}})
    text = card(model, about(model), Evidence((one_report(tmp_path, model),)))
    assert f"| 8 bits | ranges (min-max) read on 256 faces of val.parquet, SHA-256 `{'ee' * 32}` |" in text
    assert " MB, int8; SHA-256 `" in text
    assert max(map(len, text.splitlines())) <= 160


def test_speed_is_of_the_file(file_of: Callable[..., ModelFile], tmp_path: Path) -> None:
    model = file_of()
    spread = Spread(3.25, 3.2, 3.3, 9)
    photo = PhotoTime("2 MP, 1 face", 2.0, 1, 1, spread, {"decode": spread})
    network = (NetworkTime(8, 1, spread),)
    machine = ("ONNX Runtime 1", "a machine", 2, 2)
    timed = Benchmark("tiny", *machine, model.size, model.sha256, network, (photo,), spread, 81.4)
    path = tmp_path / "speed.json"
    path.write_text(json.dumps(asdict(timed)))
    text = card(model, about(model), Evidence((one_report(tmp_path, model),), speeds=(read_speed(path, model),)))
    assert "| network, a face, batch of 8, 1 thread | 3.25 (3.20-3.30) |" in text
    assert "| resident memory of that, MB | 81 |" in text
    assert f"`agewise benchmark {model.called} --threads 2` on a machine, ONNX Runtime 1, 2 cores;" in text
    with pytest.raises(CardError, match=f"of another file, tiny {model.sha256[:8]}; the card is of tiny abababab"):
        read_speed(path, replace(model, sha256="ab" * 32))


def test_a_mean_of_runs_names_them_all(file_of: Callable[..., ModelFile], tmp_path: Path) -> None:
    members = [{"run": f"runs/base-{seed}", "seed": seed, "weights": f"{seed}f" * 32} for seed in (0, 1)]
    model = file_of(run={**{name: value for name, value in RUN.items() if name != "seed"}, "mean_of": members})
    text = card(model, about(model), Evidence((one_report(tmp_path, model),)))
    for seed in (0, 1):
        assert f"| the mean of | runs/base-{seed}, seed {seed}, weights of SHA-256 `{f'{seed}f' * 32}` |" in text
    assert "| seed |" not in text
    assert "The recipe of the first run as it was resolved" in text


def test_calibration_and_the_run_are_told(file_of: Callable[..., ModelFile], tmp_path: Path) -> None:
    origin = Origin("val.parquet", "ee" * 32, 2386, "groups", "", (30.0,), (1000, 1386))
    fitted = Calibration(1.25, None, Widths((0.9,), (20.0, 40.0), ((0.8,), (1.5,))), origin)
    model = file_of(format=2, calibration=as_metadata(fitted), run={**RUN, "start": "ff" * 32})
    text = card(model, about(model), Evidence((one_report(tmp_path, model),)))
    flat = " ".join(text.split())
    assert (
        "a temperature of 1.25, the widths of intervals times 0.80 to 1.50, by predicted age, fitted on 2,386" in flat
    )
    assert f"faces (groups) of val.parquet, SHA-256 `{'ee' * 32}`." in flat
    assert "were fitted on these faces" not in flat
    fitted_there = manifest_said("val.parquet", "ee" * 32, model)
    assert fitted_there.endswith(" **The calibration in the file was fitted on these faces.**")
    assert f"| started from | weights of SHA-256 `{'ff' * 32}` |" in text
    assert f"| trained on | work/train.parquet, SHA-256 `{'aa' * 32}` |" in text
    assert "| network | test_resnet at 0.75 of its width, corn head, 0.00 M parameters, 32 x 32 pixels |" in text
    for line in ('model.backbone.name = "test_resnet"', "training.rate = 0.0006", 'data.valid = "work/valid.parquet"'):
        assert line in text.splitlines()
    assert "data.limit" not in text


def test_a_card_of_the_same_files_is_the_same(file_of: Callable[..., ModelFile], tmp_path: Path) -> None:
    model = file_of()
    report = one_report(tmp_path, model)
    assert card(model, about(model), Evidence((report,))) == card(model, about(model), Evidence((report,)))
    with pytest.raises(CardError, match=r"the same report of set\.parquet is given twice"):
        Evidence((report, report))
    with pytest.raises(CardError, match="a card needs a report"):
        Evidence(())


def test_groups_of_a_gap_have_to_be_there(file_of: Callable[..., ModelFile], tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    said: dict[str, Any] = {
        "model": file_of().identity,
        "manifest": {"name": "set.parquet", "sha256": "cc"},
        "rule": {"threshold": 18, "buffer": 17, "alpha": 0.05, "budget": 0.2, "decision": "mean"},
        "intervals": {"level": 0.95, "resampled": "faces"},
        "dropped": {},
        "ages": {"group_only": 0, "straddling": 0, "kinds": {}},
        "overall": {"name": "all", "n": 0, "rates": {}, "nist_mae": {"error": None, "cells": 0, "thin": 0}},
        "groups": {},
        "gaps": {"sex": [{"rate": "fpr", "best": "F", "worst": "M", "difference": 0.1, "interval": None}]},
        "absent": [],
    }
    path.write_text(json.dumps(said))
    with pytest.raises(SettingsError, match="the buffer is 17"):
        evidence.read_gate(tmp_path, file_of())
    path.write_text(json.dumps({**said, "rule": {**said["rule"], "buffer": 25}}))
    with pytest.raises(SettingsError, match="the gap of fpr by sex is between groups that it does not hold"):
        evidence.read_gate(tmp_path, file_of())


@pytest.mark.parametrize("name", ["base", "small"])
def test_the_about_files_of_the_bundled_models(name: str) -> None:
    found = read_about(ROOT / "recipes" / "cards" / f"{name}.toml", name)
    said = found.model_dump_json()
    for word in (
        "VGGFace2",
        "UTKFace",
        "FairFace",
        "CC BY 4.0",
        "who were not asked",
        "faceapi",
        "faceres",
        "not open",
    ):
        assert word in said


def test_prose_is_wrapped_and_means_the_same() -> None:
    command = "`agewise evaluate base work/utkface-dev.parquet --out a/folder`"
    text = " ".join([f"word {command} - 1. # + > |" for _ in range(20)])
    lines = bullets([text])
    assert max(map(len, lines)) <= WIDTH + len(" - 1. # + > |")
    assert " ".join(line[2:] for line in lines).strip() == text
    assert not [line for line in lines if line.lstrip().startswith(("- ", "1.", "#", "+", ">", "|")) and line[0] != "-"]
    assert all(line.count("`") % 2 == 0 for line in lines)
    assert paragraphs("one\n\ntwo") == ["one", "", "two", ""]
    assert table(["", "a"], [["x", "1|2\n3"]]) == ["|  | a |", "|---|---|", "| x | 1\\|2 3 |", ""]


def one_report(folder: Path, model: ModelFile) -> evidence.ReportSaid:
    return read(folder, model, report_of(model, {"0-3": score("0-3", 0.1, (0.0, 0.2))}))


def about(model: ModelFile) -> About:
    source = {"name": "Drawn faces", "licence": "CC0", "role": "trained on", "text": "Nobody is on them."}
    return About.model_validate(
        {
            "name": model.said.name,
            "title": "Model card: tiny",
            "version": "1",
            "date": "2026-01-02",
            "contact": "nobody",
            "summary": "For tests.",
            "made_by": "a test",
            "use": {"fit": "tests.", "unfit": "people.", "says": "Nothing."},
            "data": [source],
            "targets": "Ages drawn at random.",
            "teachers": [],
            "weaknesses": ["All of it."],
        }
    )


def test_the_recipe_can_be_read_again(file_of: Callable[..., ModelFile], tmp_path: Path) -> None:
    recipe = json.loads(json.dumps(file_of().info["recipe"]))
    recipe["model"]["tasks"] = {"skin tone": {"labels": ["a", "b"]}}
    recipe["model"]["backbone"]["options"] = {}
    recipe["data"]["limit"] = None
    model = file_of(recipe=recipe)
    text = card(model, about(model), Evidence((one_report(tmp_path, model),)))
    told = tomllib.loads(text.partition("```toml\n")[2].partition("```")[0])
    del recipe["data"]["limit"]
    assert told == recipe
