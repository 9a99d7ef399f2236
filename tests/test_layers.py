"""The shape of the package: layers that import leftward only, short modules, a light base, few public names."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import agewise

PACKAGE = Path(agewise.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LAYERS = ["ages", "metrics", "faces", "data", "model", "training", "teachers", "evaluation", "deployment", "apps"]
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "core"}
LONGEST = 400
MOST_NAMES = 12
LIGHT = {"ages", "metrics", "faces", "deployment", "apps"}
"""Layers that the base install runs."""
WITH_TORCH = {f"agewise.deployment.{name}" for name in ("export", "half", "int8", "quantize")}
"""Modules of those layers that need the training extra."""


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def layers_imported(source: str) -> set[str]:
    """The second part of every agewise name that a source imports, wherever in it the import stands."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("agewise.")}


def relative_imports(source: str) -> int:
    return sum(isinstance(node, ast.ImportFrom) and node.level > 0 for node in ast.walk(ast.parse(source)))


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def heavy() -> set[str]:
    """Import names of what `agewise[train]` adds to the base install."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {requirement.split(">=")[0].replace("-", "_") for requirement in extras["train"]}
    assert {"torch", "pyarrow"} <= names
    return names


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize(
    ("source", "layers"),
    [
        ("from agewise.evaluation.report import render", {"evaluation"}),
        ("from agewise import evaluation", {"evaluation"}),
        ("import agewise.evaluation.report.write as report", {"evaluation"}),
        ("def f():\n    from agewise.apps import cli", {"apps"}),
        ("import numpy\nfrom agewise.ages import AGES\nfrom agewise.data import manifest", {"ages", "data"}),
    ],
)
def test_every_spelling_of_an_import_is_seen(source: str, layers: set[str]) -> None:
    assert layers_imported(source) == layers


def test_relative_imports_are_seen() -> None:
    assert relative_imports("from . import cli\nfrom ..faces import detect\nimport numpy") == 2


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.name != "__init__.py" or path.parent != PACKAGE], ids=name_of
)
def test_a_module_imports_from_its_layer_and_those_to_its_left(path: Path) -> None:
    layer = layer_of(path)
    assert layer in LAYERS
    assert layers_imported(path.read_text()) <= set(LAYERS[: LAYERS.index(layer) + 1])


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_short_named_by_its_noun_and_imports_absolutely(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= LONGEST
    assert relative_imports(source) == 0
    assert not VAGUE & {part.removesuffix(".py") for part in path.relative_to(PACKAGE).parts}


@pytest.mark.parametrize(
    "module", ["agewise", *sorted({module_of(p) for p in MODULES if layer_of(p) in LIGHT} - WITH_TORCH)]
)
def test_estimating_loads_nothing_that_the_base_install_lacks(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({heavy()!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_public_names_are_few_sorted_and_there() -> None:
    names = agewise.__all__
    assert names == sorted(names)
    assert 0 < len(names) <= MOST_NAMES
    assert [name for name in names if not hasattr(agewise, name)] == []
