"""What a manifest knows of each face beside its age, as the numbers that a task learns from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agewise.data.manifest import ManifestError, numbers, read_manifest


def classes(manifest: Path, column: str, labels: Sequence[str]) -> NDArray[np.int64]:
    """The place (N,) of each row's value in `labels`; -1 where it is null. Raises ManifestError on any other value."""
    values = read_manifest(manifest, columns=[column], need=[column])[column].to_pylist()
    places = {label: place for place, label in enumerate(labels)}
    wrong = next((str(value) for value in values if value is not None and str(value) not in places), None)
    if wrong is not None:
        raise ManifestError(f"{manifest}: column {column} holds {wrong!r}; the labels are {', '.join(labels)}")
    return np.array([-1 if value is None else places[str(value)] for value in values], dtype=np.int64)


def attributes(manifest: Path, columns: Sequence[str]) -> NDArray[np.float32]:
    """The values (N, A) of columns of 0, 1 or null, null as NaN. Raises ManifestError on any other value."""
    table = read_manifest(manifest, columns=list(columns), need=list(columns))
    wrong = f"{manifest}: the attributes {', '.join(columns)} hold other values than 0, 1 and null"
    try:
        values = np.stack([numbers(table, column) for column in columns], axis=1)
    except ValueError as error:  # words
        raise ManifestError(wrong) from error
    if not np.isin(values[~np.isnan(values)], (0.0, 1.0)).all():
        raise ManifestError(wrong)
    return values.astype(np.float32)


def identities(manifest: Path, column: str, most: int) -> NDArray[np.int64]:
    """A number (N,) for each subject, in the order of their names; -1 where it is null. At most `most` of them."""
    values: list[Any] = read_manifest(manifest, columns=[column], need=[column])[column].to_pylist()
    names = sorted({str(value) for value in values if value is not None})
    if len(names) > most:
        raise ManifestError(f"{manifest}: column {column} holds {len(names)} subjects; the task was made for {most}")
    places = {name: place for place, name in enumerate(names)}
    return np.array([-1 if value is None else places[str(value)] for value in values], dtype=np.int64)
