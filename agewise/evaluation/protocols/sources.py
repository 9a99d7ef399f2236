"""What a protocol tests: a predictor, a model that is opened when its turn comes, or what one has predicted before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Shape

import pyarrow as pa

from agewise.ages import Predictor
from agewise.data.manifest import ManifestError, check_frame, fingerprint, metadata, read_manifest
from agewise.evaluation.predictions import PREDICTED
from agewise.evaluation.robustness.cells import STEP
from agewise.evaluation.robustness.walk import CLEAN, cell_path


class Opened(Shape):
    """A predictor, a name that is only its own (with a hash of it), and the frame and margin of its crops."""

    @property
    def predictor(self) -> Predictor: ...
    @property
    def name(self) -> str: ...
    @property
    def frame(self) -> str: ...
    @property
    def margin(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is opened when it is needed, and let go after; `open` must pickle where there are workers."""

    open: Callable[[], Opened]

    def predictor(self) -> Predictor:
        """The predictor alone."""
        return self.open().predictor


Source = Predictor | Model | Path
"""A path is a file of `predict_manifest`, a folder of `predict_cells`, or a report's folder that holds one of them."""


def predictions_of(source: Path, manifest: Path) -> Path:
    """The file of predictions that a path leads to. Raises ManifestError unless it is of that manifest."""
    file = source / "predictions.parquet" if source.is_dir() else source
    said = metadata(file)
    if said.get("step") != "predict" or said.get("content") != fingerprint(manifest):
        raise ManifestError(f"{file}: no predictions of {manifest}; agewise evaluate makes them")
    return file


def cells_of(source: Path) -> Path | None:
    """The folder of cells that a path leads to, None where there is none."""
    return next((one for one in (source, source / "cells") if cell_path(one, CLEAN, 0).is_file()), None)


def said_of(source: Path) -> dict[str, str]:
    """By `predict` and `robustness`, as far as a path leads to such files: the SHA-256 of the manifest they are of."""
    found = {}
    file = source / "predictions.parquet" if source.is_dir() else source
    if file.is_file() and (said := metadata(file)).get("step") == "predict":
        found["predict"] = str(said["content"])
    if source.is_dir() and (cells := cells_of(source)) is not None:
        found[STEP] = str(metadata(cell_path(cells, CLEAN, 0))["content"])
    return found


def read_predictions(file: Path) -> pa.Table:
    """The rows of a file of predictions."""
    return read_manifest(file, need=list(PREDICTED))


def opened(source: Predictor | Model, name: str, manifest: Path) -> tuple[Predictor, str]:
    """The predictor and its name, of a bare predictor the given one.

    Raises ManifestError for raw photos, and for crops of another frame than the model says that it wants.
    """
    said, frame, margin = metadata(manifest), getattr(source, "frame", None), getattr(source, "margin", None)
    if isinstance(source, Model):
        one = source.open()
        frame, margin, name = one.frame, one.margin, one.name
    predictor = one.predictor if isinstance(source, Model) else source
    check_frame(manifest, frame or said.get("frame", "aligned"), said.get("margin", 0.0) if margin is None else margin)
    return predictor, name
