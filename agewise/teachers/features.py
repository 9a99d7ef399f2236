"""The last layer's values of every face of a manifest, of one network or of each member of a teacher, as Parquet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from agewise.data.crops import Batch, bodies, parts, read_batches
from agewise.data.manifest import (
    ManifestError,
    check_frame,
    fingerprint,
    metadata,
    open_manifest,
    read_manifest,
)
from agewise.data.replacing import check_place
from agewise.data.settings import SettingsError
from agewise.data.shards import Shards
from agewise.faces.align import cut
from agewise.model.age_model import AgeModel
from agewise.model.heads.head import single_precision
from agewise.teachers.layers import LAYERS, column
from agewise.training.run_folder import load_run

PICTURES = ("image", "body")
LABELS = ("age", "age_std", "age_low", "age_high", "weight")

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Member:
    """A trained network, and a SHA-256 of its weights and of how it sees a face."""

    model: AgeModel
    digest: str

    @property
    def body_size(self) -> int:
        """Pixels of the side of the bodies that it takes beside the crops; 0 where it takes none."""
        return self.model.settings.size if self.model.tokens is not None else 0

    @torch.inference_mode()
    def layers(
        self, crops: NDArray[np.uint8], bodies: NDArray[np.uint8] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """LAYERS by name (N, ...) of crops (N, H, H, 3) in the model's frame; of tokens, the class token's features."""
        seen = torch.from_numpy(cut(crops, self.model.window, self.model.settings.size))
        if bodies is not None:
            seen = torch.stack([seen, torch.from_numpy(bodies)], dim=1)
        found = self.model.backbone(seen)["age"].float()
        raw = self.model.raw(found)
        pooled = found if found.ndim == 2 else found[:, 0]
        with single_precision(raw):
            probs = self.model.head.probs(raw)
        return {"features": pooled.numpy(), "raw": raw.numpy(), "probs": probs.numpy()}


def open_members(folder: Path | str, chosen: str = "*") -> dict[str, Member]:
    """The run that a folder is, under the name ""; or the runs in it by the names of their folders, sorted.

    chosen: patterns of those names, separated by commas: `general-*`.

    Raises SettingsError: no run there, none of those names, or one that is not finished.
    """
    place = Path(folder)
    runs = sorted(said.parent for said in place.glob("*/recipe.json"))
    if not runs and (place / "recipe.json").is_file():  # a teacher's folder has one too, beside those of its members
        return {"": _opened(place)}
    if not runs:
        raise SettingsError(f"{place}: neither a run folder nor a folder of runs (agewise train makes them)")
    patterns = [pattern.strip() for pattern in chosen.split(",")]
    found = [run for run in runs if any(fnmatch(run.name, pattern) for pattern in patterns)]
    if not found:
        raise SettingsError(f"{place}: no run is called {chosen}; there are {', '.join(run.name for run in runs)}")
    return {run.name: _opened(run) for run in found}


def _opened(run: Path) -> Member:
    model = load_run(run)
    digest = hashlib.sha256(fingerprint(run / "model.safetensors").encode())
    digest.update(model.settings.model_dump_json().encode())
    return Member(model, digest.hexdigest())


def write_features(
    members: Mapping[str, Member],
    manifest: Path,
    target: Path,
    *,
    half: bool = False,
    batch: int = 64,
    progress: Progress = lambda _done, _total: None,
) -> tuple[int, list[tuple[str, str]]]:
    """Writes the values of LAYERS of each member for every row of a manifest, in its order.

    Beside them stand `row` (from 0), the manifest's columns without the pictures, and `error`: why a face has no values
    (null where it has). A call after a kill goes on where the first one stopped; a finished file of the same networks
    and manifest is not made again, and one of others is refused.

    half: features and raw outputs in half precision; probabilities are single in any case.

    Returns the number of rows, and those without values with their reasons.
    """
    if batch < 1:
        raise ValueError(f"the batch is {batch} faces; at least 1 is needed")
    file = open_manifest(manifest, need=["image"])
    total = file.metadata.num_rows
    if not total:
        raise ManifestError(f"{manifest}: no row to look at")
    for member in members.values():
        check_frame(manifest, member.model.settings.frame, member.model.settings.margin)
    check_place(target)
    schema = _schema(file.schema_arrow, members, half, manifest)
    read_manifest(manifest, columns=LABELS)  # a label that cannot be is found before the long work
    models = {name: member.digest for name, member in members.items()}
    plan = {"content": fingerprint(manifest), "models": models, "half": half}
    said = {"step": "features", "manifest": manifest.name, **plan}
    if target.exists():
        return _finished(target, said)
    shards, first = Shards(target, plan), 0
    for index, table in enumerate(parts(manifest)):
        if not shards.done(index):
            made: list[pa.Table] = []
            notes: list[list[str]] = []
            start = first
            for read in read_batches(table, manifest.parent, batch):
                made.append(_values(read, members, start, manifest, schema))
                notes += [[f"row {start + n}", reason] for n, reason in enumerate(read.reasons) if reason]
                start += len(read.rows)
                progress(start, total)
            shards.write(index, pa.concat_tables(made), notes)
        first += len(table)
        progress(first, total)
    left_out = [(row, reason) for row, reason in shards.notes()]
    return shards.join({**said, "left_out": left_out}), left_out


def _schema(given: pa.Schema, members: Mapping[str, Member], half: bool, manifest: Path) -> pa.Schema:
    """What the file of features holds; the widths of the layers are those of a black crop's."""
    fields = {"row": pa.int64()}
    for name, member in members.items():
        side = member.model.settings.size
        for layer, values in member.layers(np.zeros((1, side, side, 3), np.uint8)).items():
            kind = pa.float16() if half and layer != "probs" else pa.float32()
            fields[column(layer, name)] = pa.list_(kind, values.shape[1])
    fields["error"] = pa.string()
    kept = [field for field in given if field.name not in PICTURES]
    if clash := [field.name for field in kept if field.name in fields]:
        raise ManifestError(f"{manifest}: column {', '.join(clash)} would be overwritten by the features; rename it")
    return pa.schema([("row", fields.pop("row")), *kept, *fields.items()])


