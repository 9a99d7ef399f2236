"""What a protocol gives: the scores of its models, the manifests they are of, mean and spread over folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from agewise.data.manifest import fingerprint, open_manifest
from agewise.evaluation.groups import Score
from agewise.evaluation.protocols.settings import Protocol


@dataclass(frozen=True, slots=True)
class Result:
    """What one model scores on one part of one manifest; ages: row of the manifest, known and predicted age, in years.

    Of corrupted faces, `ages` is None.
    """

    model: str
    manifest: str
    part: str
    score: Score
    ages: pa.Table | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Tested:
    """A manifest of a run: its file, its rows and the SHA-256 of its bytes."""

    file: str
    rows: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Tested:
        """Raises ManifestError where there is no manifest."""
        return cls(path.name, open_manifest(path).metadata.num_rows, fingerprint(path))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a protocol; mean and std (of the sample, n - 1) are over folds, and empty without folds.

    models: by the name that they were given, the one that is only their own, with a hash of the weights.
    """

    protocol: Protocol
    results: tuple[Result, ...]
    mean: Mapping[str, float]
    std: Mapping[str, float]
    notes: tuple[str, ...]
    models: Mapping[str, str]
    manifests: Mapping[str, Tested]
