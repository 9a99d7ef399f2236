"""Every head and loss with one backbone, the same faces, budget and seeds: benchmarks/heads.md and heads.png.

python benchmarks/heads.py run 0 1 2  # trains what is missing of these seeds: 19 methods, 100 s each on one thread
python benchmarks/heads.py table      # the table and the figure from what is there
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.data.manifest import metadata, numbers, read_manifest, write_manifest
from agewise.evaluation.comparison.rank_figure import draw
from agewise.evaluation.comparison.significance import Ranking, rank
from agewise.faces.align import Window, cut
from agewise.faces.image import encode_jpeg
from agewise.metrics import covered, crps_values, errors, excesses, inside_group, within

WORK, RUNS, HERE = Path("work"), Path("runs/heads"), Path(__file__).parent
SIDE = 128
"""Pixels of a stored crop's side: the networks see 96 pixels of its window."""
SEEDS = (0, 1, 2)
METHODS: dict[str, list[str]] = {
    "DEX": ["loss.name=cross-entropy", "loss.hard=true"],
    "DLDL": ["loss.name=distribution"],
    "DLDL-v2": ["loss.name=distribution", "loss.mean_weight=1.0"],
    "mean-variance": ["loss.name=mean-variance"],
    "mean-residue": ["loss.name=mean-residue"],
    "SORD": ["loss.name=sord"],
    "unimodal": ["loss.name=unimodal"],
    "L1": ["model.head=regression", "loss.name=l1"],
    "L2": ["model.head=regression", "loss.name=l2"],
    "smooth L1": ["model.head=regression", "loss.name=smooth-l1"],
    "L2, normalised": ["model.head={name='regression',normalised=true}", "loss.name=l2", "loss.unit=100.0"],
    "smooth epsilon": ["model.head=regression", "loss.name=smooth-epsilon"],
    "Gaussian": ["model.head=gaussian", "loss.name=beta-nll"],
    "OR-CNN": ["model.head=ordinal", "loss.name=ordinal"],
    "CORAL": ["model.head=coral", "loss.name=ordinal"],
    "CORN": ["model.head=corn", "loss.name=corn"],
    "DRF": ["model.head=forest", "loss.name=tree-squares"],
    "LDLF": ["model.head=label-forest", "loss.name=tree-likelihood"],
    "nine groups": ["model.head={name='groups',scheme='fairface'}", "loss.name=cross-entropy"],
}
"""Overrides of recipes/heads.toml, by the method's name in the literature."""


def main() -> None:
    """The command line."""
    verb, *seeds = sys.argv[1:] or [""]
    if verb == "run" and seeds and all(seed.isdigit() for seed in seeds):
        run([int(seed) for seed in seeds])
    elif verb == "table" and not seeds:
        table()
    else:
        sys.exit(__doc__)


def run(seeds: list[int]) -> None:
    """Trains and scores every method that has no scores yet, a seed at a time."""
    import torch

    from agewise.training.config import read_recipe
    from agewise.training.fit import train
    from agewise.training.module import channels_last
    from agewise.training.run_folder import load_run

    torch.set_num_threads(1)
    shrink()
    model = read_recipe("recipes/heads.toml").model
    window = Window(**model.window.model_dump())
    pictures = {name: cut(crops(name), window, model.size) for name in SETS}
    labels = {name: read_manifest(WORK / f"{name}.parquet", columns=COLUMNS) for name in SETS}
    for seed, (name, overrides) in itertools.product(seeds, METHODS.items()):
        folder = RUNS / f"{slug(name)}-{seed}"
        if (folder / "predictions.npz").exists():
            continue
        recipe = read_recipe("recipes/heads.toml", [*overrides, f"name={folder.name}", f"training.seed={seed}"])
        trained = load_run(train(recipe, progress=False))
        channels_last(trained)
        probs = {}
        for given, seen in pictures.items():
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):  # as in training
                probs[given] = torch.cat([trained.probs(torch.from_numpy(part)) for part in chunks(seen)]).numpy()
        save: Any = np.savez  # whose stub takes the names of arrays for its own options
        save(folder / "predictions.npz", **probs)
        scores = {given: score(AgeDistribution(probs[given]), rows) for given, rows in labels.items()}
        print(
            folder.name, json.dumps({key: round(value, 3) for part in scores.values() for key, value in part.items()})
        )
        sys.stdout.flush()


COLUMNS = ["age", "age_low", "age_high", "ethnicity"]
SETS = ("utkface-dev", "fairface-val")


def shrink() -> None:
    """The training crops at SIDE pixels: decoding 256 would cost as much as training on 64."""
    target = WORK / "heads" / "train.parquet"
    source = WORK / "fairface-train.fair.parquet"
    if target.exists():
        return
    rows = read_manifest(source)
    small = [{"bytes": encode_jpeg(smaller(image["bytes"]), 95), "path": None} for image in rows["image"].to_pylist()]
    place = rows.column_names.index("image")
    rows = rows.set_column(place, "image", pa.array(small, rows.schema.field("image").type))
    write_manifest(rows, target, {**metadata(source), "size": SIDE})