def _finished(target: Path, said: dict[str, Any]) -> tuple[int, list[tuple[str, str]]]:
    earlier = metadata(target)
    if any(earlier.get(key) != value for key, value in said.items() if key != "manifest"):
        raise ManifestError(
            f"{target} exists and is not of these networks and this manifest; delete it, or write another"
        )
    return open_manifest(target).metadata.num_rows, [(row, reason) for row, reason in earlier.get("left_out", [])]


def _values(read: Batch, members: Mapping[str, Member], first: int, manifest: Path, schema: pa.Schema) -> pa.Table:
    """The rows, the first of which is row `first`, with the values of every member."""
    made = {name: read.rows[name] for name in read.rows.column_names if name not in PICTURES}
    made["row"] = pa.array(np.arange(first, first + len(read.rows)))
    made["error"] = pa.array(read.reasons, pa.string())
    for name, member in members.items():
        found = _asked(member, read, manifest.parent) if len(read.crops) else {}
        for layer in LAYERS:
            wanted = schema.field(column(layer, name)).type
            rows = np.zeros((len(read.rows), wanted.list_size), wanted.value_type.to_pandas_dtype())
            if found:
                with np.errstate(over="ignore"):  # of half precision: _check says which rows
                    rows[read.readable] = found[layer]
            _check(rows, f"{manifest}: rows {first}..{first + len(rows) - 1}: {column(layer, name)}")
            made[column(layer, name)] = pa.FixedSizeListArray.from_arrays(
                pa.array(rows.ravel()), wanted.list_size, mask=pa.array(~read.readable)
            )
    return pa.table(made).select(schema.names).cast(schema)


def _asked(member: Member, read: Batch, folder: Path) -> dict[str, NDArray[np.float32]]:
    if member.body_size and "body" in read.rows.column_names:
        return member.layers(read.crops, bodies(read, folder, member.body_size))
    return member.layers(read.crops)


def _check(values: NDArray[Any], where: str) -> None:
    if not np.isfinite(values).all():
        kind = " in half precision" if values.dtype == np.float16 else ""
        raise ManifestError(f"{where}: a value that is no number{kind}")
