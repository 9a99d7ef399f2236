"""The error of each group if all had the same ages: a group of children is easy, and says nothing of fairness.

python benchmarks/equal_ages.py work/reports/base-utkface-dev [ethnicity]   what `agewise evaluate` wrote; a column

Directly standardised: each band's mean absolute error counts as the band does among all faces (ages 0-3, 4-9, 10-19
and so on to 70+). Brackets: 95 % bootstrap intervals, faces resampled; a band without a face is left out of a draw.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

EDGES = (4, 10, 20, 30, 40, 50, 60, 70)
DRAWS, FEWEST = 1000, 30

Floats = NDArray[np.float64]


def main(report: Path, column: str) -> None:
    """Prints a row a group, and the gap."""
    table = pq.read_table(report / "predictions.parquet", columns=["age", "mean", column])
    age = np.array(table["age"].to_pylist(), dtype=np.float64)
    error = np.abs(np.array(table["mean"].to_pylist(), dtype=np.float64) - age)
    groups = np.array([str(value) for value in table[column].to_pylist()])
    scored = ~np.isnan(error)
    age, error, groups = age[scored], error[scored], groups[scored]
    bands = np.digitize(age, EDGES)
    share = np.bincount(bands, minlength=len(EDGES) + 1) / len(bands)
    rng = np.random.default_rng(0)
    found = {}
    for group in sorted(set(groups) - {"None"}):
        rows = np.flatnonzero(groups == group)
        if len(rows) < FEWEST:
            continue
        draws = [standardised(error, bands, share, rng.choice(rows, len(rows))) for _ in range(DRAWS)]
        low, high = np.quantile(draws, [0.025, 0.975])
        found[group] = standardised(error, bands, share, rows)
        line = f"{group}: MAE {error[rows].mean():.2f}, at equal ages {found[group]:.2f} [{low:.2f}, {high:.2f}]"
        print(f"{line} ({len(rows)} faces, {age[rows].mean():.1f} years on average)")
    print(f"gap at equal ages: {max(found.values()) - min(found.values()):.2f} years")


def standardised(error: Floats, bands: NDArray[np.intp], share: Floats, rows: NDArray[np.intp]) -> float:
    """The mean error of some rows, each band weighing as it does in `share`."""
    count = np.bincount(bands[rows], minlength=len(share))
    total = np.bincount(bands[rows], weights=error[rows], minlength=len(share))
    there = count > 0
    return float((total[there] / count[there] * share[there]).sum() / share[there].sum())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "ethnicity")
