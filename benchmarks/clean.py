"""Does cleaning find planted label errors, and what does a student gain? Writes clean.png and clean.md beside itself.

agewise annotate work/utkface-dev.parquet --teacher recipes/teachers/pair.toml --out work/clean/pair.parquet
agewise annotate work/utkface-dev.parquet --teacher recipes/teachers/faceres.toml --out work/clean/faceres.parquet
python benchmarks/clean.py find work/clean          # precision and recall, five seeds: find.json and clean.png
python benchmarks/clean.py manifests work/clean     # held, true, noisy, cleaned, oracle
python benchmarks/clean.py train work/clean 0 1 2   # a student of each, three seeds; called again, what is missing
python benchmarks/clean.py table work/clean         # clean.md from what is there

10 % of the labels are corrupted, a third each: an age drawn from 1..100, the age of another face, 10 to 30 years off.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.data.manifest import distributions, metadata, numbers, read_manifest, write_manifest
from agewise.evaluation.rates import exact_interval
from agewise.metrics import bootstrap, errors, excesses
from agewise.teachers.cleaning.disagreement import COLUMNS, Disagreement, fit_thresholds

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

HERE, RECIPE = Path(__file__).parent, "recipes/clean.toml"
SHARE, SEEDS, HELD = 0.1, (0, 1, 2, 3, 4), 2000
KINDS = ("any age", "another's age", "10 to 30 off")
DELTAS = (1, 5, 10, 15, 20, 30, 101)
"""Bounds, in years, of the bands of how far a corrupted label is from the true one."""
MANIFESTS = ("true", "noisy", "cleaned", "oracle")
"""What a student learns from: labels as they are, 10 % corrupted, then without the dropped, or the corrupted ones."""
TEACHERS = {"pair": "the pair", "faceres": "faceres alone, which never saw UTKFace"}
VALID = Path("work/fairface-val.parquet")


def main() -> None:
    """The command line."""
    verb, *words = sys.argv[1:] or [""]
    if verb == "find" and len(words) == 1:
        find(Path(words[0]))
    elif verb == "manifests" and len(words) in (1, 2):
        manifests(Path(words[0]), int(words[1]) if words[1:] else None)
    elif verb == "train" and len(words) > 1:
        train(Path(words[0]), words[1:])
    elif verb == "table" and len(words) == 1:
        table(Path(words[0]))
    else:
        sys.exit(__doc__)


def corrupted(true: Floats, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Labels (N,), SHARE of them corrupted, and the kind of each (N,), -1 where it is as it was.

    An age drawn, or another face's, that is the true one by chance is no corruption.
    """
    rng = np.random.default_rng(seed)
    labels, kinds = true.copy(), np.full(len(true), -1)
    rows = rng.permutation(len(true))[: round(SHARE * len(true))]
    kinds[rows] = np.arange(len(rows)) % len(KINDS)
    for row in rows:
        if kinds[row] == 0:
            labels[row] = rng.integers(1, 101)
        elif kinds[row] == 1:
            labels[row] = true[rng.integers(len(true))]
        else:
            steps = np.concatenate([np.arange(-30, -9), np.arange(10, 31)])
            labels[row] = true[row] + rng.choice(steps[(true[row] + steps >= 1) & (true[row] + steps <= 100)])
    kinds[labels == true] = -1
    return labels, kinds


def find(folder: Path) -> None:
    """Precision and recall of the rule and of two baselines, by teacher; find.json, and the curves of the first one."""
    found: dict[str, Any] = {}
    for teacher in TEACHERS:
        rows = read_manifest(folder / f"{teacher}.parquet", columns=list(COLUMNS))
        found[teacher] = [scored(rows, seed, folder if teacher == "pair" else None) for seed in SEEDS]
        for name, one in found[teacher][0]["methods"].items():
            print(teacher, name, {key: round(value, 3) for key, value in one.items()})
    (folder / "find.json").write_text(json.dumps(found, indent=1) + "\n")


