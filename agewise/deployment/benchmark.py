"""What a model costs on this machine: network, whole photo, cold start, memory and size, timed in turn in one run."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from agewise.deployment.estimate import Estimator, opened_photo
from agewise.deployment.runtime import Engine, OnnxModel
from agewise.deployment.scene import photo as drawn
from agewise.faces.detect import Detector
from agewise.faces.image import encode_jpeg, read_photo

BATCHES = (1, 8, 32)
MEGAPIXELS, FACES = (0.3, 2.0, 12.0), (1, 5, 20)
STEPS = ("decode", "detect", "align", "network")
"""What a photo goes through, in order."""
_STATUS = "/proc/self/status"
_MEMORY = f"""import sys
from agewise.deployment.estimate import Estimator
Estimator(sys.argv[1], threads=1)(sys.argv[2])
print(next(line.split()[1] for line in open({_STATUS!r}) if line.startswith('VmHWM')))"""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Spread:
    """Milliseconds over `rounds` runs: median and quartiles."""

    median: float
    low: float
    high: float
    rounds: int

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """The spread of measured milliseconds."""
        low, median, high = np.percentile(values, [25, 50, 75])
        return Spread(float(median), float(low), float(high), len(values))


@dataclass(frozen=True, slots=True)
class NetworkTime:
    """A face's share of a batch, on so many threads."""

    batch: int
    threads: int
    face: Spread


@dataclass(frozen=True, slots=True)
class PhotoTime:
    """A photo's file to its ages: the whole, and each of STEPS. found: of the `faces` it shows (None: not known)."""

    name: str
    megapixels: float
    faces: int | None
    found: int
    whole: Spread
    steps: dict[str, Spread]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """All of it; size and sha256: of the file. threads: of photos and of the cold start.

    memory: in MB, None where the system does not say.
    """

    model: str
    engine: str
    machine: str
    cores: int
    threads: int
    size: int
    sha256: str
    network: tuple[NetworkTime, ...]
    photos: tuple[PhotoTime, ...]
    cold: Spread
    memory: float | None


def benchmark(
    model: Path | str | None = None,
    *,
    photo: Path | None = None,
    threads: int = 0,
    engine: Engine = "onnxruntime",
    rounds: int = 9,
    progress: Progress = lambda _done, _total: None,
) -> Benchmark:
    """Times a model, detector and alignment here; photos have drawn faces, which the detector finds.

    photo: a file that is timed instead of those. threads: for photos; 0 is one a core. The network is timed on one
    thread and on one a core. rounds: of everything; the first run of each thing does not count.

    Raises ModelError, PhotoError; ValueError below 2 rounds.
    """
    if rounds < 2:
        raise ValueError(f"{rounds} rounds have no spread; 2 or more are needed")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = sorted({1, cores})
    networks = {count: OnnxModel(model, count, engine) for count in counts}
    one = networks[1]
    files = _photos(photo)
    estimator = Estimator(OnnxModel(model, threads or cores, engine), Detector(threads=threads or cores))
    total = rounds * (1 + len(files)) + rounds
    network: dict[tuple[int, int], list[float]] = {}
    whole: dict[str, list[dict[str, float]]] = {name: [] for name in files}
    for number in range(rounds):
        for count, batch in ((count, batch) for count in counts for batch in BATCHES):
            network.setdefault((batch, count), []).append(_network(networks[count], batch))
        for done, (name, (data, _)) in enumerate(files.items()):
            whole[name].append(_photo(estimator, data))
            progress(number * (1 + len(files)) + done + 2, total)
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "photo.jpg"
        sample.write_bytes(next(iter(files.values()))[0])
        cold = _cold(one.path, sample, threads, rounds, lambda done: progress(total - rounds + done, total))
        memory = _memory(one.path, sample)
    return Benchmark(
        model=one.name,
        engine=f"ONNX Runtime {onnxruntime.__version__}" if engine == "onnxruntime" else engine,
        machine=f"{_processor()}, {platform.system()}, Python {platform.python_version()}",
        cores=cores,
        threads=threads or cores,
        size=one.path.stat().st_size,
        sha256=hashlib.sha256(one.path.read_bytes()).hexdigest(),
        network=tuple(NetworkTime(*key, Spread.of(values)) for key, values in sorted(network.items())),
        photos=tuple(_photo_time(name, files[name], times) for name, times in whole.items()),
        cold=Spread.of(cold),
        memory=memory,
    )


def _photos(given: Path | None) -> dict[str, tuple[bytes, int | None]]:
    """The files that are timed, and how many faces each shows."""
    if given is not None:
        opened_photo(given)  # says which file it is that cannot be read
        return {given.name: (given.read_bytes(), None)}
    made: dict[str, tuple[bytes, int | None]] = {}
    for megapixels in MEGAPIXELS:
        for faces in FACES:
            name = f"{megapixels:g} MP, {faces} face{'s' if faces > 1 else ''}"
            made[name] = encode_jpeg(drawn(megapixels, faces), 90), faces
    return made


def _network(model: OnnxModel, batch: int) -> float:
    """Milliseconds a face; once before, which does not count."""
    views = np.random.default_rng(0).integers(0, 256, (batch, model.size, model.size, 3), dtype=np.uint8)
    model.of_views(views)
    times = max(1, 8 // batch)
    start = time.perf_counter()
    for _ in range(times):
        model.of_views(views)
    return (time.perf_counter() - start) * 1000 / times / batch


def _photo(estimator: Estimator, data: bytes) -> dict[str, float]:
    """Milliseconds of each step, and under `found` the faces and under `pixels` the pixels."""
    marks = [time.perf_counter()]
    opened = read_photo(data)
    marks.append(time.perf_counter())
    faces = estimator.detector(opened.pixels)
    marks.append(time.perf_counter())
    views = estimator.model.views(opened.pixels, faces)
    marks.append(time.perf_counter())
    estimator.model.of_views(views).summary()
    marks.append(time.perf_counter())
    spent = np.diff(marks) * 1000
    pixels = opened.pixels.shape[0] * opened.pixels.shape[1] / opened.scale**2
    return {**dict(zip(STEPS, spent.tolist(), strict=True)), "found": len(faces), "pixels": pixels}


def _photo_time(name: str, file: tuple[bytes, int | None], times: Sequence[dict[str, float]]) -> PhotoTime:
    counted = times[1:]
    steps = {step: Spread.of([one[step] for one in counted]) for step in STEPS}
    whole = Spread.of([sum(one[step] for step in STEPS) for one in counted])
    return PhotoTime(name, round(times[0]["pixels"] / 1e6, 2), file[1], int(times[0]["found"]), whole, steps)


def _cold(model: Path, photo: Path, threads: int, rounds: int, step: Callable[[int], None]) -> list[float]:
    """Milliseconds of `agewise predict` from its start to its end; the first run fills the system's cache."""
    words = ["predict", str(photo), "--model", str(model), "--threads", str(threads)]
    spent = []
    for number in range(rounds):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "agewise.apps.cli", *words], check=True, capture_output=True)
        spent.append((time.perf_counter() - start) * 1000)
        step(number + 1)
    return spent[1:]


def _memory(model: Path, photo: Path) -> float | None:
    """The largest resident memory in MB of a process that estimates the ages in a photo; None where nothing says so."""
    if not Path(_STATUS).exists():
        return None
    words = [sys.executable, "-c", _MEMORY, str(model), str(photo)]
    return int(subprocess.run(words, check=True, capture_output=True).stdout) / 1024


def _processor() -> str:
    """The processor's name, as far as the system says it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
