"""A public data set in its owners' layout -> a manifest of its photos; what is left out with its reason."""

from __future__ import annotations

import hashlib
import inspect
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, get_args, get_type_hints

import pyarrow as pa

import agewise
from agewise.data.manifest import COLUMNS, IMAGE, faults
from agewise.data.rejects import write_rejects
from agewise.data.shards import PART_ROWS, Shards
from agewise.data.sources import SOURCES
from agewise.data.sources.entry import Remark, Row, Skipped
from agewise.data.sources.labels import number
from agewise.data.sources.tree import SourceError, Tree, leads_out, open_tree

NUMBERS = ("age_real", "age_apparent", "face_score", "yaw", "pitch", "roll")
COUNTS = ("votes", "vote", "fold")
"""Columns of sources that are numbers or whole ones; what neither these nor a manifest's own names cover is text."""

_LISTS = {"source_box": 4, "source_landmarks": 10}
_DAMAGE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, tarfile.TarError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class Imported:
    """How many rows were written, what was left out (picture, reason), and remarks on the set."""

    rows: int
    skipped: list[tuple[str, str]]
    remarks: list[str]


def import_source(
    source: str,
    root: Path,
    out: Path,
    options: Mapping[str, str] | None = None,
    *,
    embed: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Imported:
    """Writes the manifest of a data set below `root`: a folder, or a zip or tar read where it lies.

    Pictures are named by their paths, relative to the manifest where they lie below its folder and absolute elsewhere;
    with `embed`, or from an archive, their bytes go into the manifest. They are not decoded, that is for `prepare`.
    Rejects are written beside the manifest as `.rejects.csv`.

    Raises:
        SourceError: no such source or option, another layout, or not one row that could be used.
    """
    if source not in SOURCES:
        raise SourceError(f"no source {source!r}; there are {', '.join(SOURCES)}")
    if out.exists():
        raise SourceError(f"{out} exists; delete it, or write to another file")
    chosen = _checked(source, options or {})
    shards = Shards(out, {"source": source})
    if shards.folder.exists():  # of a run that was killed: importing is short, and the set may have changed
        shards.drop()
    run = _Run(source, out.parent.resolve(), shards, embed)
    said = {"step": "import", "source": source, "root": str(root.resolve()), "options": chosen, "embed": embed}
    try:
        with open_tree(root) as tree:
            for entry in SOURCES[source](tree, **chosen):
                run.take(entry, tree)
                if not run.held:
                    progress(run.rows, run.rows)
            run.flush(tree)
        skipped = [(name, reason) for name, reason in shards.notes()]
        counts = dict(Counter(reason for _, reason in [*skipped, *run.notes]).most_common())
        if not run.rows:
            most = f", most for: {next(iter(counts))}" if counts else ""
            raise SourceError(f"{root}: not one row of {source} could be used{most}")
        write_rejects(out.with_suffix(".rejects.csv"), skipped)
        rows = shards.join({**said, "version": agewise.__version__, "skipped": counts, "remarks": run.remarks})
    finally:
        if shards.folder.exists():
            shards.drop()
    return Imported(rows, skipped, run.remarks)


@dataclass(slots=True)
class _Run:
    """The rows and rejects of the part being filled, and what was seen so far."""

    source: str
    folder: Path
    shards: Shards
    embed: bool
    schema: pa.Schema | None = None
    held: list[Row] = field(default_factory=list)
    notes: list[list[str]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    remarks: list[str] = field(default_factory=list)
    parts: int = 0
    rows: int = 0

    def take(self, entry: Row | Skipped | Remark, tree: Tree) -> None:
        if isinstance(entry, Remark):
            self.remarks.append(entry.text)
            return
        if isinstance(entry, dict):
            entry["source"] = self.source
            self.schema = self.schema or _schema(entry)
            name = entry["image"]["path"]
            why = self._why_not(entry, tree)
            if why is None:
                self.held.append(entry)
                if len(self.held) == PART_ROWS:
                    self.flush(tree)
                return
            entry = Skipped(name, why)
        self.notes.append([entry.name, entry.reason])

    def _why_not(self, row: Row, tree: Tree) -> str | None:
        """Puts numbers for the text of number columns; says what is wrong with a row, or None."""
        name = row["image"]["path"]
        if name.encode("utf-8", "replace").decode() != name:
            return "the file name is not Unicode"
        if leads_out(name):
            return "the path leads out of the root"
        if row["image"]["bytes"] is None and not tree.has(name):
            return "the image file is missing"
        for column in row:
            try:
                if column in _LISTS and row[column] is not None:
                    row[column] = _numbers(row[column], _LISTS[column])
                elif column in COUNTS and row[column] is not None:
                    row[column] = int(row[column])
                elif column in NUMBERS or COLUMNS.get(column) == pa.float64():
                    row[column] = number(row[column])
            except (ValueError, TypeError):
                return f"{column} is {str(row[column])[:40]!r}; a number is needed"
        if row["age"] is None and row.get("age_low") is None:
            row["age_kind"] = None
        key = f"{PurePosixPath(name).as_posix()}\0{row.get('vote')}"  # where votes are asked for, a row each
        digest = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
        if digest in self.seen:
            return "the picture is listed twice"
        self.seen.add(digest)
        return None

    def flush(self, tree: Tree) -> None:
        """Writes the held rows as a part, less those with an impossible label."""
        if self.schema is None or not (self.held or self.notes):
            return
        bad = dict(faults(pa.Table.from_pylist([{**row, "image": None} for row in self.held], self.schema)))
        kept: list[Row] = []
        for index, row in enumerate(self.held):
            name = row["image"]["path"]
            try:
                if index in bad:
                    raise SourceError(bad[index])
                kept.append({**row, "image": self._stored(row["image"], tree)})
            except (SourceError, *_DAMAGE) as error:
                why = str(error) if isinstance(error, SourceError) else f"cannot be read: {error}"
                self.notes.append([name, " ".join(why.split())])
        self.shards.write(self.parts, pa.Table.from_pylist(kept, self.schema), self.notes)
        self.parts += 1
        self.rows += len(kept)
        self.held, self.notes = [], []

    def _stored(self, image: dict[str, Any], tree: Tree) -> dict[str, Any]:
        """The picture as its manifest holds it: bytes, or the path that leads there from the manifest's folder."""
        if image["bytes"] is not None:
            return image
        place = tree.place(image["path"])
        if place is None or self.embed:
            with tree.open(image["path"]) as stream:
                return {"bytes": stream.read(), "path": image["path"]}
        below = place.is_relative_to(self.folder)
        return {"bytes": None, "path": str(place.relative_to(self.folder) if below else place)}


def _checked(source: str, options: Mapping[str, str]) -> dict[str, str]:
    """The options, each one that the source has and one of its choices."""
    read = SOURCES[source]
    known = [name for name, p in inspect.signature(read).parameters.items() if p.kind is p.KEYWORD_ONLY]
    hints = get_type_hints(read)
    for name, value in options.items():
        if name not in known:
            raise SourceError(f"{source} has no option {name!r}; it has {', '.join(known) or 'none'}")
        choices = get_args(hints[name])
        if choices and value not in choices:
            raise SourceError(f"{source}: {name} is {value!r}; {', '.join(choices)} are allowed")
    return dict(options)


def _numbers(values: Any, count: int) -> list[float] | None:
    """The numbers of a box or of landmarks; None where one is unknown."""
    parsed = [number(value) for value in values]
    if len(parsed) != count:
        raise ValueError(f"{len(parsed)} numbers")
    return None if None in parsed else [float(value) for value in parsed if value is not None]


def _schema(row: Row) -> pa.Schema:
    """Types of a source's columns: the manifest's own, lists of numbers, numbers, and text."""
    types = {**COLUMNS, **dict.fromkeys(NUMBERS, pa.float64()), **dict.fromkeys(COUNTS, pa.int64()), "image": IMAGE}
    types |= {name: pa.list_(pa.float64(), count) for name, count in _LISTS.items()}
    return pa.schema([(name, types.get(name, pa.string())) for name in row])