def scored(rows: pa.Table, seed: int, draw_to: Path | None) -> dict[str, Any]:
    """All that is measured of one seed; the curves are drawn of the first."""
    true = numbers(rows, "age")
    labels, kinds = corrupted(true, seed)
    bad, delta = kinds >= 0, np.abs(labels - true)
    scores = doubts(rows.set_column(rows.schema.get_field_index("age"), "age", pa.array(labels)), labels)
    rule = scores["agewise clean"] > 0
    if draw_to is not None and seed == SEEDS[0]:
        draw(scores, bad, int(rule.sum()), HERE / "clean.png")
    methods = {}
    for name, score in scores.items():
        hit = np.zeros(len(bad), dtype=bool)
        hit[np.argsort(-score, kind="stable")[: int(rule.sum())]] = True  # as many rows as the rule drops
        methods[name] = {"AP": average_precision(score, bad), **precision_recall(hit, bad)}
    methods["label 20 years from the mean"] = precision_recall(scores["distance to the mean"] > 20, bad)
    bands = list(pairwise(DELTAS))
    return {
        "rows": len(bad),
        "corrupted": int(bad.sum()),
        "dropped": int(rule.sum()),
        "methods": methods,
        "bands": [counts(rule, bad & (delta >= low) & (delta < high)) for low, high in bands],
        "kinds": [counts(rule, kinds == kind) for kind in range(len(KINDS))],
        "lost": [
            counts(rule, ~bad & (true >= low) & (true < low + 10 + 100 * (low == 80))) for low in range(0, 90, 10)
        ],
    }


def doubts(rows: pa.Table, labels: Floats) -> dict[str, Floats]:
    """How much each label is in doubt (N,), by method; that of the rule is above 0 where it drops."""
    rule = Disagreement()
    fitted = fit_thresholds([rows], rule.near)
    assert fitted is not None
    value, _ = fitted.confidence(rows)
    ages = distributions(rows)
    nearest = np.minimum(np.round(labels), 100).astype(np.intp)
    given = ages.probs[np.arange(len(labels)), nearest]
    usual = np.bincount(nearest, given, 101) / np.maximum(1, np.bincount(nearest, minlength=101))
    return {
        "agewise clean": np.where(np.isnan(value), -100.0, rule.gravity(value)),
        "confident learning, each age a class": -given / usual[nearest],
        "probability of the label": -given,
        "distance to the mean": np.abs(labels - ages.mean),
    }


def precision_recall(hit: Flags, bad: Flags) -> dict[str, float]:
    """Both, with exact 95 % intervals."""
    both, dropped, all_bad = int((hit & bad).sum()), int(hit.sum()), int(bad.sum())
    low, high = exact_interval(both, dropped)
    least, most = exact_interval(both, all_bad)
    precision, recall = both / dropped, both / all_bad
    return {
        "precision": precision,
        "precision low": low,
        "precision high": high,
        "recall": recall,
        "recall low": least,
        "recall high": most,
    }


def average_precision(score: Floats, bad: Flags) -> float:
    """The area below the curve of precision over recall, in steps."""
    order = bad[np.argsort(-score, kind="stable")]
    precision = order.cumsum() / np.arange(1, len(order) + 1)
    return float((precision * order).sum() / order.sum())


def counts(hit: Flags, among: Flags) -> list[int]:
    """How many were hit, and of how many."""
    return [int((hit & among).sum()), int(among.sum())]


