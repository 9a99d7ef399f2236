"""What a model predicts under each kind and severity of corruption: a file a cell, no picture kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agewise.ages import Predictor
from agewise.data.crops import parts
from agewise.data.manifest import ManifestError, described, fingerprint, metadata, numbers, open_manifest, read_manifest
from agewise.data.replacing import check_place, replacing
from agewise.evaluation.corruptions import CORRUPTIONS, EXTRAS, SEVERITIES
from agewise.evaluation.corruptions.profiles import Profile
from agewise.evaluation.groups import Labels
from agewise.evaluation.predictions import LABELS
from agewise.evaluation.robustness.checks import check_cells, clean_crops
from agewise.evaluation.robustness.processes import opened_alone, work_here
from agewise.evaluation.robustness.walk import CLEAN, PREDICTED, Grid, Walk, cell_path, made_so
from agewise.teachers.annotation.cluster import work_on_ray
from agewise.teachers.annotation.connecting import check_address

STEP = "robustness"

Progress = Callable[[int, int], None]


def predict_cells(
    open_predictor: Callable[[], Predictor],
    manifest: Path,
    folder: Path,
    *,
    name: str,
    kinds: Sequence[str] = tuple(CORRUPTIONS),
    severities: Sequence[int] = SEVERITIES,
    profile: Profile = "paper",
    seed: int = 0,
    limit: int | None = None,
    batch: int = 64,
    workers: int = 1,
    address: str | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Path:
    """Writes `folder`/cells/KIND.SEVERITY.parquet, the clean cell too, and returns that folder; pictures are not kept.

    Each of `workers` processes opens the predictor, called `name`, and makes whole cells, so their number changes
    nothing; with several, `open_predictor` must pickle. With an `address` they are the workers of a Ray cluster (as of
    `annotate_on_ray`; 0 is as many as it has cores for), and either finishes what the other began. `limit` faces of a
    known age, evenly spread over the file, are taken. A call after a kill makes the cells that are missing; other kinds
    may be added later.

    Raises:
        ManifestError: no usable manifest of crops, no age known in it, or cells there of another model or plan.
        ValueError: no such kind, severity or profile, or the predictor fails.
        ClusterError: Ray is not installed, does not answer, or its workers cannot work.
    """
    check_cells(kinds, severities, profile, limit, batch, workers if address is None else workers or 1)
    if address is not None:
        check_address(address)
        manifest, folder = manifest.absolute(), folder.absolute()  # the same for workers elsewhere
    given = clean_crops(manifest)
    check_place(cell_path(folder / "cells", CLEAN, 0))
    rows, total = _chosen(manifest, limit)
    said = {"step": STEP, "name": name, "manifest": manifest.name, "content": fingerprint(manifest), "rows": total}
    said |= {"frame": given["frame"], "limit": limit, "profile": profile, "seed": seed}
    cells = folder / "cells"
    chosen = [kind for kind in (*CORRUPTIONS, *EXTRAS) if kind in kinds]
    wanted = [(CLEAN, 0), *((kind, severity) for kind in chosen for severity in sorted(set(severities)))]
    missing = [cell for cell in wanted if not made_so(cell_path(cells, *cell), said)]
    done = len(wanted) - len(missing)
    if not missing:
        return cells
    picked = manifest if limit is None else _picked(manifest, rows, folder / "crops.parquet", said)
    walk = Walk(picked, manifest.parent, rows, batch, profile, seed, cells, said)
    grid, shares = Grid(walk, tuple(missing)), [(cell, cell + 1) for cell in range(len(missing))]
    work = partial(work_here, processes=min(workers, len(missing)))
    if address is not None:
        work = partial(work_on_ray, address=address, workers=workers, cores=1)
        open_predictor = partial(opened_alone, open_predictor)
    for count in work(grid, shares, open_predictor):
        done += count
        progress(done, len(wanted))
    if picked != manifest:
        picked.unlink()  # pictures of people do not stay in a folder of results
    return cells


def _chosen(manifest: Path, limit: int | None) -> tuple[NDArray[np.int64], int]:
    """The rows to predict, in order, and how many there are; raises ManifestError where no age is known."""
    table = read_manifest(manifest, (*LABELS, *PREDICTED))
    if clash := sorted(set(table.column_names) & set(PREDICTED)):
        raise ManifestError(f"{manifest}: column {', '.join(clash)} would be overwritten by the predictions; rename it")
    known = np.flatnonzero(known_ages(table)[1])
    if not len(known):
        raise ManifestError(
            f"{manifest}: no row has a known age (column age, or age_low and age_high) to score against"
        )
    if limit is None:
        return np.arange(len(table)), len(table)
    count = min(limit, len(known))
    return known[np.arange(count) * len(known) // count], len(table)


def known_ages(table: pa.Table) -> tuple[Labels, NDArray[np.bool_]]:
    """What is known of the faces, exact ages where there is one, and of which."""
    age = ~np.isnan(numbers(table, "age"))
    if age.any():
        return "age", age
    return "group", ~np.isnan(numbers(table, "age_low") + numbers(table, "age_high"))


def _picked(manifest: Path, rows: NDArray[np.int64], target: Path, said: Mapping[str, Any]) -> Path:
    """Copies the chosen rows beside the results, so that no cell walks over all of a large file."""
    if target.exists() and metadata(target) == {**metadata(target), **said}:
        return target
    schema = open_manifest(manifest).schema_arrow
    first = 0
    with replacing(target) as path:
        kept = described(schema.remove_metadata().empty_table(), dict(said)).schema
        with pq.ParquetWriter(path, kept) as writer:
            for part in parts(manifest):
                inside = rows[(rows >= first) & (rows < first + len(part))] - first
                if len(inside):
                    writer.write_table(part.take(pa.array(inside)).cast(kept))
                first += len(part)
    return target
