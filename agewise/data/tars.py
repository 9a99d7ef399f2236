"""Manifests as WebDataset tar shards and back: `000000007.jpg` and `000000007.json`, a pair a face.

The JSON is the row without the picture's bytes. Beside the shards stands their index, `NAME.json`: the rows of each,
the columns with their types, and what was said of the manifest, so that reading gives the same manifest again. Tars
of another origin are read where their samples have a picture and an age.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from agewise.data.manifest import ManifestError, faults, metadata, open_manifest
from agewise.data.rejects import write_rejects
from agewise.data.replacing import replacing
from agewise.data.sample_rows import Foreign, Index, Own, check_packable, files_of, is_picture, read_index
from agewise.data.samples import samples
from agewise.data.shards import PART_ROWS, Shards
from agewise.data.sources.entry import Row, Skipped

Progress = Callable[[int, int], None]
_Face = tuple[str, dict[str, bytes]]
"""The name of a row's files, and their contents by suffix."""

_BATCH = 50
"""Rows held while packing: pictures may be whole photos."""
_HELD = 256 << 20
"""Bytes of pictures after which a part of the manifest is written, full or not."""
_NUMBER = re.compile(r"-\d+\.tar.*$|\.(tar|tgz).*$")
"""What a shard's name has beyond the name of its set."""
_MISFITS = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, TypeError)
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True, slots=True)
class Packed:
    """How many shards and faces were written, and the rejects: (row, reason)."""

    shards: int
    rows: int
    rejects: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Unpacked:
    """How many tars were read and faces written, the rejects (file, reason), and remarks on tars of others."""

    shards: int
    rows: int
    rejects: list[tuple[str, str]]
    remarks: list[str]


def pack(
    manifest: Path,
    folder: Path,
    name: str = "",
    *,
    rows: int = 1000,
    most: int = 1 << 30,
    progress: Progress = lambda _done, _total: None,
) -> Packed:
    """Writes a manifest as shards `NAME-000000.tar` ... of up to `rows` faces and `most` bytes, and then their index.

    Pictures that are named by a path are put in. Rejects are written beside as `NAME.rejects.csv`. The same manifest
    gives the same bytes. Raises ManifestError where a column or a name cannot be packed, or there are shards already.
    """
    file = open_manifest(manifest, need=["image"])
    check_packable(file.schema_arrow, manifest)
    said = metadata(manifest)
    named = name or manifest.stem
    _check_place(folder, named, rows, most)
    rejects: list[tuple[str, str]] = []
    waiting = _packable(manifest, rejects, progress)
    shards: dict[str, int] = {}
    try:
        first = next(waiting, None)
        while first is not None:
            place = folder / f"{named}-{len(shards):06d}.tar"
            with replacing(place) as partial:
                shards[place.name] = 0
                shards[place.name], first = _fill(partial, first, waiting, rows, most)
        if not shards:
            raise ManifestError(f"{manifest}: no row could be packed{_most_for(rejects)}")
        write_rejects(folder / f"{named}.rejects.csv", rejects, "sample")
        with replacing(folder / f"{named}.json") as partial:
            partial.write_text(Index(shards, file.schema_arrow, said).text(), encoding="utf-8")
    except BaseException:  # an interrupt too: without their index the shards say nothing
        for shard in shards:
            (folder / shard).unlink(missing_ok=True)
        raise
    return Packed(len(shards), sum(shards.values()), rejects)


def _check_place(folder: Path, name: str, rows: int, most: int) -> None:
    if rows < 1 or most < 1:
        raise ManifestError(f"shards of {rows} faces and {most} bytes; at least 1 of both is needed")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise ManifestError(f"shards cannot be named {name!r}; letters, digits, dots, _ and - are allowed")
    taken = [*folder.glob(f"{name}-[0-9]*.tar"), *folder.glob(f"{name}.json")]
    if taken:
        raise ManifestError(f"{min(taken)} exists; delete {name}*, or give another folder or name")


def _packable(manifest: Path, rejects: list[tuple[str, str]], progress: Progress) -> Iterator[_Face]:
    """Each row's number and files; a row that cannot be packed goes to the rejects."""
    file = open_manifest(manifest)
    pictures = [column.name for column in file.schema_arrow if is_picture(column.type)]
    row, count = 0, file.metadata.num_rows
    for batch in file.iter_batches(_BATCH):
        table = pa.Table.from_batches([batch])
        bad = dict(faults(table))
        for here, values in enumerate(table.to_pylist()):
            made = bad[here] if here in bad else files_of(values, pictures, manifest.parent)
            if isinstance(made, str):
                rejects.append((f"row {row}", made))
            else:
                yield f"{row:09d}", made
            row += 1
        progress(row, count)


def _fill(path: Path, first: _Face, others: Iterator[_Face], rows: int, most: int) -> tuple[int, _Face | None]:
    """Writes a shard; returns how many faces it took, and the first one of the next. Nothing in it tells the time."""
    face: _Face | None = first
    count = size = 0
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        while face is not None and count < rows and (not count or size + _bytes(face) <= most):
            name, files = face
            for suffix, data in files.items():
                member = tarfile.TarInfo(f"{name}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            count, size = count + 1, size + _bytes(face)
            face = next(others, None)
    return count, face


def _bytes(face: _Face) -> int:
    return sum(map(len, face[1].values()))


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
            raise ManifestError(f"{tars[0]}: not one sample could be used{_most_for(rejects)}")
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


def _most_for(rejects: Sequence[tuple[str, str]]) -> str:
    most = Counter(reason for _, reason in rejects).most_common(1)
    return f", most for: {most[0][0]}" if most else ""
