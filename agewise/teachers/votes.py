"""The votes of an ensemble's members as one column: each one's distribution in about 50 bytes instead of 404.

A row is a face: as many distributions as there are members, null for a member that was not asked, and null altogether
for a face whose votes were not kept. The column's type says its form and the number of members. On 500 faces of
FairFace and 6 members (two outside networks, four of ours), as Parquet with zstd:

| form | bytes a face | a member | most that a mean age is off | that the mean of the vote is off |
|---|---|---|---|---|
| quantised (default) | 311 | 52 | 0.044 years | 0.009 years |
| float16 | 980 | 163 | 0.002 years | 0.0005 years |
| sparse | 736 | 123 | 0.11 years | 0.05 years |
| float32 as it is | 3537 | 590 | 0 | 0 |

Quantised is the default: what it rounds away is a hundredth of the 3.8 years by which those members differ. Sparse
loses to it in every column; it is for readers that want ages and their probabilities in pairs.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import AGES

LEVELS = 254
"""Steps of a quantised distribution's largest probability; one more, by rounding, is the most that 8 bits hold."""
LEAST = 1e-4
"""Probabilities below are not kept in the sparse form, but for a distribution's largest."""

_PAIR = pa.struct([("age", pa.uint8()), ("prob", pa.float16())])
FORMS: dict[str, pa.DataType] = {
    "quantised": pa.list_(pa.uint8(), len(AGES)),
    "float16": pa.list_(pa.float16(), len(AGES)),
    "sparse": pa.list_(_PAIR),
}
"""The forms by name, and the type of one distribution in each."""


def votes_type(members: int, form: str = "quantised") -> pa.DataType:
    """The type of a column of votes. Raises ValueError where there is no such form."""
    if form not in FORMS:
        raise ValueError(f"no form of votes {form!r}; there are {', '.join(FORMS)}")
    return pa.list_(FORMS[form], members)


def votes_column(votes: NDArray[np.float32], form: str = "quantised") -> pa.Array:
    """Votes (N, M, 101), NaN where a member was not asked, as a column.

    quantised: 8 bits an age. The cumulative distribution is rounded, to steps of a 254th of the largest probability p:
        an age is wrong by at most p / 253, a mean age by at most 0.2 p years.
    float16: wrong by at most a 2048th of each probability; below 3e-8 it is 0.
    sparse: the ages of at least LEAST, in float16; what is left out is shared among them.
    """
    if votes.ndim != 3 or votes.shape[2] != len(AGES) or votes.shape[1] == 0:
        raise ValueError(f"votes have shape {votes.shape}; (N, M, {len(AGES)}) with a member or more is needed")
    kind = votes_type(votes.shape[1], form)
    asked = np.asarray(~np.isnan(votes).all(axis=2), dtype=bool)
    probs = votes[asked].astype(np.float64)
    if not np.isfinite(probs).all() or (probs < 0).any() or (probs.sum(axis=1) <= 0).any():
        raise ValueError("a vote is no distribution; finite probabilities, or NaN for all ages, are needed")
    probs /= probs.sum(axis=1, keepdims=True)
    flat = _sparse(probs, asked.ravel()) if form == "sparse" else _dense(probs, asked.ravel(), form)
    return pa.FixedSizeListArray.from_arrays(flat, type=kind, mask=pa.array(~asked.any(axis=1)))


def read_votes(column: pa.Array | pa.ChunkedArray) -> NDArray[np.float32]:
    """Votes (N, M, 101) of a column that `votes_column` made, each summing to 1; NaN where a member was not asked."""
    kind = column.type
    forms = [form for form, one in FORMS.items() if pa.types.is_fixed_size_list(kind) and kind.value_type == one]
    if not forms:
        raise ValueError(f"a column of {kind} holds no votes")
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    votes = np.full((len(array), kind.list_size, len(AGES)), np.nan, dtype=np.float32)
    kept = array.is_valid().to_numpy(zero_copy_only=False)
    members = array.flatten()  # of the faces with votes
    asked = np.zeros((len(array), kind.list_size), dtype=bool)
    asked[kept] = members.is_valid().to_numpy(zero_copy_only=False).reshape(-1, kind.list_size)
    probs = np.zeros((int(asked.sum()), len(AGES)))
    if forms == ["sparse"]:
        counts = members.drop_null().value_lengths().to_numpy()
        pairs = members.flatten()
        rows = np.repeat(np.arange(len(probs)), counts)
        probs[rows, pairs.field("age").to_numpy()] = pairs.field("prob").to_numpy()
    else:
        probs[:] = members.flatten().to_numpy().reshape(probs.shape)
    votes[asked] = probs / probs.sum(axis=1, keepdims=True)
    return votes


def _dense(probs: NDArray[np.float64], asked: NDArray[np.bool_], form: str) -> pa.Array:
    stored = _quantised(probs) if form == "quantised" else probs.astype(np.float16)
    slots = np.zeros((len(asked), len(AGES)), stored.dtype)
    slots[asked] = stored
    return pa.FixedSizeListArray.from_arrays(pa.array(slots.ravel()), type=FORMS[form], mask=pa.array(~asked))


def _quantised(probs: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Whole numbers (N, 101) in proportion to probabilities: the steps of the rounded cumulative distribution."""
    total = np.floor(LEVELS / probs.max(axis=1, keepdims=True, initial=1e-3))
    reached = np.rint(np.minimum(probs.cumsum(axis=1), 1.0) * total)
    reached[:, -1:] = total
    return np.diff(reached, axis=1, prepend=0).astype(np.uint8)


def _sparse(probs: NDArray[np.float64], asked: NDArray[np.bool_]) -> pa.Array:
    chosen = (probs >= LEAST) | (probs >= probs.max(axis=1, keepdims=True, initial=0))
    counts = np.zeros(len(asked), dtype=np.int32)
    counts[asked] = chosen.sum(axis=1)
    offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int32)
    values = [pa.array(np.nonzero(chosen)[1].astype(np.uint8)), pa.array(probs[chosen].astype(np.float16))]
    pairs = pa.StructArray.from_arrays(values, fields=list(_PAIR))
    return pa.ListArray.from_arrays(pa.array(offsets), pairs, mask=pa.array(~asked))
