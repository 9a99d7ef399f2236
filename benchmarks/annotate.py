"""How fast `agewise annotate` is beside the bare networks, on Ray beside on one machine, and what it holds in memory.

python benchmarks/annotate.py rate MANIFEST TEACHER [faces=2000] [batch=50] [rounds=5] [threads=1]
python benchmarks/annotate.py ray MANIFEST TEACHER [faces=2000] [batch=50] [rounds=3] [threads=1] [workers=1]
python benchmarks/annotate.py memory [rows=10000,1000000]    # writes 2 GB for a while, below TMPDIR

rate: the networks on batches that lie decoded in memory, and the whole command on the same faces: fingerprint, reading,
decoding, writing, CSV. CPU time is that of all threads of the process: on a busy machine it says more than the clock.

ray: the whole command on one machine, and on a cluster of this machine that was started before. Both are timed from the
first finished part to the last, since a worker's start (it is printed) is paid once, whatever the number of faces. CPU
time on Ray is that of the driver, the workers and all of the cluster's own processes.

Ways are tried in turn, round by round, and the median round counts. Pin the process to idle cores (taskset) and set
OMP_NUM_THREADS to `threads`: Ray's own processes need a share of a core beside the workers.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.apps.models import Named, open_teacher_named
from agewise.data.manifest import COLUMNS, described, metadata, write_manifest
from agewise.faces.image import encode_jpeg
from agewise.teachers.annotation.annotate import annotate_folder
from agewise.teachers.annotation.answers import asked
from agewise.teachers.annotation.plan import make_plan, pieces

PAPER_FACES, PAPER_HOURS = 3.3e6, 962
"""Greco et al. (2021): the faces of VMAGE, and the GPU-hours of their annotation."""

Spent = dict[str, float]
"""Seconds a face by each clock."""

PART = 200
"""Rows a part where a run is timed by its parts; the command's own parts are of 1000."""


def main() -> None:
    """The command line."""
    words = [word for word in sys.argv[1:] if "=" not in word]
    options = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    if words[:1] in (["rate"], ["ray"]) and len(words) == 3:
        timed = rate if words[0] == "rate" else on_ray
        timed(Path(words[1]), Path(words[2]), **{name: int(value) for name, value in options.items()})
    elif words == ["memory"]:
        memory([int(rows) for rows in options.get("rows", "10000,1000000").split(",")])
    elif words[:1] == ["one"] and len(words) == 2:
        print(json.dumps(one(Path(words[1]))))
    else:
        sys.exit(__doc__)


def rate(manifest: Path, teacher: Path, faces: int = 2000, batch: int = 50, rounds: int = 5, threads: int = 1) -> None:
    """Prints faces a second of the bare networks and of the stream, and what the paper's faces would take."""
    named = open_teacher_named(teacher, threads)
    with tempfile.TemporaryDirectory() as folder:
        some = first_rows(manifest, faces, Path(folder))
        plan = make_plan(some, named.name, batch=batch)
        crops = [piece.read.crops for piece in pieces(plan, [(0, plan.parts)])]
        count = sum(map(len, crops))

        def bare() -> float:
            for batch_crops in crops:
                asked(named.predictor, batch_crops, np.arange(len(batch_crops)))
            return count

        def stream() -> float:
            out = Path(tempfile.mkdtemp(dir=folder)) / "out"
            return annotate_folder(some, named.predictor, out, identity=named.name, batch=batch).faces

        clocks = {"wall": time.perf_counter, "CPU": time.process_time}
        ways = {"bare networks": seconds_of(bare, clocks), "stream": seconds_of(stream, clocks)}
        found = in_turn(ways, rounds)
    print(f"{count} faces, batches of {batch}, {threads} thread(s), median of {rounds} rounds; {named.name}")
    medians = told(found)
    compare(found, "bare networks", "stream")
    hours = PAPER_FACES / medians["stream"] / 3600
    print(
        f"{PAPER_FACES / 1e6:g} million faces: {hours:.1f} core-hours of CPU time; the paper: {PAPER_HOURS} GPU-hours"
    )


