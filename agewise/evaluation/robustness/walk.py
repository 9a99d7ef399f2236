"""What makes the cells of a model under corruptions: one for each kind and severity, and the clean one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import Predictor
from agewise.data.crops import Batch, parts, read_batches
from agewise.data.manifest import ManifestError, metadata, write_manifest
from agewise.evaluation.corruptions import LEAST_SIDE, cell_rng, corrupt
from agewise.evaluation.corruptions.profiles import Picture, Profile
from agewise.evaluation.predictions import asked
from agewise.teachers.annotation.plan import Run

CLEAN = "clean"
"""The kind, of severity 0, that changes nothing."""

PREDICTED = ("row", "mean", "low", "high", "error")
"""Columns of a cell: row of the manifest, years (mean, and bounds of the 90 % interval), and why there are none."""


@dataclass(frozen=True, slots=True)
class Walk:
    """What makes one cell after the other: row k of `crops` is row `rows[k]` of the manifest in `folder`."""

    crops: Path
    folder: Path
    rows: NDArray[np.int64]
    batch: int
    profile: Profile
    seed: int
    cells: Path
    said: Mapping[str, Any]

    def write(self, predictor: Predictor, kind: str, severity: int) -> None:
        """Writes one cell; the clean one has the manifest's columns too."""
        made: list[pa.Table] = []
        first = 0
        for part in parts(self.crops):
            for read in read_batches(part, self.folder, self.batch):
                rows = self.rows[first : first + len(read.rows)]
                made.append(self._predicted(read, rows, predictor, kind, severity))
                first += len(rows)
        said = {**self.said, "kind": kind, "severity": severity}
        write_manifest(pa.concat_tables(made), cell_path(self.cells, kind, severity), said)

    def _predicted(
        self, read: Batch, rows: NDArray[np.int64], predictor: Predictor, kind: str, severity: int
    ) -> pa.Table:
        small = len(read.crops) > 0 and read.crops.shape[1] < LEAST_SIDE
        why = f"the crop has {read.crops.shape[1]} pixels a side; {LEAST_SIDE} are needed"
        reasons = [reason or (why if small else None) for reason in read.reasons]
        failed = np.array([reason is not None for reason in reasons], dtype=bool)
        years = np.zeros((3, len(rows)))
        if not failed.all():
            keys = rows[~failed].tolist()
            crops = [self._changed(crop, key, kind, severity) for crop, key in zip(read.crops, keys, strict=True)]
            ages = asked(predictor, f"{kind} {severity}: rows {keys[0]}..{keys[-1]}", np.stack(crops))
            years[:, ~failed] = np.stack([ages.mean, *ages.interval().T])
        made = [rows, *(pa.array(values, mask=failed) for values in years), pa.array(reasons, pa.string())]
        columns = dict(zip(PREDICTED, made, strict=True))
        if kind == CLEAN:
            columns = {**{name: read.rows[name] for name in _kept(read.rows.schema)}, **columns}
        return pa.table(columns)

    def _changed(self, crop: Picture, row: int, kind: str, severity: int) -> Picture:
        if kind == CLEAN:
            return crop
        return corrupt(crop, kind, severity, cell_rng(self.seed, str(row), kind, severity), self.profile)


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of a walk: a `cluster.Job`, each of whose parts is a cell."""

    walk: Walk
    cells: tuple[tuple[str, int], ...]

    def left(self) -> int:
        """Cells that are not there."""
        return len(self._missing((0, len(self.cells))))

    def count(self, share: Run) -> int:
        """Cells of a share."""
        return share[1] - share[0]

    def do(self, predictor: Predictor, share: Run) -> None:
        """Makes the cells of a share that are not there."""
        for cell in self._missing(share):
            self.walk.write(predictor, *cell)

    def _missing(self, share: Run) -> list[tuple[str, int]]:
        walk = self.walk
        return [cell for cell in self.cells[slice(*share)] if not made_so(cell_path(walk.cells, *cell), walk.said)]


def _kept(schema: pa.Schema) -> list[str]:
    """Columns that are no picture, no distribution and nothing that a cell has itself."""
    return [f.name for f in schema if not pa.types.is_struct(f.type) and f.name not in {"age_probs", *PREDICTED}]


def cell_path(cells: Path, kind: str, severity: int) -> Path:
    return cells / f"{kind}.{severity}.parquet"


def made_so(path: Path, said: Mapping[str, Any]) -> bool:
    """Whether that cell is there; one of another model, manifest or plan is refused."""
    if not path.exists():
        return False
    earlier, free = metadata(path), {"schema", "kind", "severity"}
    changed = sorted(key for key in {*earlier, *said} - free if earlier.get(key) != said.get(key))
    if changed:
        raise ManifestError(f"{path} was made with another {', '.join(changed)}; delete it, or give another folder")
    return True