def smaller(data: bytes) -> NDArray[np.uint8]:
    """A stored crop at SIDE pixels."""
    crop = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert crop is not None
    return np.asarray(cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def crops(name: str) -> NDArray[np.uint8]:
    """All crops of a manifest at SIDE pixels (N, SIDE, SIDE, 3)."""
    rows = read_manifest(WORK / f"{name}.parquet", columns=["image"])
    return np.stack([smaller(image["bytes"]) for image in rows["image"].to_pylist()])


def chunks(pictures: NDArray[np.uint8], size: int = 128) -> Iterator[NDArray[np.uint8]]:
    """The pictures in batches."""
    yield from (pictures[start : start + size] for start in range(0, len(pictures), size))


def score(ages: AgeDistribution, rows: pa.Table) -> dict[str, float]:
    """The scores of a set: with exact ages, or with groups."""
    true = numbers(rows, "age")
    if not np.isnan(true).all():
        return {
            "MAE": float(np.abs(errors(ages.mean, true)).mean()),
            "MAE of median": float(np.abs(errors(ages.median, true)).mean()),
            "CS@5": float(within(ages.mean, true, 5).mean()),
            "CRPS": float(crps_values(ages, true).mean()),
            "coverage": float(covered(ages.interval(), true).mean()),
        }
    low, high = numbers(rows, "age_low"), numbers(rows, "age_high")
    return {
        "excess": float(excesses(ages.mean, low, high).mean()),
        "exact group": float(inside_group(ages.mean, low, high).mean()),
    }


def table() -> None:
    """Writes heads.md and heads.png from the predictions that are there."""
    rows = {name: read_manifest(WORK / f"{name}.parquet", columns=COLUMNS) for name in SETS}
    scores: dict[str, list[dict[str, float]]] = {}
    blocks: dict[str, list[NDArray[np.float64]]] = {}
    for name, seed in itertools.product(METHODS, SEEDS):
        path = RUNS / f"{slug(name)}-{seed}" / "predictions.npz"
        if not path.exists():
            continue
        with np.load(path) as kept:
            ages = {given: AgeDistribution(kept[given]) for given in SETS}
        found = [score(ages[given], rows[given]) for given in SETS]
        scores.setdefault(name, []).append({key: value for part in found for key, value in part.items()})
        blocks.setdefault(name, []).append(np.concatenate([of_blocks(ages[given], rows[given]) for given in SETS]))
    ranking = rank(list(blocks), np.stack([np.mean(values, axis=0) for values in blocks.values()], axis=1))
    draw(ranking, HERE / "heads.png")
    (HERE / "heads.md").write_text(page(scores, ranking))
    print(HERE / "heads.md")


def of_blocks(ages: AgeDistribution, rows: pa.Table) -> NDArray[np.float64]:
    """Errors by ethnicity: blocks with no face in common."""
    true, groups = numbers(rows, "age"), np.array(rows["ethnicity"].to_pylist(), dtype=object)
    exact = not np.isnan(true).all()
    low, high = numbers(rows, "age_low"), numbers(rows, "age_high")
    values = np.abs(errors(ages.mean, true)) if exact else excesses(ages.mean, low, high)
    return np.array([values[groups == group].mean() for group in sorted({g for g in groups if g is not None})])


def page(scores: dict[str, list[dict[str, float]]], ranking: Ranking) -> str:
    """The table in Markdown, best rank first."""
    names = list(next(iter(scores.values()))[0])
    text = (HERE / "heads.template.md").read_text()
    lines = [f"| method | seeds | {' | '.join(names)} | mean rank |", "|---|---|" + "---|" * (len(names) + 1)]
    for index in np.argsort(ranking.ranks, kind="stable"):
        name = ranking.names[index]
        cells = [cell([run[key] for run in scores[name]], key) for key in names]
        lines.append(f"| {name} | {len(scores[name])} | {' | '.join(cells)} | {ranking.ranks[index]:.1f} |")
    best = ranking.names[int(np.argmin(ranking.ranks))]
    worse = [name for name in ranking.names if ranking.differ(name, best)]
    facts: dict[str, Any] = {
        "table": "\n".join(lines),
        "blocks": ranking.blocks,
        "p": f"{ranking.p:.1e}",
        "critical": f"{ranking.critical:.2f}",
        "best": best,
        "worse": ", ".join(worse) or "none",
        "cliques": "\n".join(f"- {', '.join(clique)}" for clique in ranking.cliques() if len(clique) > 1),
    }
    for key, value in facts.items():
        text = text.replace(f"<<{key}>>", str(value))
    return text


def cell(values: list[float], key: str) -> str:
    """Mean over the seeds, and their standard deviation where there are several."""
    share = key in ("CS@5", "coverage", "exact group")
    scale, digits = (100, 1) if share else (1, 2)
    spread = f" ± {scale * np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{scale * np.mean(values):.{digits}f}{spread}{' %' if share else ''}"


def slug(name: str) -> str:
    """A method's name as a folder."""
    return name.lower().replace(", ", "-").replace(" ", "-")


if __name__ == "__main__":
    main()
