"""Markdown in short lines: paragraphs, lists and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

WIDTH = 150
"""Characters of a line of prose; a table's row is one line, however long."""

_WORD = re.compile(r"(?:`[^`\n]*`|[^\s`]|`)+")
"""A span of code is one word, so that a command is never torn."""
_MARK = re.compile(r"[-+*>|=]+|#+|\d+[.)]|>.*|\|.*")
"""What would start a list, a heading, a quotation or a table at the start of a line."""


def paragraphs(text: str, first: str = "", rest: str = "") -> list[str]:
    """The lines of a text, the first behind `first` and the others behind `rest`, a line of nothing after the last.

    >>> paragraphs("Not for deciding alone.", "- ", "  ")
    ['- Not for deciding alone.', '']
    """
    lines: list[str] = []
    for number, part in enumerate(re.split(r"\n\s*\n", text.strip()) if text.strip() else []):
        lines += [*_wrapped(part, rest if number else first, rest), ""]
    return lines


def bullets(texts: Sequence[str]) -> list[str]:
    """A list of texts of one paragraph each."""
    return [line for text in texts for line in paragraphs(text, "- ", "  ")[:-1]] + [""]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    r"""A table; a bar in a cell is written so that it does not end it.

    >>> table(["a"], [["x|y"]])
    ['| a |', '|---|', '| x\\|y |', '']
    """
    marks = f"|{'---|' * len(head)}"
    return [_row(head), marks, *map(_row, rows), ""]


def _row(cells: Sequence[str]) -> str:
    shown = [" ".join(cell.replace("|", "\\|").split()) for cell in cells]
    return f"| {' | '.join(shown)} |" if any(shown) else "|" + " |" * len(shown)


def _wrapped(text: str, first: str, rest: str) -> Iterator[str]:
    line = first
    for number, word in enumerate(_words(text)):
        space = " " if number and line != rest else ""
        if len(line) + len(space) + len(word) > WIDTH and number:
            yield line
            line = rest + word
        else:
            line += space + word
    yield line


def _words(text: str) -> list[str]:
    """The words; one that would mean something at the start of a line clings to the one before it."""
    found: list[str] = []
    for word in _WORD.findall(text):
        if found and _MARK.fullmatch(word):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found
