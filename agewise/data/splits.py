"""Splits of a manifest by person: folds, one person left out, named shares. The same seed gives the same split.

Who goes where depends, unless asked otherwise, on the seed and the person alone, by a hash (BLAKE2b). So nobody moves
when rows are added, removed or sorted, and two files that hold one person agree. The price is the balance of a lottery:
the n persons of an age fall into K folds as n dice would, n/K +- sqrt(n/K) each, and nothing that decides on a person
without the others can do better. `even` deals persons out by age, to within a few faces; then a new row may move
others, unless the earlier split is given to `keep`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agewise.data.dealing import dealt, drawn, earlier_parts
from agewise.data.manifest import ManifestError, described, metadata, open_manifest
from agewise.data.persons import batches, keys_of, names_of, read_persons, rows_of
from agewise.data.replacing import replacing

KINDS: dict[str, str] = {
    "folds": "K folds named 0..K-1, each person and each face tested once",
    "leave-one-out": "a fold a person, named after the subject (the protocol of FG-NET)",
    "holdout": "named shares, such as train, valid and test",
    "official": "the manifest's own column split: checked, nothing is written",
}
"""The kinds of splits and what each is."""

SHARES: dict[str, float] = {"train": 0.8, "valid": 0.1, "test": 0.1}
"""The shares of a holdout, which sum to 1."""

Progress = Callable[[int, int], None]

_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Split:
    """Faces of each part by its name, how many persons there are, and how many faces without a subject.

    A face without a subject counts as a person of its own: that two of them show one person is not seen.
    """

    faces: Mapping[str, int]
    persons: int
    unnamed: int


def split(
    manifest: Path,
    target: Path,
    kind: str = "folds",
    *,
    folds: int = 5,
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
    even: bool = False,
    keep: Path | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Split:
    """Writes the manifest with column `split`, the rows in their order; see KINDS.

    A row without a subject is known by the SHA-256 of its picture, or else by its path, so that copies stay together.

    even: deals persons out by age and number of faces, all of them at once, not each by its hash.
    keep: an earlier split of the same parts, whose persons stay where they are.
    Raises ManifestError on folds below 2 or above the persons, shares that do not sum to 1, a part without anybody,
    an unknown kind, no rows, or a target that is the manifest.
    """
    wanted = _parts(kind, folds, shares)
    if target.exists() and target.samefile(manifest):
        raise ManifestError(f"{target} is the manifest that is read; give the new one another name")
    keys, ages, named = read_persons(manifest, seed)
    persons, of_row = np.unique(keys, return_inverse=True)
    _check_persons(manifest, len(persons), kind, folds, named)
    said = {"kind": kind, "seed": seed, "even": even, "shares": dict(wanted)}
    if kind == "leave-one-out":
        faces = _write(manifest, target, lambda names: names, {"kind": kind}, progress)
        return Split(faces, len(persons), len(keys) - named)
    earlier = earlier_parts(keep, persons, list(wanted), seed) if keep else np.full(len(persons), -1)
    part = dealt(persons, of_row, ages, earlier, wanted) if even else drawn(persons, earlier, wanted)
    for number, name in enumerate(wanted):
        if not (part == number).any():
            raise ManifestError(
                f"{manifest}: none of {len(persons)} persons falls into {name}; give even, another seed or fewer parts"
            )
    title = np.array(list(wanted), dtype=object)

    def named_parts(names: list[str]) -> list[str]:
        return list(title[part[np.searchsorted(persons, keys_of(names, seed))]])

    counts = _write(manifest, target, named_parts, said, progress)
    return Split({name: counts[name] for name in wanted}, len(persons), len(keys) - named)


def official(manifest: Path) -> tuple[Split, dict[str, list[str]]]:
    """The manifest's own split, and the persons that leak: in which parts each of them is.

    Raises ManifestError where there is no column split, no row, or a row without a part.
    """
    total = open_manifest(manifest, need=["split"]).metadata.num_rows
    faces: Counter[str] = Counter()
    parts_of: dict[int, set[str]] = {}
    named = done = 0
    for table in rows_of(manifest, ["split"]):
        parts = table["split"].to_pylist()
        if not all(parts):
            raise ManifestError(f"{manifest}: row {done + [bool(part) for part in parts].index(False)} has no split")
        faces.update(parts)
        names, some = names_of(table, manifest, done)
        for key, part in zip(keys_of(names, 0).tolist(), parts, strict=True):
            parts_of.setdefault(key, set()).add(part)
        named, done = named + some, done + len(table)
    if not total:
        raise ManifestError(f"{manifest}: no row to split")
    leaks = {key: sorted(parts) for key, parts in parts_of.items() if len(parts) > 1}
    ordered = {name: faces[name] for name in sorted(faces, key=_order)}
    return Split(ordered, len(parts_of), total - named), _by_name(manifest, leaks)


def fold_of_rows(manifest: Path, folds: int, seed: int = 0) -> NDArray[np.intp]:
    """The fold (N,), 0..folds - 1, of each row, as `split` deals them out, without a file written.

    Raises ManifestError on folds below 2 or above the persons, or a fold without anybody.
    """
    shares = _parts("folds", folds, {})
    keys, _, named = read_persons(manifest, seed)
    persons, of_row = np.unique(keys, return_inverse=True)
    _check_persons(manifest, len(persons), "folds", folds, named)
    part = drawn(persons, np.full(len(persons), -1), shares)
    if len(np.unique(part)) < folds:
        raise ManifestError(f"{manifest}: {len(persons)} persons leave one of {folds} folds empty; take fewer")
    return part[of_row]


def folds_of(manifest: Path) -> Iterator[tuple[str, NDArray[np.intp], NDArray[np.intp]]]:
    """Each fold of a split manifest: its name, the rows to train on and the rows to test on, both in order.

    Raises ManifestError where the parts are no folds but the shares of a holdout, or are fewer than two.
    """
    if (metadata(manifest).get("split") or {}).get("kind") == "holdout":
        raise ManifestError(f"{manifest} is a holdout, not folds; take its rows by column split")
    column = open_manifest(manifest, need=["split"]).read(columns=["split"])["split"]
    if column.null_count:
        raise ManifestError(f"{manifest}: {column.null_count} rows have no split")
    encoded = column.combine_chunks().dictionary_encode()
    names, part = encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)
    if len(names) < 2:
        raise ManifestError(f"{manifest}: column split has {len(names)} parts; at least 2 folds are needed")
    for number in sorted(range(len(names)), key=lambda number: _order(names[number])):
        yield names[number], np.flatnonzero(part != number), np.flatnonzero(part == number)


def _parts(kind: str, folds: int, shares: Mapping[str, float]) -> dict[str, float]:
    """The parts that a kind has, and the share of each; none for leave-one-out."""
    if kind == "official":
        raise ManifestError("official splits are checked, not made")
    if kind not in KINDS:
        raise ManifestError(f"no kind of split {kind!r}; there are {', '.join(KINDS)}")
    if kind == "folds" and folds < 2:
        raise ManifestError(f"{folds} folds were asked for; at least 2 are needed")
    if kind == "holdout" and (abs(sum(shares.values()) - 1) > 1e-6 or not all(v > 0 and k for k, v in shares.items())):
        given = ", ".join(f"{name}={share:g}" for name, share in shares.items())
        raise ManifestError(f"the shares are {given}; named shares above 0 that sum to 1 are needed")
    if kind == "holdout":
        return dict(shares)
    return {str(number): 1 / folds for number in range(folds)} if kind == "folds" else {}


def _check_persons(manifest: Path, persons: int, kind: str, folds: int, named: int) -> None:
    if persons == 0:
        raise ManifestError(f"{manifest}: no row to split")
    if kind == "folds" and folds > persons:
        raise ManifestError(f"{manifest}: {folds} folds were asked for; it has only {persons} persons")
    if kind == "leave-one-out" and (persons < 2 or not named):
        raise ManifestError(f"{manifest}: leave-one-out needs a column subject with two persons at least")


def _write(
    manifest: Path,
    target: Path,
    parts_of: Callable[[list[str]], list[str]],
    said: dict[str, Any],
    progress: Progress,
) -> Counter[str]:
    """Copies the rows batch by batch, with the part of each; returns the faces of each part."""
    file = open_manifest(manifest)
    note = {**metadata(manifest), "split": said}
    faces: Counter[str] = Counter()
    done = 0
    schema = described(_with_split(file.schema_arrow.empty_table(), []), note).schema
    with replacing(target) as path, pq.ParquetWriter(path, schema) as writer:
        for table in batches(file, _ROWS):
            _check_paths(table, manifest, target)
            parts = parts_of(names_of(table, manifest, done)[0])
            faces.update(parts)
            writer.write_table(_with_split(table, parts).cast(schema))
            done += len(table)
            progress(done, file.metadata.num_rows)
    return faces


def _with_split(table: pa.Table, parts: list[str]) -> pa.Table:
    column, place = pa.array(parts, pa.string()), table.schema.get_field_index("split")
    return table.append_column("split", column) if place < 0 else table.set_column(place, "split", column)


def _check_paths(table: pa.Table, manifest: Path, target: Path) -> None:
    """A path is relative to its manifest: where pictures are files, the new manifest must stand beside the old one."""
    if target.parent.resolve() == manifest.parent.resolve() or "image" not in table.column_names:
        return
    data, paths = (table["image"].combine_chunks().field(name) for name in ("bytes", "path"))
    outside = pc.equal(pc.fill_null(pc.binary_length(data), 0), 0)
    for path in paths.filter(outside).drop_null().to_pylist():
        if not Path(path).is_absolute():
            raise ManifestError(f"{target}: {path} is beside {manifest}; write the split into the same folder")


def _by_name(manifest: Path, leaks: dict[int, list[str]]) -> dict[str, list[str]]:
    """The leaks under the persons' names, which are read again only for them."""
    found: dict[str, list[str]] = {}
    done = 0
    for table in rows_of(manifest, []) if leaks else ():
        names, _ = names_of(table, manifest, done)
        found |= {n: leaks[k] for n, k in zip(names, keys_of(names, 0).tolist(), strict=True) if k in leaks}
        done += len(table)
    return dict(sorted(found.items()))


def _order(name: str) -> tuple[bool, int, str]:
    """Numbers first and as numbers, then names."""
    return (False, int(name), "") if name.isdecimal() else (True, 0, name)
