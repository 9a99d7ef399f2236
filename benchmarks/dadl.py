"""How four networks are read out: DADL's kernel regression beside the plain expectation. Writes benchmarks/dadl.md.

python benchmarks/dadl.py manifests         # what is trained on and looked at, below work/dadl
python benchmarks/dadl.py train [NAME=VALUE ...]  # four members of recipes/dadl.toml, each without another fold
python benchmarks/dadl.py features [WHICH ...]    # the last layers of all faces: trained, folds (all if none)
python benchmarks/dadl.py table             # dadl.md from what is there
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import spearmanr

from agewise.ages import AgeDistribution
from agewise.data.manifest import distributions, metadata, numbers, read_manifest, write_manifest
from agewise.evaluation.groups import BANDS, bands_of
from agewise.metrics import bootstrap, covered, crps_values, errors, excesses, inside_group
from agewise.teachers.layers import read_distributions
from agewise.teachers.readout import APART, Bank, kernel_weights, read_out_features

SOURCE, WORK, RUNS, HERE = Path("work"), Path("work/dadl"), Path("runs/dadl"), Path(__file__).parent
FOLDS, FACES = 4, 10668
"""Each network learns from three of four folds of so many faces: about 8,000."""
ENSEMBLES = {"trained": (Path("runs/heads"), "dldl-?,sord-?"), "folds": (RUNS, "general-*")}
"""Four networks each."""
TITLES = {
    "trained": "Four networks of benchmarks/heads.py: DLDL and SORD, two seeds each, the same faces, 96 pixels",
    "folds": "Four networks of recipes/dadl.toml: another fold left out each, 64 pixels",
}
SETS: dict[str, tuple[str, slice]] = {
    "seen": ("fairface-train.fair", slice(0, 6000)),
    "utkface": ("utkface-dev", slice(0, None)),
    "fairface-val": ("fairface-val", slice(0, None)),
    "new": ("fairface-train.fair", slice(12000, 18000)),
}
"""Banks of training faces: `seen` are among those drawn from in training (`folds`: by three of four networks each)."""
TESTS = ("utkface", "fairface-val")
UTKFACE = 3000
"""So many faces of utkface-dev, evenly spread."""
ALPHAS = (30.0, 100.0, 300.0, 1000.0, 3000.0)
Floats = NDArray[np.float64]


def main() -> None:
    """The command line."""
    verb, *words = sys.argv[1:] or [""]
    if verb == "manifests" and not words:
        manifests()
    elif verb == "train":
        train(words)
    elif verb == "features" and set(words) <= set(ENSEMBLES):
        features(words or list(ENSEMBLES))
    elif verb == "table" and not words:
        table()
    else:
        sys.exit(__doc__)


def manifests() -> None:
    """The faces of SETS with their pictures as they are, and the training faces with soft labels as annotators."""
    for name, (source, chosen) in SETS.items():
        target = WORK / f"{name}.parquet"
        if target.exists():
            continue
        rows = read_manifest(SOURCE / f"{source}.parquet")
        if name == "utkface":
            rows = rows.take(pa.array(np.linspace(0, len(rows) - 1, UTKFACE).round().astype(int)))
        write_manifest(rows[chosen], target, metadata(SOURCE / f"{source}.parquet"))
        print(target, len(rows[chosen]))
    annotated = WORK / "train.parquet"
    if not annotated.exists():
        crops = SOURCE / "heads" / "train.parquet"  # those of fairface-train.fair at 128 pixels (benchmarks/heads.py)
        rows = read_manifest(crops)[:FACES]
        soft = distributions(rows)
        rows = rows.drop_columns(["age_probs", "agreement"])
        rows = rows.append_column("age", pa.array(soft.mean)).append_column("age_std", pa.array(soft.std))
        write_manifest(rows, annotated, {**metadata(crops), "step": "annotators"})
        print(annotated, len(rows))


def train(overrides: Sequence[str]) -> None:
    """Four members; called again, it trains what is missing."""
    from agewise.teachers.recipe import read_teacher_recipe
    from agewise.teachers.train import train_teacher

    start = time.perf_counter()
    contract = train_teacher(read_teacher_recipe("recipes/teachers/dadl.toml", overrides), progress=False)
    print(f"{contract}: {time.perf_counter() - start:.0f} s", flush=True)


def features(names: Sequence[str]) -> None:
    """The last layers of every ensemble whose networks are there, on every set; a finished file is not made again."""
    import torch

    from agewise.teachers.features import open_members, write_features

    torch.set_num_threads(1)
    for name in names:
        folder, chosen = ENSEMBLES[name]
        if not folder.is_dir():
            print(f"{name}: no runs in {folder} yet")
            continue
        members = open_members(folder, chosen)
        for given in SETS:
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16):  # as in training
                rows, left = write_features(members, WORK / f"{given}.parquet", place(name, given), half=True)
            took = time.perf_counter() - start
            print(f"{place(name, given)}: {rows} faces, {len(left)} left out, {took:.0f} s", flush=True)


def place(ensemble: str, given: str) -> Path:
    """Where an ensemble's features of a set are."""
    return WORK / ensemble / f"{given}.features.parquet"


