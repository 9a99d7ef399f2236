"""What all reports share: Markdown, and one HTML page with its figures inside, from facts, tables and figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from matplotlib.figure import Figure

Table = tuple[str, list[str], list[list[str]]]
"""A title, the head and the rows of a table, as text."""


def markdown(title: str, facts: Sequence[str], tables: Sequence[Table], picture: str = "") -> str:
    """Facts as a list, a picture (as Markdown) and the tables below, each under its title."""
    lines = [f"# {title}", "", *(f"- {fact}" for fact in facts), ""]
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
    pictures = {name: base64.b64encode(png).decode() for name, png in figures.items()}
    return page.render(title=title, facts=facts, tables=tables, figures=pictures, **more)


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
