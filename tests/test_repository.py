"""What the repository promises as a whole: a README of one sitting, one version, no data in it, no network."""

from __future__ import annotations

import re
import socket
import subprocess
import tomllib
from pathlib import Path

import pytest

import agewise

ROOT = Path(__file__).parents[1]
PICTURES = {".jpg", ".jpeg", ".parquet"}
"""Kinds of file that hold faces or labels."""
ALLOWED = ("examples/", "docs/demo.jpg")
LARGEST, LARGEST_MODEL = 500_000, 10_000_000
"""Bytes of a committed file, and of committed weights."""


def committed() -> list[str]:
    """Paths that git tracks; a test that needs them is skipped where the sources came without git."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what is committed is not known")
    return [path for path in done.stdout.split("\0") if path and (ROOT / path).is_file()]


def test_readme_is_read_in_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_readme_leads_only_to_files_that_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    inside = [link for link in links if not link.startswith(("http://", "https://", "mailto:"))]
    assert inside
    assert [link for link in inside if not (ROOT / link).exists()] == []


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    releases = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == version
    assert agewise.__version__ == version


def test_unreleased_changes_stand_on_top_of_the_changelog() -> None:
    headings = re.findall(r"^## \[([^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"


def test_no_faces_or_labels_are_committed() -> None:
    found = [path for path in committed() if Path(path).suffix.lower() in PICTURES]
    assert [path for path in found if not path.startswith(ALLOWED)] == []


def test_committed_files_are_small() -> None:
    def limit(path: str) -> int:
        return LARGEST_MODEL if path.startswith("agewise/") and path.endswith(".onnx") else LARGEST

    assert [path for path in committed() if (ROOT / path).stat().st_size > limit(path)] == []


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_tests_cannot_reach_a_network(family: socket.AddressFamily) -> None:
    with socket.socket(family) as one, pytest.raises(RuntimeError, match="without a network"):
        one.connect(("localhost", 9))


def test_sockets_inside_the_machine_work(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client.connect(str(tmp_path / "s"))
