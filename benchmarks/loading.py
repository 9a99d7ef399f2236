"""How long training waits for its faces, how fast a loader is alone, and what loading holds in memory.

python benchmarks/loading.py wait MANIFEST [faces=3000] [batch=64] [threads=2] [size=112]
python benchmarks/loading.py memory [rows=10000,200000] [threads=2]    # writes 4 GB for a while, below TMPDIR

A training step is the real one: loader, network, loss, backward, AdamW; the first two batches do not count. `threads`
are those of the network; the loader's workers come on top and share its cores. Run it on an idle machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn
from torch.utils.data import DataLoader

from agewise.ages import AgeDistribution
from agewise.data.manifest import COLUMNS, described, open_manifest, probs_column, write_manifest
from agewise.data.settings import check
from agewise.data.stored import open_pictures
from agewise.faces.image import encode_jpeg
from agewise.model.age_model import AgeModel
from agewise.training.config import Recipe
from agewise.training.loading import loader, open_faces

NETWORKS = ("mobilenetv3_small_100", "mobilenetv1_100")
WORKERS = (0, 1, 2)
SKIPPED = 2
"""Batches until workers run and memory is laid out."""


def main() -> None:
    """The command line."""
    words = [word for word in sys.argv[1:] if "=" not in word]
    options = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    torch.set_num_threads(int(options.pop("threads", "2")))
    if words[:1] == ["wait"] and len(words) == 2:
        wait(Path(words[1]), **{name: int(value) for name, value in options.items()})
    elif words == ["memory"]:
        memory([int(rows) for rows in options.get("rows", "10000,200000").split(",")])
    elif words[:1] == ["one"] and len(words) == 3:
        print(json.dumps(one(Path(words[1]), words[2] == "file")))
    else:
        sys.exit(__doc__)


def wait(manifest: Path, faces: int = 3000, batch: int = 64, size: int = 112) -> None:
    """Prints the two tables: loaders alone, and their share of the time of training."""
    with tempfile.TemporaryDirectory() as folder:
        some = first_rows(manifest, faces, Path(folder))
        paths = on_disk(some, Path(folder))
        say("source", "network", "workers", "faces/s", "waits", "first batch")
        for network in (None, *NETWORKS):
            for name, source in {"memory": some, "file": some, "paths": paths}.items():
                for workers in WORKERS:
                    recipe = recipe_of(source, network or NETWORKS[0], workers, batch, size)
                    batches = opened(recipe, in_file=name == "file")
                    rate, share, start = timed(batches, Step(recipe) if network else None)
                    waits = f"{100 * share:.1f} %" if network else ""
                    say(name, network or "none", str(workers), f"{rate:.0f}", waits, f"{start:.2f} s")


def say(*cells: str) -> None:
    """One row of a table."""
    print("".join(f"{cell:<{width}}" for cell, width in zip(cells, (9, 24, 9, 10, 9, 12), strict=True)), flush=True)


def recipe_of(manifest: Path, network: str, workers: int, batch: int, size: int) -> Recipe:
    """A recipe as agewise train reads it."""
    values: dict[str, Any] = {
        "name": "loading",
        "data": {"train": str(manifest), "workers": workers, "balance": 0.3},
        "model": {"backbone": {"name": network}, "size": size},
        "training": {"batch": batch},
    }
    return check(values, Recipe, "recipe")


def opened(recipe: Recipe, in_file: bool) -> DataLoader[dict[str, Any]]:
    """The training loader; with `in_file` pictures are read from their file however few they are."""
    faces, _ = open_faces(recipe)
    if in_file:
        faces.images = open_pictures(faces.manifest, held=0)
    return loader(faces, recipe, training=True)


class Step:
    """A training step of a recipe's network."""

    def __init__(self, recipe: Recipe) -> None:
        self.model = AgeModel(recipe.model, pretrained=False).train().to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4)

    def __call__(self, batch: dict[str, Any]) -> None:
        """Forward, loss, backward, update."""
        self.optimizer.zero_grad()
        logs = nn.functional.log_softmax(self.model(batch["crop"]), dim=1)
        (-(batch["target"] * logs).sum(dim=1) * batch["weight"]).mean().backward()
        self.optimizer.step()


def timed(batches: DataLoader[dict[str, Any]], step: Step | None) -> tuple[float, float, float]:
    """Faces a second, the share of time that was spent waiting for a batch, and the seconds until the first one."""
    waiting = working = 0.0
    count = faces = 0
    began = clock = time.perf_counter()
    first = 0.0
    for count, batch in enumerate(batches, 1):
        got = time.perf_counter()
        if step is not None:
            step(batch)
        done = time.perf_counter()
        first = first or got - began
        if count > SKIPPED:
            waiting, working, faces = waiting + got - clock, working + done - got, faces + len(batch["crop"])
        clock = done
    if not faces:
        sys.exit(f"{count} batches are too few; more than {SKIPPED} are needed")
    return faces / (waiting + working), waiting / (waiting + working), first