def draw(scores: Mapping[str, Floats], bad: Flags, dropped: int, path: Path) -> None:
    """Precision over recall of each method, and where the rule stands."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    colours = ("#b3541e", "#7a9e5f", "#33608c", "#8a929b")
    for (name, score), colour in zip(scores.items(), colours, strict=True):
        order = bad[np.argsort(-score, kind="stable")]
        precision = order.cumsum() / np.arange(1, len(order) + 1)
        recall = order.cumsum() / order.sum()
        axes.plot(recall[20:], precision[20:], color=colour, linewidth=1.8, label=f"{name}")
        if name == "agewise clean":
            axes.plot(recall[dropped - 1], precision[dropped - 1], "o", color=colour, markersize=7)
            place = recall[dropped - 1] + 0.02, precision[dropped - 1] + 0.02
            axes.annotate(f"default: {dropped} rows dropped", place, fontsize=9, color=colour)
    axes.axhline(bad.mean(), color="#bbb", linewidth=1, linestyle=":")
    axes.annotate("dropped at random", (0.01, bad.mean() + 0.015), fontsize=9, color="#666")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall of the corrupted labels", ylabel="precision (a lower bound)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 0.12), fontsize=9)
    figure.savefig(path, dpi=150)


def manifests(folder: Path, limit: int | None = None) -> None:
    """Held-out faces with true labels, and what students learn from, crops of 128 pixels; `limit` faces at the most."""
    from heads import SIDE, smaller

    from agewise.data.selecting import select
    from agewise.faces.image import encode_jpeg
    from agewise.teachers.cleaning.clean import clean

    source = folder / "pair.parquet"
    rows = read_manifest(source)
    place = rows.column_names.index("image")
    small = [{"bytes": encode_jpeg(smaller(image["bytes"]), 95), "path": None} for image in rows["image"].to_pylist()]
    rows = rows.set_column(place, "image", pa.array(small, rows.schema.field("image").type))
    held = held_out(source, HELD if limit is None else limit // 5)
    learned = np.flatnonzero(~held)[:limit]
    said = {**metadata(source), "size": SIDE}
    plain = rows.drop_columns(["age_probs", "agreement"])  # a student would learn from them in place of the label
    write_manifest(plain.filter(pa.array(held)), folder / "held.parquet", said)
    mine, true = rows.take(pa.array(learned)), numbers(rows, "age")[learned]
    labels, kinds = corrupted(true, 0)
    at = rows.column_names.index("age")
    noisy = mine.set_column(at, "age", pa.array(labels))
    write_manifest(plain.take(pa.array(learned)), folder / "true.parquet", said)
    write_manifest(noisy.drop_columns(["age_probs", "agreement"]), folder / "noisy.parquet", said)
    write_manifest(
        noisy.filter(pa.array(kinds < 0)).drop_columns(["age_probs", "agreement"]), folder / "oracle.parquet", said
    )
    write_manifest(noisy, folder / "annotated.parquet", said)
    (folder / "judged.parquet").unlink(missing_ok=True)
    found = clean(folder / "annotated.parquet", folder / "judged.parquet", names=["disagreement"], threads=1)
    select(folder / "judged.parquet", folder / "kept.parquet", "dropped", [None])
    kept = read_manifest(folder / "kept.parquet").drop_columns(["age_probs", "agreement", "dropped"])
    write_manifest(kept, folder / "cleaned.parquet", said)
    print(
        f"{held.sum()} held out, {len(learned)} to learn from, {(kinds >= 0).sum()} corrupted, {found.dropped} dropped"
    )


def held_out(manifest: Path, least: int) -> Flags:
    """At least so many rows, at random; the same picture (agewise audit) is on one side only."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    from agewise.data.audit.leak_checks import find_twins
    from agewise.data.audit.scan import read_pictures, read_rows

    rows = read_rows([manifest], [])
    twins = find_twins(rows, read_pictures(rows))
    a, b = np.array([(pair.a, pair.b) for pair in twins], dtype=np.intp).reshape(-1, 2).T
    count, group = connected_components(
        coo_array((np.ones(len(a)), (a, b)), shape=(len(rows), len(rows))), directed=False
    )
    order = np.random.default_rng(0).permutation(count)
    sizes = np.bincount(group)[order].cumsum()
    return np.isin(group, order[: int(np.searchsorted(sizes, least)) + 1])


