"""A file of features as it is read back: the columns of a network's last layers, and its distributions in them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from agewise.ages import AGES, AgeDistribution
from agewise.data.manifest import ManifestError, metadata, open_manifest, read_manifest

LAYERS = ("features", "raw", "probs")
"""What goes into the head (D values a face), what the head says (C), and the ages' probabilities (101)."""


def column(layer: str, member: str) -> str:
    """The name of a layer's column; a network alone has no name.

    >>> column("raw", "general-00"), column("raw", "")
    ('raw_general-00', 'raw')
    """
    return f"{layer}_{member}" if member else layer


def read_distributions(path: Path | str) -> tuple[pa.Table, list[AgeDistribution]]:
    """The labels of a file of features, and each network's distributions, of the rows that have them.

    Raises ManifestError where the file is none, or no row has values.
    """
    said = metadata(path)
    if said.get("step") != "features":
        raise ManifestError(f"{path}: not a file of features; agewise features writes one from a manifest")
    names = [column("probs", member) for member in said["models"]]
    drop = {column(layer, member) for layer in ("features", "raw") for member in said["models"]}
    wanted = [name for name in open_manifest(path).schema_arrow.names if name not in drop]
    table = read_manifest(path, columns=wanted, need=[*names, "row", "error"])
    known = table.filter(table["error"].is_null())
    if not len(known):
        raise ManifestError(f"{path}: none of its {len(table)} rows has values")
    return known.drop_columns(names), [_probs(known, name) for name in names]


def _probs(table: pa.Table, name: str) -> AgeDistribution:
    return AgeDistribution(table[name].combine_chunks().flatten().to_numpy().reshape(-1, len(AGES)))