def on_ray(
    manifest: Path,
    teacher: Path,
    faces: int = 2000,
    batch: int = 50,
    rounds: int = 3,
    threads: int = 1,
    workers: int = 1,
) -> None:
    """Prints faces a second of the stream and of Ray with 1 and with `workers` workers."""
    import ray

    from agewise.teachers.annotation.cluster import annotate_on_ray

    open_it: Callable[[], Named] = partial(open_teacher_named, teacher.absolute(), threads)
    named = open_it()
    began = time.perf_counter()
    ray.init(address="local", num_cpus=workers * threads, include_dashboard=False, log_to_driver=False)
    print(f"the cluster started in {time.perf_counter() - began:.1f} s, not counted below")
    starts: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        some = first_rows(manifest, faces, Path(folder))
        asked_for: dict[str, Any] = {"identity": named.name, "batch": batch, "rows": PART}

        def stream() -> Spent:
            steps = Steps(PART, time.process_time)
            annotate_folder(some, named.predictor, new(folder), **asked_for, progress=steps)
            return steps.seconds_a_face()

        def cluster(count: int) -> Spent:
            steps = Steps(PART, cpu_of_all)
            options = {**asked_for, "address": "local", "workers": count, "cores": threads}
            annotate_on_ray(some, open_it, new(folder), **options, progress=steps)
            starts.append(steps.until_first())
            return steps.seconds_a_face()

        counts = dict.fromkeys((1, workers))
        ways: dict[str, Callable[[], Spent]] = {"stream": stream}
        ways |= {f"Ray, {count} worker(s)": partial(cluster, count) for count in counts}
        found = in_turn(ways, rounds)
    ray.shutdown()
    print(f"{faces} faces, batches of {batch}, {threads} thread(s) a worker, median of {rounds} rounds; {named.name}")
    told(found)
    print(f"until the first part of {PART} was there: {statistics.median(starts):.1f} s")
    compare(found, "stream", "Ray, 1 worker(s)")
    if workers > 1:
        compare(found, "Ray, 1 worker(s)", f"Ray, {workers} worker(s)")


class Steps:
    """Progress with its times."""

    def __init__(self, part: int, cpu: Callable[[], float]) -> None:
        self.part, self.cpu, self.began = part, cpu, time.perf_counter()
        self.seen: list[tuple[int, float, float]] = []

    def __call__(self, done: int, _total: int) -> None:
        if done >= self.part:
            self.seen.append((done, time.perf_counter(), self.cpu()))

    def until_first(self) -> float:
        """Seconds until the first part was there."""
        return self.seen[0][1] - self.began

    def seconds_a_face(self) -> Spent:
        """From the first finished part to the last."""
        (first, start, begun), (last, end, ended) = self.seen[0], self.seen[-1]
        return {"wall": (end - start) / (last - first), "CPU": (ended - begun) / (last - first)}


def cpu_of_all() -> float:
    """Seconds of CPU of this process and all that it started: the cluster and its workers."""
    spent: dict[int, float] = {}
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        process = int(path.parent.name)
        children.setdefault(int(fields[1]), []).append(process)
        spent[process] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # its own, and of its dead children
    found, todo = 0.0, [os.getpid()]
    while todo:
        process = todo.pop()
        found += spent[process]
        todo += children.get(process, [])
    return found


def seconds_of(work: Callable[[], float], clocks: dict[str, Callable[[], float]]) -> Callable[[], Spent]:
    """The seconds that some work takes, a face, by several clocks."""

    def timed() -> Spent:
        began = {name: clock() for name, clock in clocks.items()}
        count = work()
        return {name: (clock() - began[name]) / count for name, clock in clocks.items()}

    return timed


def in_turn(ways: dict[str, Callable[[], Spent]], rounds: int) -> dict[str, list[Spent]]:
    """Each way's seconds a face in each round, after one round that does not count."""
    found: dict[str, list[Spent]] = {name: [] for name in ways}
    for count in range(rounds + 1):
        for name, way in ways.items():
            spent = way()
            if count:
                found[name].append(spent)
                print(f"  round {count}: {name:<18} {1 / spent['wall']:7.1f} faces/s", flush=True)
    return found