def train(folder: Path, words: list[str]) -> None:
    """Trains and scores what has no predictions yet: seeds, `epochs=1` and names of MANIFESTS (all but oracle)."""
    import torch
    from heads import chunks, smaller

    from agewise.faces.align import Window, cut
    from agewise.training.config import read_recipe
    from agewise.training.fit import train as run
    from agewise.training.module import channels_last
    from agewise.training.run_folder import load_run

    torch.set_num_threads(1)
    seeds = [int(word) for word in words if word.isdigit()]
    epochs = [f"training.{word}" for word in words if word.startswith("epochs=")]
    chosen = [name for name in MANIFESTS if name in words] or MANIFESTS[:3]
    model = read_recipe(RECIPE).model
    window = Window(**model.window.model_dump())
    seen = {}
    for name, path in sets(folder).items():
        images = read_manifest(path, columns=["image"])["image"].to_pylist()
        seen[name] = cut(np.stack([smaller(image["bytes"]) for image in images]), window, model.size)
    for seed in seeds:
        for name in chosen:
            own = [f"name={name}-{seed}", f"runs={folder / 'runs'}", f"data.train={folder / name}.parquet"]
            recipe = read_recipe(RECIPE, [*own, f"training.seed={seed}", *epochs])
            target = recipe.folder / "predictions.npz"
            if target.exists():
                continue
            trained = load_run(run(recipe, progress=False))
            channels_last(trained)
            probs = {}
            for given, pictures in seen.items():
                with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):  # as in training
                    parts = [trained.probs(torch.from_numpy(part)).float() for part in chunks(pictures)]
                probs[given] = torch.cat(parts).numpy()
            save: Any = np.savez  # whose stub takes the names of arrays for its own options
            save(target, **probs)
            print(recipe.name, {n: round(float(missed(folder, n, probs[n]).mean()), 3) for n in probs}, flush=True)


def sets(folder: Path) -> dict[str, Path]:
    """What a student is scored on."""
    return {"held": folder / "held.parquet", "fairface": VALID}


def missed(folder: Path, name: str, probs: NDArray[Any]) -> Floats:
    """Years (N,) by which each mean age misses: the age, or its group."""
    rows = read_manifest(sets(folder)[name], columns=["age", "age_low", "age_high"])
    ages = AgeDistribution(probs).mean
    true = numbers(rows, "age")
    if not np.isnan(true).any():
        return np.abs(errors(ages, true))
    return excesses(ages, numbers(rows, "age_low"), numbers(rows, "age_high"))


def table(folder: Path) -> None:
    """Writes clean.md from find.json and from the predictions that are there."""
    text = (HERE / "clean.template.md").read_text()
    found = json.loads((folder / "find.json").read_text())
    first = found["pair"][0]
    said: dict[str, str] = {
        "seeds": str(len(SEEDS)),
        "rows": f"{first['rows']:,}",
        "corrupted": f"{first['corrupted']:,}",
        "methods": "\n".join(method_lines(found)),
        "bands": "\n".join(band_lines(found["pair"])),
        "lost": "\n".join(lost_lines(found["pair"])),
        "students": "\n".join(student_lines(folder)),
        "passes": passes(folder),
    }
    for key, value in said.items():
        text = text.replace(f"<<{key}>>", value)
    (HERE / "clean.md").write_text(text)
    print(HERE / "clean.md")


