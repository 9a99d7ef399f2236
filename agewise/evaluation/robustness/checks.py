"""What is refused before faces are corrupted: no such kind or number, or no manifest of clean crops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agewise.data.manifest import ManifestError, check_frame, metadata, open_manifest
from agewise.evaluation.corruptions import LEAST_SIDE, corrupt
from agewise.evaluation.corruptions.profiles import Profile


def check_cells(
    kinds: Sequence[str], severities: Sequence[int], profile: Profile, limit: int | None, batch: int, workers: int
) -> None:
    """Raises ValueError for a kind, severity or profile that there is not, or a number below 1."""
    probe = np.zeros((LEAST_SIDE, LEAST_SIDE, 3), np.uint8)
    for kind in kinds or [""]:
        for severity in severities or [0]:
            corrupt(probe, kind, severity, 0, profile)  # refuses what there is not
    for what, given in {"limit": limit, "batch": batch, "number of workers": workers}.items():
        if given is not None and given < 1:
            raise ValueError(f"the {what} is {given}; at least 1 is needed")


def clean_crops(manifest: Path) -> dict[str, Any]:
    """What a manifest of clean crops says of itself; raises ManifestError where it is none."""
    if not open_manifest(manifest, need=["image"]).metadata.num_rows:
        raise ManifestError(f"{manifest}: no row in it")
    said = metadata(manifest)
    if "frame" not in said:
        check_frame(manifest, "aligned")  # says in its one line what is missing
    if "corruption" in said:
        kind, severity = said["corruption"]["kind"], said["corruption"]["severity"]
        raise ManifestError(f"{manifest}: its crops are corrupted already ({kind} {severity}); give the clean manifest")
    return said
