"""What a teacher's labels are worth to a small student: benchmarks/distillation.md (claims of Greco et al. 2021).

python benchmarks/distillation.py prepare    # the teacher labels 4,000 faces of each corpus, and those to score on
python benchmarks/distillation.py run 0 1 2  # trains what is missing of these seeds: 14 students, a minute each
python benchmarks/distillation.py table      # distillation.md from what is there

All of it lies in --place; each verb goes on where it was cut off. --teacher, --faces and --epochs are for `prepare`.
`run` measures the costs of teacher and student last.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from distillation_page import ARMS, CORPORA, MEMBER, SETS, page, slug
from heads import SIDE, chunks, smaller
from numpy.typing import NDArray

from agewise.ages import AGES, AgeDistribution
from agewise.apps.models import open_teacher_named
from agewise.data.manifest import IMAGE, metadata, numbers, probs_column, read_manifest, write_manifest
from agewise.data.replacing import replacing
from agewise.faces.align import Window, cut
from agewise.faces.image import encode_jpeg

SOURCES = {
    "utkface-dev": Path("work/utkface-dev.parquet"),
    "fairface-train": Path("work/fairface-train.fair.parquet"),  # the teacher's own faces: same rows, same folds
    "fairface-val": Path("work/fairface-val.parquet"),
}
PHOTOS = Path("../shared/data/portraits-studio.parquet")
WRONG = {"own-10": 0.1, "own-30": 0.3}
"""Share of the ages that are replaced, by any of 0..100."""
OLDEST_GROUP = 75.0
"""The middle of the group that FairFace calls more than 70: half of 70..100 is nobody's guess."""
COLUMNS = ("image", "age", "age_low", "age_high", "subject")
ROUNDS, COSTED = 5, 16


@dataclass(frozen=True, slots=True)
class Settings:
    """What `prepare` was asked for; the other verbs read it."""

    teacher: str
    faces: int
    epochs: int


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["prepare", "run", "table"])
    parser.add_argument("seeds", type=int, nargs="*")
    parser.add_argument("--place", type=Path, default=Path("work/distillation"))
    parser.add_argument("--teacher", default="runs/teacher/teacher.toml")
    parser.add_argument("--faces", type=int, default=4000, help="of each corpus")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "distillation.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.verb == "prepare":
        prepare(given.place, Settings(given.teacher, given.faces, given.epochs))
        return
    try:
        settings = Settings(**json.loads((given.place / "settings.json").read_text()))
    except FileNotFoundError:
        sys.exit(f"{given.place}: nothing is prepared; python benchmarks/distillation.py prepare")
    if given.verb == "run":
        run(given.place, settings, given.seeds or [0])
        if not (given.place / "cost.json").exists():
            write_json(given.place / "cost.json", cost(given.place, settings))
    else:
        given.out.write_text(page(given.place, asdict(settings)))
        print(given.out)


def prepare(place: Path, settings: Settings) -> None:
    """The teacher's labels of all faces, and the manifests that the students learn from."""
    noted = place / "settings.json"
    if noted.exists() and json.loads(noted.read_text()) != asdict(settings):
        sys.exit(f"{place} was prepared with {noted.read_text().strip()}; name another --place, or delete it")
    write_json(noted, asdict(settings))
    for name in (*CORPORA, *SETS):
        taught(place, name, settings)
    for corpus in CORPORA:
        for labels, columns in labels_of(place, corpus, settings).items():
            target = place / "labels" / f"{corpus}-{labels}.parquet"
            if not target.exists():
                small = pa.array(pictures(place, corpus), IMAGE)
                write_manifest(pa.table({"image": small, **columns}), target, {"frame": "aligned", "size": SIDE})
                print(target)


def faces(place: Path, name: str) -> Path:
    """The manifest of a set's faces as the teacher sees them."""
    return place / "faces" / f"{name}.parquet"


def taught(place: Path, name: str, settings: Settings) -> pa.Table:
    """A set's faces with the teacher's ages, agreement and votes; made where they are missing."""
    target, source = place / "taught" / f"{name}.parquet", faces(place, name)
    if not target.exists():
        from agewise.teachers.annotation.annotate import annotate

        if not source.exists():
            rows, said = chosen(place, name, settings)
            write_manifest(rows, source, said)
        named = open_teacher_named(Path(settings.teacher), 1)
        with torch.autocast("cpu", torch.bfloat16):  # as the members were trained, and 2.5 times as fast
            annotate(source, named.predictor, target, identity=named.name, votes="float16", progress=told(name))
    return read_manifest(target)