def first_rows(manifest: Path, count: int, folder: Path) -> Path:
    """A manifest of the first rows of another."""
    file = open_manifest(manifest)
    parts: Iterator[pa.RecordBatch] = file.iter_batches(1000)
    held: list[pa.RecordBatch] = []
    while sum(map(len, held)) < count and (part := next(parts, None)) is not None:
        held.append(part)
    return write_manifest(pa.Table.from_batches(held).slice(0, count), folder / "some.parquet", {"frame": "aligned"})


def on_disk(manifest: Path, folder: Path) -> Path:
    """The same manifest with its pictures in files of their own."""
    table = open_manifest(manifest).read()
    images = table["image"].to_pylist()
    (folder / "crops").mkdir()
    for row, image in enumerate(images):
        (folder / "crops" / f"{row}.jpg").write_bytes(image["bytes"])
    paths = pa.array([{"bytes": None, "path": f"crops/{row}.jpg"} for row in range(len(images))], COLUMNS["image"])
    place = table.column_names.index("image")
    return write_manifest(table.set_column(place, "image", paths), folder / "paths.parquet", {"frame": "aligned"})


def memory(counts: list[int]) -> None:
    """Prints what training holds, in fresh processes, for manifests of several lengths."""
    print(f"{'rows':>9} {'pictures':>12} {'from':>7} {'opened':>8} {'peak of main':>13} {'with workers':>13}")
    found: dict[str, list[float]] = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            manifest = generated(Path(folder) / "faces.parquet", count)
            size = manifest.stat().st_size
            for kind in ("default", "file"):
                command = [sys.executable, __file__, "one", str(manifest), kind, f"threads={torch.get_num_threads()}"]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                value = json.loads(done.stdout.splitlines()[-1])
                found.setdefault(kind, []).append(value["all"])
                cells = f"{value['open']:6.1f} s {value['main']:10.0f} MB {value['all']:10.0f} MB"
                print(f"{count:9d} {size / 1e9:9.2f} GB {kind:>7} {cells}", flush=True)
    for kind, values in found.items():
        print(f"{kind}: {values[-1] / values[0]:.2f} times as much for {counts[-1] / counts[0]:.0f} times the faces")


def one(manifest: Path, in_file: bool, steps: int = 12) -> dict[str, float]:
    """Megabytes of a training process at its peak, and of it and its workers, shared pages counted once."""
    began = time.perf_counter()
    recipe = recipe_of(manifest, NETWORKS[0], 2, 64, 112)
    batches = opened(recipe, in_file)
    spent = time.perf_counter() - began
    step = Step(recipe)
    together = 0.0
    for count, batch in enumerate(batches):
        step(batch)
        together = max(together, sum(proportional(process) for process in processes()))
        if count == steps:
            break
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1000
    return {"open": spent, "main": peak, "all": together}


def processes() -> list[str]:
    """This process and its children."""
    children = Path("/proc/self/task").glob("*/children")
    return ["self", *(child for path in children for child in path.read_text().split())]


def proportional(process: str) -> float:
    """Megabytes of a process, a page that n processes share as an n-th."""
    try:
        said = Path(f"/proc/{process}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0.0
    return int(said.partition("\nPss:")[2].split()[0]) / 1000


def generated(path: Path, count: int) -> Path:
    """A manifest of faces of 256 pixels, about 20 kB each, no two alike to Parquet; drawn, not photographed."""
    rng = np.random.default_rng(0)
    drawn = [picture(rng) for _ in range(50)]
    probs = probs_column(AgeDistribution.gaussian(rng.uniform(1, 90, 1000), rng.uniform(2, 9, 1000)))
    writer: pq.ParquetWriter | None = None
    for start in range(0, count, 1000):
        rows = range(start, min(start + 1000, count))
        images = [{"bytes": drawn[row % 50] + row.to_bytes(8, "little"), "path": None} for row in rows]
        table = pa.table({"image": pa.array(images, COLUMNS["image"]), "age_probs": probs.slice(0, len(rows))})
        table = described(table, {"frame": "aligned"})
        writer = writer or pq.ParquetWriter(path, table.schema, use_dictionary=False)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return path


def picture(rng: np.random.Generator) -> bytes:
    """A JPEG of noise around a blob."""
    down, across = np.mgrid[:256, :256]
    blob = 90 + 100 * np.exp(-((down - 128) ** 2 + (across - 128) ** 2) / 6000)
    return encode_jpeg((blob[:, :, None] + rng.normal(0, 2.5, (256, 256, 3))).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
