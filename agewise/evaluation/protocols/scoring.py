"""The values of a protocol's metrics for predicted faces: which labels each needs, and what a failed face scores."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import AGES, SCHEMES, AgeDistribution
from agewise.data.manifest import ManifestError, distributions, numbers
from agewise.evaluation.groups import Faces
from agewise.evaluation.protocols.classes import classes_away, classes_of
from agewise.evaluation.protocols.settings import WORST, Protocol
from agewise.evaluation.robustness.scores import persons_of
from agewise.metrics import Floats, epsilon_errors, errors, excesses

NEEDS = {"epsilon_error": "age and age_std", "mae": "age", "bias": "age"}
"""The columns without which a metric is of no face; others need age_low and age_high."""


def faces_of(protocol: Protocol, table: pa.Table, where: str) -> Faces:
    """The values of the protocol's metrics of predicted faces, NaN where one is not known.

    Raises ManifestError where the first metric is known of no face; `where` says of which manifest.
    """
    failed = table["error"].is_valid().to_numpy()
    probs = np.full((len(table), len(AGES)), np.nan)
    if not failed.all():
        probs[~failed] = distributions(table.filter(pa.array(~failed))).probs
    values: dict[str, Floats] = {}
    for metric in protocol.metrics:
        known, found = _values(metric, table, probs, ~failed)
        if protocol.missing == "wrong" and metric in WORST:
            found[known & failed] = WORST[metric]
        if not np.isnan(found).all():
            values[metric] = found
    main = protocol.metrics[0]
    if not values or (protocol.kind != "matrix" and main not in values):
        needs = NEEDS.get(main, "age_low and age_high")
        raise ManifestError(f"{where}: no face to score by {main}: {needs}, and a prediction, are needed")
    scored = ~np.isnan(np.stack(list(values.values()))).all(axis=0)
    reasons = [error or "no label that the protocol scores" for error in table["error"].to_pylist()]
    dropped = np.where(scored, "", np.array(reasons, dtype=np.str_))
    return Faces(values, dropped, persons_of(table))


def _values(metric: str, table: pa.Table, probs: Floats, told: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], Floats]:
    """Which faces (N,) have the label that a metric needs, and its values (N,), NaN where there is none."""
    columns = ("mean", "age", "age_std", "age_low", "age_high")
    mean, age, std, low, high = (numbers(table, name) for name in columns)
    bounds = SCHEMES["adience"]
    actual = classes_of(np.where(np.isnan(low), age, low), np.where(np.isnan(high), age, high), bounds)
    known = {
        "epsilon_error": ~np.isnan(age + std),
        "excess": ~np.isnan(low + high) & np.isnan(age),
        "top1": actual >= 0,
        "one_off": actual >= 0,
    }.get(metric, ~np.isnan(age))
    found = np.full(len(table), np.nan)
    rows = known & told
    if not rows.any():
        return known, found
    if metric in ("top1", "one_off"):
        found[rows] = classes_away(AgeDistribution(probs[rows]), actual[rows], bounds) <= (metric == "one_off")
    elif metric == "excess":
        found[rows] = excesses(mean[rows], low[rows], high[rows])
    elif metric == "epsilon_error":
        found[rows] = epsilon_errors(mean[rows], age[rows], std[rows])
    else:
        error = errors(mean[rows], age[rows])
        found[rows] = error if metric == "bias" else abs(error)
    return known, found