def chosen(place: Path, name: str, settings: Settings) -> tuple[pa.Table, dict[str, Any]]:
    """The faces of a set, of a corpus so many, drawn by a seed; and what their manifest says of itself."""
    if name == "studio":
        from agewise.data.prepare import prepare as crops_of

        source = place / "faces" / "studio-all.parquet"
        crops_of(PHOTOS, source, threads=1)
    else:
        source = SOURCES[name]
    rows = read_manifest(source, columns=COLUMNS)
    return rows.take(drawn(len(rows), settings.faces)), {"frame": "aligned", "size": metadata(source)["size"]}


def drawn(count: int, wanted: int) -> NDArray[np.intp]:
    """Which rows are taken of so many."""
    return np.sort(np.random.default_rng(0).permutation(count)[:wanted])


def told(name: str) -> Callable[[int, int], None]:
    """Says on stderr how far a set is, each time that another twentieth is done."""
    said = -1

    def progress(done: int, total: int) -> None:
        nonlocal said
        if 20 * done // total > said:
            said = 20 * done // total
            print(f"{name}: {done} of {total} faces", file=sys.stderr)

    return progress


def labels_of(place: Path, corpus: str, settings: Settings) -> dict[str, dict[str, Any]]:
    """What the students may learn of a corpus, as columns: its own labels, damaged ones, and the teacher's."""
    rows = read_manifest(place / "taught" / f"{corpus}.parquet")
    teacher = {"age_probs": rows["age_probs"], "agreement": rows["agreement"]}
    if corpus == "utkface-dev":
        own = numbers(rows, "age")
        wrong = {name: {"age": damaged(own, share)} for name, share in WRONG.items()}
        return {"own": {"age": own}, **wrong, "taught": {"age": own, **teacher}}
    low, high = numbers(rows, "age_low"), numbers(rows, "age_high")
    middle = np.where(high >= AGES[-1], OLDEST_GROUP, (low + high + 1) / 2)
    found = {"groups": {"age_low": low, "age_high": high}, "middles": {"age": middle}, "taught": teacher}
    unseen = unseen_votes(rows, settings)
    return found if unseen is None else {**found, "unseen": {"age_probs": probs_column(unseen)}}