def told(found: dict[str, list[Spent]]) -> dict[str, float]:
    """Prints each way's median faces a second by each clock, and returns those by the last one."""
    last: dict[str, float] = {}
    for name, rounds in found.items():
        rates = {clock: 1 / statistics.median(spent[clock] for spent in rounds) for clock in rounds[0]}
        print(f"{name:<18} " + ", ".join(f"{value:7.1f} faces/s by {clock} time" for clock, value in rates.items()))
        last[name] = [*rates.values()][-1]
    return last


def compare(found: dict[str, list[Spent]], base: str, other: str) -> None:
    """Prints the median over rounds of how fast `other` is in shares of `base`, by each clock."""
    pairs = list(zip(found[base], found[other], strict=True))
    shares = {clock: statistics.median(one[clock] / two[clock] for one, two in pairs) for clock in pairs[0][0]}
    print(f"{other} / {base}: " + ", ".join(f"{share:.3f} by {clock} time" for clock, share in shares.items()))


def new(folder: str) -> Path:
    """A place where nothing is."""
    return Path(tempfile.mkdtemp(dir=folder)) / "out"


def first_rows(manifest: Path, count: int, folder: Path) -> Path:
    """A manifest of the first rows of another."""
    table = pq.ParquetFile(manifest).read().slice(0, count)
    return write_manifest(table, folder / "some.parquet", metadata(manifest))


def memory(counts: list[int]) -> None:
    """Prints the peak of `annotate_folder` in fresh processes, for manifests of several lengths."""
    print(f"{'rows':>9} {'manifest':>10} {'peak':>10} {'rate':>16}")
    peaks = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            manifest = generated(Path(folder) / "faces.parquet", count)
            size = manifest.stat().st_size
            command = [sys.executable, __file__, "one", str(manifest)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            value = json.loads(done.stdout.splitlines()[-1])
        peaks.append(value["peak"])
        print(f"{count:9d} {size / 1e6:7.0f} MB {value['peak']:7.0f} MB {value['rate']:9.0f} faces/s", flush=True)
    print(f"{peaks[-1] / peaks[0]:.2f} times as much for {counts[-1] / counts[0]:.0f} times the faces")


def one(manifest: Path) -> dict[str, float]:
    """Megabytes of a process that annotates a manifest, at its peak, and faces a second."""
    began = time.perf_counter()
    out = manifest.parent / "out"
    found = annotate_folder(manifest, brightness, out, identity="brightness", batch=200)
    spent = time.perf_counter() - began
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1000
    return {"peak": peak, "rate": found.faces / spent}


def brightness(crops: NDArray[np.uint8]) -> AgeDistribution:
    """A teacher that costs next to nothing."""
    return AgeDistribution.gaussian(crops[:, ::8, ::8].mean(axis=(1, 2, 3)) / 2.55, 3.0)


def generated(path: Path, count: int) -> Path:
    """A manifest of grey crops of 32 pixels, about 1 kB each, no two alike to Parquet; drawn, not photographed."""
    writer: pq.ParquetWriter | None = None
    for table in tables(count):
        writer = writer or pq.ParquetWriter(path, table.schema, use_dictionary=False)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return path


def tables(count: int) -> Iterator[pa.Table]:
    """Its rows, 1000 at a time."""
    rng = np.random.default_rng(0)
    drawn = [encode_jpeg(rng.normal(5 * n, 5, (32, 32, 3)).clip(0, 255).astype(np.uint8)) for n in range(50)]
    for start in range(0, count, 1000):
        rows = range(start, min(start + 1000, count))
        images = [{"bytes": drawn[n % 50] + n.to_bytes(8, "little"), "path": f"n{n // 300:06d}/{n}.jpg"} for n in rows]
        yield described(pa.table({"image": pa.array(images, COLUMNS["image"])}), {"frame": "aligned"})


if __name__ == "__main__":
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    main()
