"""Long steps that survive a kill: parts are written one by one, each complete or absent, and joined at the end."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agewise.data.manifest import ManifestError, described
from agewise.data.replacing import check_place, replacing

PART_ROWS = 1000
"""Rows a part: what a kill can cost at the most."""
_OURS = re.compile(r"\d{6}\.parquet|plan\.json|\..*\.partial")


class Shards:
    """The parts of one output file, in a folder beside it that is gone once the file is there.

    plan: what the output depends on (inputs, options); a folder begun under another plan is refused, and a place where
    the output could not be written, before the long work.
    """

    def __init__(self, target: Path | str, plan: dict[str, Any]) -> None:
        check_place(target)
        self.target = Path(target)
        self.plan = plan
        self.folder = self.target.with_name(f"{self.target.name}.parts")
        said = self.folder / "plan.json"
        if said.exists():
            earlier = _read(said)
            if earlier != plan:
                changed = sorted(key for key in {*earlier, *plan} if earlier.get(key) != plan.get(key))
                raise ManifestError(
                    f"{self.folder} was begun with another {', '.join(changed)}; delete it, or write to another file"
                )
        elif self.folder.exists():  # its plan went first when the output was in place: these parts say nothing
            self._check_own()
            shutil.rmtree(self.folder)

    def _check_own(self) -> None:
        """Raises ManifestError where the folder holds what no step of ours wrote, which would be deleted with it."""
        strange = sorted(path.name for path in self.folder.iterdir() if not _OURS.fullmatch(path.name))
        if strange:
            raise ManifestError(f"{self.folder}: holds {strange[0]}, which is no part of ours; move it elsewhere")

    def path(self, index: int) -> Path:
        """Where part `index` stands."""
        return self.folder / f"{index:06d}.parquet"

    def done(self, index: int) -> bool:
        """Whether that part is complete."""
        return self.path(index).exists()

    def write(self, index: int, table: pa.Table, notes: list[list[str]] | None = None) -> None:
        """Puts a part in place, with notes (rejects and their reasons) that `notes` gives back."""
        plan = self.folder / "plan.json"
        if not plan.exists():  # only now: a step that fails before its first part leaves nothing behind
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(plan) as path:
                path.write_text(json.dumps(self.plan, indent=1))
        said = table.replace_schema_metadata({b"notes": json.dumps(notes or [])})
        with replacing(self.path(index)) as path:
            pq.write_table(said, path)

    def parts(self) -> list[Path]:
        """The complete parts, in order."""
        return sorted(self.folder.glob("*.parquet"))

    def notes(self) -> list[list[str]]:
        """The notes of all parts, in order."""
        return [note for path in self.parts() for note in json.loads(pq.read_schema(path).metadata[b"notes"])]

    def join(self, said: dict[str, Any]) -> int:
        """Writes the parts as the output, in order, removes them and returns the number of rows.

        Raises ManifestError where one is missing: a second process at the same output has joined and removed it.
        """
        parts = self.parts()
        if not parts or [int(part.stem) for part in parts] != list(range(len(parts))):
            raise ManifestError(f"{self.folder}: parts are gone; another process writes {self.target.name} too")
        schema = described(pq.read_schema(parts[0]).remove_metadata().empty_table(), said).schema

        with replacing(self.target) as path, pq.ParquetWriter(path, schema) as writer:
            for part in parts:
                writer.write_table(pq.read_table(part).cast(schema))
        shutil.rmtree(self.folder)
        return int(pq.read_metadata(self.target).num_rows)

    def drop(self) -> None:
        """Removes the parts."""
        shutil.rmtree(self.folder)

    def rows(self) -> int:
        """Rows of all parts."""
        return sum(int(pq.read_metadata(part).num_rows) for part in self.parts())


def _read(plan: Path) -> dict[str, Any]:
    """The plan of a folder of parts. Raises ManifestError where it is damaged."""
    try:
        said = json.loads(plan.read_text())
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise ManifestError(f"{plan}: damaged; delete the folder to begin anew")
    return said
