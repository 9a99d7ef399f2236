"""What all reports share: their look, Markdown, and one HTML page with its figures inside."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from matplotlib.figure import Figure

Table = tuple[str, list[str], list[list[str]]]
"""A title, the head and the rows of a table, as text."""

COLOUR = "#33608c"
ACCENT = "#b3541e"
MUTED = "#8a929b"
"""Blue, orange and grey: dark and light enough to be told apart without colour, and by colour-blind people."""

DPI = 220
"""Pixels of an inch of a figure, two to each of the page's, for screens and printers of high resolution."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure as a PNG file, its title, and what it shows, in words that can also be heard; may be empty."""

    title: str
    says: str
    png: bytes

    @property
    def data(self) -> str:
        """The file for a data URL."""
        return base64.b64encode(self.png).decode()

    @property
    def width(self) -> int:
        """Pixels of the page that it takes where there is room: half of its own (bytes 16 to 19 of a PNG file)."""
        return int.from_bytes(self.png[16:20], "big") // 2


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: a sentence or none, pictures, then tables."""

    title: str
    says: str = ""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()


def markdown(
    title: str, facts: Sequence[str], tables: Sequence[Table], picture: str = "", summary: Sequence[str] = ()
) -> str:
    """A summary, facts as a list, a picture (as Markdown) and the tables below, each under its title."""
    lines = [f"# {title}", ""]
    lines += [" ".join(summary), ""] if summary else []
    lines += [*(f"- {fact}" for fact in facts), ""]
    lines += [picture, ""] if picture else []
    for name, head, rows in tables:
        cells = [[cell.replace("|", "\\|") for cell in row] for row in [head, ["---"] * len(head), *rows]]
        lines += [f"## {name}", "", *(f"| {' | '.join(row)} |" for row in cells), ""]
    return "\n".join(lines)


def html(
    title: str,
    facts: Sequence[str],
    tables: Sequence[Table],
    figures: Mapping[str, bytes],
    template: str = "page.html",
    **more: Any,
) -> str:
    """One page that loads nothing from anywhere; figures are PNG files by title. more: for a template of its own."""
    loader = FileSystemLoader(Path(__file__).parent)
    page = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(template)
    pictures = [Picture(name, "", png) for name, png in figures.items()]
    return page.render(title=title, facts=facts, tables=tables, figures=pictures, **more)


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a name's letters then are boxes
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
