"""The verbs corrupt and robustness: what they print and write, and one line for what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agewise.apps.robustness import corrupt, robustness
from agewise.data.manifest import ManifestError, metadata


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory, faces_of: Callable[..., Path]) -> Path:
    return faces_of(tmp_path_factory.mktemp("rob") / "faces.parquet", range(2, 82, 5), sex=["F", "M"] * 8)


def test_corrupt_says_what_it_wrote(faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corrupt(faces, "spatter", 4, tmp_path / "m.parquet", profile="released", seed=2)
    assert capsys.readouterr().out == (
        f"{tmp_path / 'm.parquet'}: spatter 4, profile released, seed 2; 0 faces without a picture\n"
    )
    assert metadata(tmp_path / "m.parquet")["corruption"]["seed"] == 2


def test_robustness_writes_cells_tables_and_a_heat_map(
    faces: Path, tmp_path: Path, tiny_model: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r"
    robustness(
        str(tiny_model(32)), faces, out, kinds="contrast_minus, pixelate", severities="1,5", limit=6, groups="sex"
    )
    said = capsys.readouterr().out
    assert "6 faces scored in every cell, of 16 rows, 6 evenly spread ones asked for" in said
    assert "contrast_minus" in said
    written = ["cells", "robustness.json", "robustness.md", "robustness.png"]
    assert sorted(path.name for path in out.iterdir()) == written
    found = json.loads((out / "robustness.json").read_text())
    assert list(found["cells"]["pixelate"]) == ["1", "5"]
    assert set(found["groups"]["sex"]["clean"]) == {"F", "M"}


def test_what_cannot_be_is_one_line(faces: Path, tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    model = str(tiny_model(32))
    with pytest.raises(ValueError, match="no corruption 'fog'; there are gaussian_blur, "):
        robustness(model, faces, tmp_path / "r", kinds="fog")
    with pytest.raises(ValueError, match="severity 6 of pixelate; 1 to 5 are allowed"):
        robustness(model, faces, tmp_path / "r", kinds="pixelate", severities="6")
    with pytest.raises(ValueError, match="'five' is no severity"):
        robustness(model, faces, tmp_path / "r", severities="five")
    with pytest.raises(ValueError, match="no profile 'mine' of the corruptions; there are paper, released"):
        corrupt(faces, "pixelate", 1, tmp_path / "m.parquet", profile="mine")
    with pytest.raises(ManifestError, match="in the aligned frame; the square one is needed"):
        robustness(str(tiny_model(32, frame="square")), faces, tmp_path / "r")
    assert not list(tmp_path.iterdir())