@dataclass(frozen=True, slots=True)
class Way:
    """One way of reading an age from four networks: the ages of both test sets, and what else is known of it."""

    name: str
    utkface: AgeDistribution
    fairface: AgeDistribution
    decision: Callable[[AgeDistribution], Floats] = lambda ages: ages.mean
    neighbours: float | None = None


def ways(ensemble: str) -> list[Way]:
    """The ways to be compared, the expectation first."""
    banks = {name: Bank.of_features(place(ensemble, name)) for name in ("seen", "new")}
    utkface, fairface = (read_out_features(place(ensemble, name), banks["seen"])[0] for name in TESTS)
    found = [
        Way("expectation", utkface, fairface),
        Way("median", utkface, fairface, lambda ages: ages.median),
        Way("argmax", utkface, fairface, lambda ages: ages.mode),
    ]
    for name, bank in banks.items():
        for alpha in ALPHAS:
            steep = Bank(bank.seen, bank.labels, alpha, bank.models)
            read = [steep.read_out(ages) for ages in (utkface, fairface)]
            found.append(Way(f"kernel {alpha:g}, {name}", read[0], read[1], neighbours=counted(steep, utkface)))
    return found


def counted(bank: Bank, given: AgeDistribution) -> float:
    """How many training faces decide, 1 / sum of squared weights: the median over every fifth face."""
    blocks = kernel_weights(bank.seen.probs, given.probs[::5], bank.alpha)
    return float(np.median(np.concatenate([1 / (weights**2).sum(axis=1) for weights in blocks])))


def table() -> None:
    """Writes dadl.md from the features that are there."""
    sections = []
    for name, says in TITLES.items():
        if all(place(name, given).exists() for given in SETS):
            found, labels = ways(name), {given: read_distributions(place(name, given))[0] for given in TESTS}
            sections += [f"## {says}", scores(found, labels), by_band(found, labels["utkface"]), *facts(name, labels)]
    text = (HERE / "dadl.template.md").read_text().replace("<<results>>", "\n\n".join(sections))
    (HERE / "dadl.md").write_text(text)
    print(HERE / "dadl.md")


