"""The folder of an annotation: parts that are manifests, what was left out, the ages as CSV, and `run.json`."""

from __future__ import annotations

import csv
import errno
import io
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq

from agewise.data.manifest import ManifestError, described, metadata
from agewise.data.parted import OWN, RUN, OneFile, open_file, part_name, read_run
from agewise.data.places import Place, place_of
from agewise.teachers.annotation import vmage
from agewise.teachers.annotation.answers import Part
from agewise.teachers.annotation.plan import Plan

REJECTS = "rejects.csv"
REASONS = 20
"""Reasons that `run.json` counts; all of them are in the rejects."""

PASSED = ("left_out", "rejects", "constrained", "edge", "votes")
"""What an earlier step listed of the whole manifest, or an earlier teacher's labels were, is not said of these."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """Faces in the result and rows left out, with the commonest reasons.

    votes_bytes: what the members' votes take on disk, a face; None where they are not kept.
    """

    faces: int
    left_out: int
    reasons: dict[str, int]
    votes_bytes: float | None = None


class Folder:
    """Where a plan's parts go; it can be sent to other machines."""

    def __init__(self, folder: Path | str, plan: Plan) -> None:
        self.place, self.plan = place_of(folder), plan
        self.said = {name: value for name, value in metadata(plan.manifest).items() if name not in PASSED}

    def __reduce__(self) -> tuple[type[Folder], tuple[str, Plan]]:
        return Folder, (self.place.everywhere, self.plan)

    def begin(self) -> list[int]:
        """The parts that are not there yet; none of a finished folder.

        Raises ManifestError where the folder is of another plan, or holds something else.
        """
        if self.place.is_file():
            raise ManifestError(f"{self.place}: a file; an annotation is a folder of parts, or a file called x.parquet")
        names = set(self.place.names())
        run = read_run(self.place) if RUN in names else {}
        ours = {*map(part_name, range(self.plan.parts)), REJECTS, vmage.NAME} | _unfinished(names)
        if not run and names - ours:  # parts alone are what a failed rewrite of run.json leaves on an object store
            raise ManifestError(f"{self.place}: holds {min(names - ours)}, not an annotation; name an empty folder")
        missing = self.missing(names)
        wanted = {**self.plan.said, "rows": self.plan.rows}
        if run and run.get("plan") != wanted and (run.get("finished") or any(n.endswith(".parquet") for n in names)):
            earlier = run.get("plan") or {}
            changed = sorted(key for key in {*earlier, *wanted} if earlier.get(key) != wanted.get(key))
            raise ManifestError(
                f"{self.place} was begun with another {', '.join(changed)}; delete it, or write to another folder"
            )
        if not run.get("finished") or missing:
            self._say({"finished": False})
        return missing

    def missing(self, names: set[str] | None = None) -> list[int]:
        """The parts that are not there, by the names in the folder where these are known already."""
        there = set(self.place.names()) if names is None else names
        return [part for part in range(self.plan.parts) if part_name(part) not in there]

    def has(self, part: int) -> bool:
        """Whether a part is there."""
        return (self.place / part_name(part)).is_file()

    def write(self, part: Part) -> None:
        """Puts a part in place."""
        table = described(part.rows, {**self.said, "step": "annotate", **self.plan.said})
        own = json.dumps({"part": part.index, "left_out": part.left_out})
        table = table.replace_schema_metadata({**table.schema.metadata, OWN: own})
        with _roomy(self.place), (self.place / part_name(part.index)).writing() as stream:
            pq.write_table(table, stream, row_group_size=self.plan.rows, compression="zstd")

    def finish(self) -> Annotated:
        """Checks all parts, writes what is known of them together, and returns it."""
        run = read_run(self.place)
        names = set(self.place.names())
        if not run.get("finished") or not {REJECTS, vmage.NAME} <= names:
            with _roomy(self.place):
                run = self._summarised()
            for name in _unfinished(names):
                (self.place / name).delete()
        return Annotated(run["faces"], run["left_out"], run["reasons"], run["votes_bytes"])

    def _summarised(self) -> dict[str, Any]:
        counts: list[int] = []
        reasons: Counter[str] = Counter()
        votes = 0
        with _text(self.place / REJECTS) as rejects, _text(self.place / vmage.NAME) as ages:
            table = csv.writer(rejects)
            table.writerow(["row", "picture", "reason"])
            for index in range(self.plan.parts):
                file, left_out = self._checked(index)
                table.writerows(left_out)
                reasons.update(reason for _, _, reason in left_out)
                vmage.write_ages(ages, _ages(file, self.plan.span(index), {row for row, _, _ in left_out}))
                counts.append(int(file.metadata.num_rows))
                votes += _bytes_of(file, "votes")
        faces = sum(counts)
        return self._say(
            {
                "finished": True,
                "faces": faces,
                "left_out": self.plan.total - faces,
                "reasons": dict(reasons.most_common(REASONS)),
                "votes_bytes": round(votes / faces, 1) if votes and faces else None,
                "parts": counts,
            }
        )

    def _checked(self, index: int) -> tuple[OneFile, list[tuple[int, str, str]]]:
        """A part, and what was left out of it. Raises ManifestError where it is not this plan's, or not whole."""
        place = self.place / part_name(index)
        file = open_file(place)
        own = json.loads((file.schema_arrow.metadata or {}).get(OWN, b"{}"))
        whole = file.metadata.num_rows + len(own.get("left_out", [])) == len(self.plan.span(index))
        if own.get("part") != index or not whole or not self.plan.said.items() <= metadata(place).items():
            raise ManifestError(f"{place}: not a part of this annotation; delete it and call again")
        return file, own["left_out"]

    def _say(self, more: dict[str, Any]) -> dict[str, Any]:
        plan = {**self.plan.said, "rows": self.plan.rows}
        source, settings = self.plan.manifest, {"batch": self.plan.batch}
        run = {"step": "annotate", "source": source, "plan": plan, "settings": settings, **more}
        with _roomy(self.place), (self.place / RUN).writing() as stream:
            stream.write(json.dumps(run, indent=1).encode() + b"\n")
        return run


@contextmanager
def _roomy(place: Place) -> Iterator[None]:
    """Says what to do where a disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        why = "no space left; what is done is kept, and the same call goes on when there is room"
        raise OSError(error.errno, why, str(place)) from error


@contextmanager
def _text(place: Place) -> Iterator[IO[str]]:
    with place.writing() as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors="replace", newline="", write_through=True)
        yield text
        text.flush()
        text.detach()


def _unfinished(names: set[str]) -> set[str]:
    """What killed processes left behind."""
    return {name for name in names if name.startswith(".") and name.endswith(".partial")}


def _ages(file: OneFile, span: range, left_out: set[int]) -> Iterator[tuple[int, str | None, float]]:
    table = file.read(columns=["image.path", "age_teacher"])
    kept = (row for row in span if row not in left_out)
    for row, image, age in zip(kept, table["image"].to_pylist(), table["age_teacher"].to_pylist(), strict=True):
        yield row, image["path"], age


def _bytes_of(file: OneFile, column: str) -> int:
    """Bytes of a column on disk."""
    groups = [file.metadata.row_group(n) for n in range(file.num_row_groups)]
    chunks = [group.column(n) for group in groups for n in range(group.num_columns)]
    found = [chunk for chunk in chunks if chunk.path_in_schema.partition(".")[0] == column]
    return sum(int(chunk.total_compressed_size) for chunk in found)