def damaged(ages: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The ages (N,) with a share of them replaced by any of 0..100, the same faces first whatever the share."""
    rng = np.random.default_rng(0)
    chosen, planted = rng.permutation(len(ages)), rng.integers(0, 101, len(ages))
    found = ages.copy()
    wrong = chosen[: round(share * len(ages))]
    found[wrong] = planted[wrong]
    return found


def unseen_votes(rows: pa.Table, settings: Settings) -> AgeDistribution | None:
    """What the one general member says of each face that left it out; None where no member left any out."""
    from agewise.data.splits import fold_of_rows
    from agewise.teachers.votes import read_votes

    source, noted = SOURCES["fairface-train"], Path(settings.teacher).parent / "recipe.json"
    recipe = json.loads(noted.read_text()) if noted.exists() else {}
    if recipe.get("member", {}).get("data", {}).get("train") != str(source):
        return None
    folds = fold_of_rows(source, recipe["general"]["folds"])
    own = folds[drawn(len(folds), settings.faces)]
    return AgeDistribution(read_votes(rows["votes"])[np.arange(len(own)), own])


def run(place: Path, settings: Settings, seeds: list[int]) -> None:
    """Trains and scores every student that has no answers yet, a seed at a time."""
    import logging

    from agewise.training.fit import train
    from agewise.training.run_folder import load_run

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    seen: dict[str, NDArray[np.uint8]] = {}
    for seed, (name, arm) in itertools.product(seeds, ARMS.items()):
        labels = place / "labels" / f"{arm.corpus}-{arm.labels}.parquet"
        folder = place / "runs" / f"{slug(name)}-{seed}"
        if not labels.exists() or (folder / "answers.npz").exists():
            continue
        recipe = read_arm(name, labels, folder, seed, settings)
        trained = load_run(train(recipe, progress=False))
        for given in CORPORA[arm.corpus]:
            if given not in seen:
                window = Window(**recipe.model.window.model_dump())
                stored = np.stack([smaller(image["bytes"]) for image in encoded(place, given)])
                seen[given] = cut(stored, window, recipe.model.size)
        write_answers(folder / "answers.npz", trained, {given: seen[given] for given in CORPORA[arm.corpus]})
        print(folder.name, flush=True)


def read_arm(name: str, labels: Path, folder: Path, seed: int, settings: Settings) -> Any:
    """The recipe of a student."""
    from agewise.training.config import read_recipe

    own = [f"name={folder.name}", f"runs={folder.parent}", f"data.train={labels}", f"training.seed={seed}"]
    arm = ARMS[name]
    return read_recipe(f"recipes/{arm.recipe}.toml", [*arm.changes, *own, f"training.epochs={settings.epochs}"])


def write_answers(target: Path, model: Any, pictures: Mapping[str, NDArray[np.uint8]]) -> None:
    """What a student says of each set: probabilities (N, 101)."""
    from agewise.training.module import channels_last

    channels_last(model)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):  # as in training
        found = {
            given: torch.cat([model.probs(torch.from_numpy(part)) for part in chunks(shown)]).float().numpy()
            for given, shown in pictures.items()
        }
    save: Any = np.savez  # whose stub takes the names of arrays for its own options
    with replacing(target) as partial, partial.open("wb") as stream:
        save(stream, **found)


def encoded(place: Path, name: str) -> list[dict[str, bytes]]:
    """The stored crops of a set."""
    return list(read_manifest(faces(place, name), columns=["image"])["image"].to_pylist())


def cost(place: Path, settings: Settings) -> dict[str, Any]:
    """Milliseconds a face of teacher and student on one thread, in turns; parameters and multiply-adds of both."""
    from time import perf_counter

    import cv2

    from agewise.model.age_model import TorchPredictor
    from agewise.teachers.votes import read_votes
    from agewise.training.module import channels_last
    from agewise.training.run_folder import load_run

    student = TorchPredictor(load_run(next((place / "runs").glob(f"{slug(MEMBER)}-*"))))
    teacher: Any = open_teacher_named(Path(settings.teacher), 1).predictor
    for network in (student, *teacher.members, *teacher.children):
        if isinstance(network, TorchPredictor):
            channels_last(network.model)
    rows = np.random.default_rng(1).permutation(len(encoded(place, "utkface-dev")))[:COSTED]
    stored = [np.frombuffer(encoded(place, "utkface-dev")[row]["bytes"], np.uint8) for row in rows]
    crops = np.stack([np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8) for data in stored])
    votes = read_votes(read_manifest(place / "taught" / "utkface-dev.parquet", columns=["votes"])["votes"])
    times: dict[str, list[float]] = {"teacher": [], "student": []}
    with torch.autocast("cpu", torch.bfloat16):
        for turn in range(ROUNDS + 1):
            for who, predictor, repeats in (("teacher", teacher, 1), ("student", student, 20)):
                start = perf_counter()
                for _ in range(repeats):
                    predictor(crops)
                if turn:  # the first one warms up
                    times[who].append(1e3 * (perf_counter() - start) / repeats / COSTED)
    young = ~np.isnan(votes[rows][:, len(teacher.members) :]).all(axis=(1, 2)) if teacher.children else np.zeros(COSTED)
    return {
        **times,
        "faces": COSTED,
        "young": int(young.sum()),
        "views": len(teacher.views),
        "members": [len(teacher.members), len(teacher.children)],
        "sizes": {"student": size(student), **{f"{n}": size(one) for n, one in enumerate(teacher.members)}},
        "children": [size(one) for one in teacher.children],
    }


def size(network: Any) -> list[int] | None:
    """Parameters, and multiply-adds of one view; None of a network that is no PyTorch one."""
    from agewise.model.age_model import TorchPredictor
    from agewise.model.sizes import count

    if not isinstance(network, TorchPredictor):
        return None
    side = network.model.settings.size
    return list(count(network.model, torch.zeros(1, side, side, 3, dtype=torch.uint8)))


def pictures(place: Path, name: str) -> list[dict[str, Any]]:
    """The crops at SIDE pixels: decoding larger ones would cost as much as learning from them."""
    return [{"bytes": encode_jpeg(smaller(image["bytes"]), 95), "path": None} for image in encoded(place, name)]


def write_json(target: Path, values: Any) -> None:
    """Writes values as JSON."""
    with replacing(target) as partial:
        partial.write_text(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
