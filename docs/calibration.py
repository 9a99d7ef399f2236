"""Draws docs/calibration.png and prints the tables of docs/calibration.md.

python docs/calibration.py AGES_PREDICTIONS AGES_MANIFEST GROUPS_PREDICTIONS GROUPS_MANIFEST, the predictions being
those that `agewise evaluate` wrote of a model without calibration. A calibration is fitted on every second half of the
pictures (by a seed) or on the faces of known group, and measured on the other half of those of known age.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import SCHEMES, AgeDistribution
from agewise.data.crops import parts, read_batches
from agewise.data.manifest import distributions, metadata, numbers, read_manifest, write_manifest
from agewise.evaluation.calibration_fit import fit_calibration
from agewise.evaluation.groups import BANDS, bands_of
from agewise.evaluation.risk import best_area, risk_coverage
from agewise.faces.face import Face
from agewise.faces.quality import Quality, Rules, crop_quality
from agewise.metrics import bootstrap, crps, excesses

mpl.use("Agg")
import matplotlib.pyplot as plt

Floats = NDArray[np.float64]
HERE = Path(__file__).parent


def main(ages_file: Path, ages_manifest: Path, groups_file: Path, groups_manifest: Path, scratch: Path) -> None:
    """Prints the tables and writes the picture."""
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.6), constrained_layout=True)
    _coverage(ages_file, groups_file, scratch, axes[0], axes[1])
    print("\nAbstention: mean error of the faces kept, with 95 % intervals of the change")
    for file, manifest, every in ((groups_file, groups_manifest, 1), (ages_file, ages_manifest, 2)):
        _abstention(file, manifest, every, axes[2] if file == groups_file else None)
    figure.savefig(HERE / "calibration.png", dpi=80)


def _coverage(ages_file: Path, groups_file: Path, scratch: Path, left: plt.Axes, middle: plt.Axes) -> None:
    table = read_manifest(ages_file)
    order = np.random.default_rng(0).permutation(len(table))
    half, rest = (table.take(pa.array(np.sort(rows))) for rows in np.array_split(order, 2))
    true, ages = np.minimum(numbers(rest, "age"), 100.0), distributions(rest)
    bounds = [max(group for group in SCHEMES["fairface"] if group[0] <= age) for age in numbers(half, "age")]
    grouped = half.drop_columns(["age"])
    for column, values in zip(("age_low", "age_high"), np.array(bounds, dtype=float).T, strict=True):
        grouped = grouped.append_column(column, pa.array(values))
    files = {
        "ages of the other half": write_manifest(half, scratch / "half.parquet", metadata(ages_file)),
        "groups of the other half": write_manifest(grouped, scratch / "groups.parquet", metadata(ages_file)),
        metadata(groups_file)["manifest"]: groups_file,
    }
    print("| fitted on | ages | coverage of the 90 % interval | width | MAE | CRPS | by true age | by predicted age |")
    for number, (name, style, found) in enumerate([("nothing", "-", ages), *_fitted(files, ages)]):
        low, high = found.interval().T
        inside, width = (low <= true) & (true <= high), high - low
        by_true, by_mean = (_by_band(bands_of(values), inside, width) for values in (true, found.mean))
        share, error = _with_interval(100.0 * inside), np.abs(found.mean - true).mean()
        print(f"| {name} | {style} | {share} | {width.mean():.1f} | {error:.2f} | {crps(found, true):.2f} | ", end="")
        print(" ".join(f"{a:.0f}" for a, _ in by_true) + " | " + " ".join(f"{a:.0f}" for a, _ in by_mean) + " |")
        if number < 4:
            label = "as shipped" if style == "-" else f"calibrated, ages {style}"
            left.plot([a for a, _ in by_true], "o-", label=label)
            middle.plot([w for _, w in by_true], "o-", label=label)
    left.axhline(90, color="grey", lw=1)
    for axis, title in ((left, "Truth inside the 90 % interval (%)"), (middle, "Width of the interval (years)")):
        axis.set_xticks(range(len(BANDS)), list(BANDS), rotation=45)
        axis.set(title=title, xlabel="true age", ylim=(0, None))
        axis.legend()


def _fitted(files: dict[str, Path], ages: AgeDistribution) -> Iterator[tuple[str, str, AgeDistribution]]:
    for name, path in files.items():
        for style in (None, "expected", "response"):
            yield name, style or "kept", fit_calibration(path, style=style)(ages)  # type: ignore[arg-type]  # literals


def _by_band(bands: NDArray[np.str_], inside: NDArray[np.bool_], width: Floats) -> list[tuple[float, float]]:
    """Percent inside, and mean width, in each band."""
    return [(100 * inside[bands == band].mean(), width[bands == band].mean()) for band in BANDS]


def _with_interval(values: Floats) -> str:
    low, high = bootstrap(values) or (np.nan, np.nan)
    return f"{values.mean():.1f} [{low:.1f}, {high:.1f}]"


def _abstention(file: Path, manifest: Path, every: int, axis: plt.Axes | None) -> None:
    table, found = read_manifest(file), _qualities(manifest, every)
    chosen = table.take(pa.array(list(found)))
    ages, qualities = distributions(chosen), list(found.values())
    low, high, true = (numbers(chosen, name) for name in ("age_low", "age_high", "age"))
    error = excesses(ages.mean, low, high) if np.isnan(true).all() else np.abs(ages.mean - true)
    print(f"\n{manifest.stem}: {len(error)} faces, {error.mean():.2f} years; oracle: AURC {best_area(error):.2f}")
    doubts = {
        "predicted std": ages.std,
        "detector score": -np.array([one.score for one in qualities]),
        "face size": -np.array([one.size for one in qualities]),
        "sharpness": -np.array([one.sharpness for one in qualities]),
        **{name: np.array([abs(getattr(one, name)) for one in qualities]) for name in ("yaw", "pitch", "roll")},
    }
    print("| uncertainty | AURC | error without the worst 10 % | change | error of the worst 10 % |")
    for name, doubt in doubts.items():
        out = np.argsort(np.argsort(doubt, kind="stable")) >= 0.9 * len(doubt)
        print(f"| {name} | {risk_coverage(error, doubt)[2]:.2f} | {_kept(error, out)} |")
        if axis is not None:
            coverage, risk, _ = risk_coverage(error, doubt)
            axis.plot(100 * coverage[len(coverage) // 20 :], risk[len(risk) // 20 :], label=name)
    print("| rule | faces rejected | error without them | change | their error |")
    rules, nothing = Rules(), dict.fromkeys(("size", "sharpness", "score"), 0.0) | dict.fromkeys(_LIMITS, np.inf)
    single = {name: Rules(**(nothing | {name: getattr(rules, name)})) for name in nothing}
    for name, rule in (*single.items(), ("all of them", rules)):
        out = np.array([rule.reason(one, age) is not None for one, age in zip(qualities, ages, strict=True)])
        said = f"{name} {getattr(rules, name):g}" if name in nothing else name
        print(f"| {said} | {out.sum()} ({out.mean():.2%}) | {_kept(error, out)} |")
    if axis is not None:
        axis.set(title="Years outside the age group", xlabel=f"faces judged (%), {manifest.stem}", ylim=(0, None))
        axis.legend()


_LIMITS = ("yaw", "pitch", "roll", "std")


def _kept(error: Floats, out: NDArray[np.bool_]) -> str:
    """Error of the faces kept, its change with a bootstrap interval, and the error of the others."""
    if out.sum() < 3:
        return f"{error[~out].mean():.2f} | - | -"
    rng = np.random.default_rng(0)
    rows = rng.integers(len(error), size=(1000, len(error)))
    changes = [error[row][~out[row]].mean() - error[row].mean() for row in rows]
    low, high = np.quantile(changes, [0.025, 0.975])
    change = error[~out].mean() - error.mean()
    return f"{error[~out].mean():.2f} | {change:+.2f} [{low:+.2f}, {high:+.2f}] | {error[out].mean():.1f}"


def _qualities(manifest: Path, every: int) -> dict[int, Quality]:
    """The quality of every so many-th row."""
    found: dict[int, Quality] = {}
    first = 0
    for table in parts(manifest):
        rows = np.arange(-first % every, len(table), every)
        for read in read_batches(table.take(pa.array(rows)), manifest.parent, 64):
            chosen, rows = first + rows[: len(read.rows)][read.readable], rows[len(read.rows) :]
            said = (
                read.rows.filter(pa.array(read.readable))[name].to_pylist() for name in ("box", "landmarks", "score")
            )
            for row, crop, box, points, score in zip(chosen.tolist(), read.crops, *said, strict=True):
                face = Face(tuple(box), score, np.array(points).reshape(5, 2))  # type: ignore[arg-type]  # of four
                found[row] = crop_quality(crop, face)
        first += len(table)
    return found


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        main(*(Path(name) for name in sys.argv[1:5]), Path(folder))
