"""Tar shards in the layout of WebDataset -> a manifest: our own (`packing`) as they were, others as far as they go.

Tars of another origin are read where their samples have a picture and an age.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from agewise.data.manifest import ManifestError, faults
from agewise.data.rejects import most_for, write_rejects
from agewise.data.shards import PART_ROWS, Shards
from agewise.data.sources.entry import Row, Skipped
from agewise.data.tars.sample_rows import Foreign, Index, Own, read_index
from agewise.data.tars.samples import samples

Progress = Callable[[int, int], None]

_HELD = 256 << 20
"""Bytes of pictures after which a part of the manifest is written, full or not."""

_NUMBER = re.compile(r"-\d+\.tar.*$|\.(tar|tgz).*$")
"""What a shard's name has beyond the name of its set."""

_MISFITS = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, TypeError)

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """How many tars were read and faces written, the rejects (file, reason), and remarks on tars of others."""

    shards: int
    rows: int
    rejects: list[tuple[str, str]]
    remarks: list[str]


def unpack(
    sources: Sequence[Path],
    out: Path,
    *,
    age: str = "",
    kind: str = "real",
    progress: Progress = lambda _done, _total: None,
) -> Unpacked:
    """Writes the manifest of the samples in tars, or in the folders that hold them, pictures inside.

    Shards of `pack` give back its manifest. Of others, `age` is the JSON field or suffix that holds the age and `kind`
    what it is (real, apparent ...). Rejects are written beside the manifest as `.rejects.csv`.

    Raises:
        ManifestError: a tar is damaged or a shard is missing, `out` exists, or not one sample could be used.
    """
    if out.exists():
        raise ManifestError(f"{out} exists; delete it, or write to another file")
    tars = _tars(sources)
    index = _index(tars, sources)
    reader = Own(index) if index else Foreign(age, kind)
    parts = Shards(out, {"source": "tars"})
    if parts.folder.exists():  # of a run that was killed: the tars may have changed
        parts.drop()
    run = _Run(parts, reader)
    try:
        for done, tar in enumerate(tars):
            read = run.take(tar)
            if index and read != index.shards[tar.name]:
                raise ManifestError(f"{tar}: {read} samples; its index says {index.shards[tar.name]}")
            progress(done + 1, len(tars))
        run.flush()
        rejects = [(name, reason) for name, reason in parts.notes()] if run.part else []
        if not run.rows:
            raise ManifestError(f"{tars[0]}: not one sample could be used{most_for(rejects)}")
        write_rejects(out.with_suffix(".rejects.csv"), rejects, "sample")
        remarks = reader.remarks()
        said = index.said if index else {"step": "unpack", "tars": [str(tar) for tar in tars], "remarks": remarks}
        rows = parts.join(said)
    finally:
        if parts.folder.exists():
            parts.drop()
    return Unpacked(len(tars), rows, rejects, remarks)


@dataclass(slots=True)
class _Run:
    """The rows and rejects of the part being filled, and how many came before."""

    parts: Shards
    reader: Own | Foreign
    held: list[tuple[str, Row]] = field(default_factory=list)
    notes: list[list[str]] = field(default_factory=list)
    size: int = 0
    part: int = 0
    rows: int = 0

    def take(self, tar: Path) -> int:
        """Reads a tar and returns the number of its samples."""
        count = 0
        for sample in samples(tar):
            if isinstance(sample, Skipped):
                self.notes.append([f"{tar.name}/{sample.name}", sample.reason])
                continue
            count += 1
            row = self.reader(sample, tar.name)
            if isinstance(row, str):
                self.notes.append([f"{tar.name}/{sample.name}", row])
                continue
            self.held.append((f"{tar.name}/{sample.name}", row))
            self.size += sum(map(len, sample.files.values()))
            if len(self.held) == PART_ROWS or self.size >= _HELD:
                self.flush()
        return count

    def flush(self) -> None:
        """Writes the held rows as a part, less those whose values do not fit their columns or cannot be."""
        if not (self.held or self.notes):
            return
        table = self._table()
        bad = dict(faults(table))
        self.notes += [[self.held[row][0], why] for row, why in bad.items()]
        kept = table.filter(pa.array([row not in bad for row in range(len(table))], pa.bool_()))
        self.parts.write(self.part, kept, self.notes)
        self.part, self.rows = self.part + 1, self.rows + len(kept)
        self.held, self.notes, self.size = [], [], 0

    def _table(self) -> pa.Table:
        try:
            return pa.Table.from_pylist([row for _, row in self.held], self.reader.schema)
        except _MISFITS:
            pass
        fitting = []
        for name, row in self.held:
            try:
                pa.Table.from_pylist([row], self.reader.schema)
                fitting.append((name, row))
            except _MISFITS as error:
                self.notes.append([name, f"does not fit its columns: {str(error).splitlines()[0]}"])
        self.held = fitting
        return pa.Table.from_pylist([row for _, row in fitting], self.reader.schema)


def _tars(sources: Sequence[Path]) -> list[Path]:
    """The tars among files and in folders, in order."""
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = sorted(path for path in source.iterdir() if path.name.endswith(_TARS) and path.is_file())
            if not inside:
                raise ManifestError(f"{source}: no tar in this folder")
            found += inside
        elif source.is_file():
            found.append(source)
        else:
            raise ManifestError(f"{source}: no such tar or folder")
    return found


def _index(tars: Sequence[Path], sources: Sequence[Path]) -> Index | None:
    """The index of all tars; None where they have none. A folder must hold all shards of its index."""
    places = dict.fromkeys(tar.with_name(f"{re.sub(_NUMBER, '', tar.name)}.json") for tar in tars)
    found = {place: read_index(place) if place.is_file() else None for place in places}
    if len(found) > 1 and any(found.values()):
        names = " and ".join(str(place) for place in found)
        raise ManifestError(f"tars of several sets ({names}); unpack one at a time")
    place, index = next(iter(found.items()))
    if index is None:
        return None
    unknown = [tar for tar in tars if tar.name not in index.shards]
    if unknown:
        raise ManifestError(f"{unknown[0]}: {place} knows no such shard")
    missing = sorted(index.shards.keys() - {tar.name for tar in tars})
    if missing and any(source.is_dir() for source in sources):
        raise ManifestError(f"{place.parent}: {missing[0]} is missing ({len(missing)} of {len(index.shards)} shards)")
    return index
