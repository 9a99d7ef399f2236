"""The verbs quantize and benchmark: tables, JSON, and one line for what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from agewise.deployment import benchmark as timing

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def faces(tmp_path: Path, faces_of: Callable[..., Path]) -> Path:
    return faces_of(tmp_path / "faces.parquet", [year % 60 for year in range(80)], sex=["F", "M"] * 40)


def test_a_table_by_band_and_group(run: Run, faces: Path, tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    out = tmp_path / "half.onnx"
    words = ["--kind", "float16", "--check-on", faces, "--out", out, "--threads", 1]
    code, said, err = run("quantize", tiny_model(), *words)
    assert (code, err) == (0, "")
    lines = said.splitlines()
    assert lines[0].startswith("faces.parquet, mae")
    assert [line.split()[0] for line in lines[1:4]] == ["all", "age", "age"]
    assert "sex F" in said
    assert "coverage of the 90 % interval" in said
    assert lines[-1].startswith(f"{out}: ")
    assert " in float16, " in lines[-1]


def test_json_is_complete(run: Run, faces: Path, tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    out = tmp_path / "half.onnx"
    words = ["--kind", "float16", "--check-on", faces, "--out", out, "--groups", "sex", "--json"]
    code, said, _ = run("quantize", tiny_model(), *words)
    found = json.loads(said)
    assert code == 0
    assert (found["kind"], found["bytes"], found["metric"]) == ("float16", out.stat().st_size, "mae")
    assert {part["column"] for part in found["parts"]} == {"all", "age", "sex"}
    assert {"moved", "bounds", "coverage", "bytes_before", "ranges"} <= found.keys()
    assert found["sha256"] == sha256(out.read_bytes()).hexdigest() != found["sha256_before"]


def test_a_refused_file_is_a_table_and_one_line(
    run: Run, faces: Path, tmp_path: Path, tiny_model: Callable[..., Path]
) -> None:
    out = tmp_path / "half.onnx"
    words = ["--kind", "float16", "--check-on", faces, "--out", out, "--moved", "0"]
    code, said, err = run("quantize", tiny_model(), *words)
    assert code == 2
    assert "rise (95 % interval)" in said
    assert err.startswith(f"agewise: {out}: refused: ages move by ")
    assert err.count("\n") == 1
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["faces.parquet"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "int8 needs a manifest to calibrate on"),
        (["--kind", "int4", "--check-on", "x"], "no kind 'int4'; there are int8, float16"),
        (["--part", "-1"], "the limit part is -1.0 years; 0 or more is allowed"),
    ],
)
def test_wrong_words_are_one_line(
    run: Run, tmp_path: Path, tiny_model: Callable[..., Path], words: list[str], message: str
) -> None:
    code, said, err = run("quantize", tiny_model(), "--out", tmp_path / "a.onnx", *words)
    assert (code, said, err) == (2, "", f"agewise: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_benchmark_as_table_and_as_json(
    run: Run, tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "MEGAPIXELS", (0.1,))
    monkeypatch.setattr(timing, "FACES", (1,))
    code, said, err = run("benchmark", tiny_model(), "--rounds", 2, "--threads", 1)
    assert (code, err) == (0, "")
    for words in ("network, ms a face", "of a batch of 32", "photo, ms (1 thread)", "0.1 MP, 1 face", "cold, ms"):
        assert words in said
    code, said, err = run("benchmark", tiny_model(), "--rounds", 2, "--json")
    found = json.loads(said)
    assert (code, err) == (0, "")
    assert {"network", "photos", "cold", "memory", "size", "sha256", "machine", "engine", "cores"} <= found.keys()
    assert found["photos"][0]["steps"].keys() == {"decode", "detect", "align", "network"}


def test_a_benchmark_of_nothing_is_one_line(run: Run, tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    code, _, err = run("benchmark", tiny_model(), "--photo", tmp_path / "absent.jpg")
    assert (code, err.count("\n")) == (2, 1)
    assert "absent.jpg: cannot be opened: No such file" in err