def method_lines(found: Mapping[str, Any]) -> list[str]:
    """Precision and recall of each method: the first seed with its interval, and the spread over all."""
    lines = ["| teacher | method | dropped | precision | recall | average precision |", "|---|---|---|---|---|---|"]
    for teacher, runs in found.items():
        for name, one in runs[0]["methods"].items():
            cells = []
            for key in ("precision", "recall"):
                every = [run["methods"][name][key] for run in runs]
                low, high = one[f"{key} low"], one[f"{key} high"]
                cells.append(f"{one[key]:.3f} [{low:.3f}, {high:.3f}]; seeds {min(every):.3f} to {max(every):.3f}")
            areas = [run["methods"][name]["AP"] for run in runs if "AP" in run["methods"][name]]
            area = f"{np.mean(areas):.3f} ± {np.std(areas, ddof=1):.3f}" if areas else "-"
            dropped = str(runs[0]["dropped"]) if areas else "its own"
            lines.append(f"| {TEACHERS[teacher]} | {name} | {dropped} | {' | '.join(cells)} | {area} |")
    return lines


def band_lines(runs: list[dict[str, Any]]) -> list[str]:
    """Recall by how far off a label is, and by kind of corruption, over all seeds."""
    lines = ["| corrupted labels | recall | of |", "|---|---|---|"]
    names = [f"{low} to {high - 1} years off" for low, high in pairwise(DELTAS)]
    names[-1] = f"{DELTAS[-2]} years off and more"
    for key, titles in (("bands", names), ("kinds", KINDS)):
        for index, title in enumerate(titles):
            lines.append(share_line(title, [run[key][index] for run in runs]))
    return lines


def lost_lines(runs: list[dict[str, Any]]) -> list[str]:
    """Share of the labels that were left alone and dropped all the same, by true age."""
    lines = ["| true age | dropped | of |", "|---|---|---|"]
    titles = [f"{low}-{low + 9}" if low < 80 else "80+" for low in range(0, 90, 10)]
    return lines + [share_line(title, [run["lost"][index] for run in runs]) for index, title in enumerate(titles)]


def share_line(title: str, each: list[list[int]]) -> str:
    """Mean share over the seeds, the range of them, and faces of one seed."""
    shares = [100 * hit / of for hit, of in each if of]
    return f"| {title} | {np.mean(shares):.1f} % ({min(shares):.1f} to {max(shares):.1f}) | {each[0][1]} |"


def passes(folder: Path) -> str:
    """How often the students that are there saw each face."""
    recipes = [json.loads(path.read_text()) for path in sorted((folder / "runs").glob("*/recipe.json"))]
    return " or ".join(str(n) for n in sorted({recipe["training"]["epochs"] for recipe in recipes})) or "no"


def student_lines(folder: Path) -> list[str]:
    """Each student's error on both sets, and what it gains on the one of noisy labels, with intervals over faces."""
    values: dict[str, dict[str, list[Floats]]] = {}
    for name in MANIFESTS:
        for path in sorted((folder / "runs").glob(f"{name}-*/predictions.npz")):
            with np.load(path) as kept:
                for given in sets(folder):
                    values.setdefault(name, {}).setdefault(given, []).append(missed(folder, given, kept[given]))
    if "noisy" not in values:
        return ["*No student was trained yet.*"]
    heads = "| learned from | faces | seeds | held-out MAE | against noisy | fairface-val excess | against noisy |"
    lines = [heads, "|---|---|---|---|---|---|---|"]
    for name, of in values.items():
        cells = []
        for given in sets(folder):
            runs, base = of[given], values["noisy"][given]
            means = [float(run.mean()) for run in runs]
            spread = f" ± {np.std(means, ddof=1):.2f}" if len(means) > 1 else ""
            cells.append(f"{np.mean(means):.2f}{spread}")
            pairs = min(len(runs), len(base))  # the same seeds
            gain = np.mean(runs[:pairs], axis=0) - np.mean(base[:pairs], axis=0)
            low, high = bootstrap(gain, np.mean) or (np.nan, np.nan)
            cells.append("-" if name == "noisy" else f"{gain.mean():+.2f} [{low:+.2f}, {high:+.2f}]")
        faces = read_manifest(folder / f"{name}.parquet", columns=["age"]).num_rows
        lines.append(f"| {name} | {faces:,} | {len(of['held'])} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