def scores(found: Sequence[Way], labels: dict[str, pa.Table]) -> str:
    """The main table: scores, and what each way adds to the expectation's error on the same faces."""
    head = [
        "way",
        "neighbours",
        "MAE",
        "against expectation",
        "CRPS",
        "coverage",
        "excess",
        "against expectation",
        "exact group",
    ]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    true = numbers(labels["utkface"], "age")
    groups = numbers(labels["fairface-val"], "age_low"), numbers(labels["fairface-val"], "age_high")
    base: list[Floats] = []
    for way in found:
        pred = way.decision(way.utkface), way.decision(way.fairface)
        values = [np.abs(errors(pred[0], true)), excesses(pred[1], *groups)]
        base, whole = base or values, way.name not in ("median", "argmax")  # whose distributions are the expectation's
        cells = [
            way.name,
            "" if way.neighbours is None else f"{way.neighbours:,.0f}",
            interval(values[0]),
            "" if way is found[0] else interval(values[0] - base[0], "+"),
            f"{crps_values(way.utkface, true).mean():.2f}" if whole else "",
            f"{100 * covered(way.utkface.interval(), true).mean():.0f} %" if whole else "",
            interval(values[1]),
            "" if way is found[0] else interval(values[1] - base[1], "+"),
            f"{100 * inside_group(pred[1], *groups).mean():.1f} %",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def interval(values: Floats, sign: str = "") -> str:
    """The mean and its 95 % interval over faces."""
    bounds = bootstrap(values)
    assert bounds is not None
    return f"{values.mean():{sign}.2f} [{bounds[0]:{sign}.2f}, {bounds[1]:{sign}.2f}]"


def by_band(found: Sequence[Way], labels: pa.Table) -> str:
    """MAE (bias) on utkface by band of age; of the kernel at the published alpha, what it adds to the expectation's."""
    true = numbers(labels, "age")
    bands = bands_of(true)
    shown = [way for way in found if way.name == "expectation" or way.name.startswith("kernel 1000,")]
    names = [name for name in BANDS if (bands == name).sum() >= 30]
    lines = [f"| MAE (bias) at | {' | '.join(names)} |", "|" + "---|" * (len(names) + 1)]
    lines.append(f"| faces | {' | '.join(str(int((bands == name).sum())) for name in names)} |")
    for way in shown:
        error = errors(way.decision(way.utkface), true)
        cells = [f"{np.abs(error[bands == name]).mean():.1f} ({error[bands == name].mean():+.1f})" for name in names]
        lines.append(f"| {way.name} | {' | '.join(cells)} |")
        if way is not found[0]:
            added = np.abs(error) - np.abs(errors(found[0].decision(found[0].utkface), true))
            paired = [interval(added[bands == name], "+") for name in names]
            lines.append(f"| against expectation | {' | '.join(paired)} |")
    return "\n".join(lines)


def facts(ensemble: str, labels: dict[str, pa.Table]) -> list[str]:
    """What the spread of the argmaxes says, and what the readout costs."""
    bank = Bank.of_features(place(ensemble, "seen"))
    mean, _, spread = read_out_features(place(ensemble, "utkface"), bank)
    wrong = np.abs(errors(mean.mean, numbers(labels["utkface"], "age")))
    flagged = spread >= APART
    start = time.process_time()  # not the clock: the core may be shared
    bank.read_out(mean)
    took = 1e3 * (time.process_time() - start) / len(mean)
    rank = spearmanr(spread, wrong).statistic
    milder = (spread * (1 - 1 / len(bank.models)) ** 0.5 >= APART).mean()  # divided by their number, not by one less
    flags = f"{APART:g} years or more in {100 * flagged.mean():.0f} % of utkface's faces ({100 * milder:.0f} % with n)"
    means = f"{wrong[flagged].mean():.2f} on those and {wrong[~flagged].mean():.2f} on the others"
    other = Bank.of_features(place(ensemble, "new"))
    true = numbers(labels["utkface"], "age")
    apart = np.abs(errors(other.read_out(mean).mean, true)) - np.abs(errors(bank.read_out(mean).mean, true))
    oldest = f"Oldest labels of the two: {bank.ages.max():.1f} and {other.ages.max():.1f}"
    return [
        f"New less seen, MAE on utkface at alpha {bank.alpha:g}: {interval(apart, '+')}. {oldest}.",
        f"Std (n - 1) of the four argmaxes: {flags}.",
        f"The expectation's MAE is {means} (rank correlation with the error {rank:.2f}).",
        f"The readout with {len(bank.seen):,} training faces takes {took:.2f} ms of processor time a face.",
    ]


if __name__ == "__main__":
    main()
