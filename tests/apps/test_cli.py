"""The command line is built verb by verb: the one that is called, or all of them for help."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from agewise.apps.cli import COMMANDS, application


def verbs(name: str | None = None) -> list[str]:
    group = typer.main.get_command(application(name))
    return list(group.commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_verb_is_built_alone(verb: str) -> None:
    assert verbs(verb) == [verb]


@pytest.mark.parametrize("word", [None, "--help", "predcit"])
def test_any_other_word_has_all_verbs(word: str | None) -> None:
    assert sorted(verbs(word)) == sorted(COMMANDS)


def test_the_modules_of_other_verbs_are_not_imported() -> None:
    code = "import sys; from agewise.apps.cli import application; application('predict'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "agewise.apps.predict" in done.stdout.split()
    assert not {"agewise.apps.card", "agewise.apps.chain", "numpy"} & set(done.stdout.split())
