"""Size, time and error of a model in float, float16 and int8, under both engines: benchmarks/quantize.md.

python benchmarks/quantize.py base NAME=FILE ... [calibrate=MANIFEST] [check=MANIFEST] [faces=3000] [clock=wall]

One thread, engines in turn within one run. clock=cpu counts the process's own time, which a busy machine does not
stretch. OpenVINO is measured where it is installed.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from onnxruntime.quantization import quantize_static

from agewise.data.manifest import metadata, open_manifest, write_manifest
from agewise.deployment.half import as_float16, unhalved
from agewise.deployment.int8 import Views, as_int8, quiet
from agewise.deployment.openvino import OpenVinoSession, Precision
from agewise.deployment.quantize import calibration_views
from agewise.deployment.runtime import KEY, OnnxModel, model_file
from agewise.evaluation.predictions import predict_manifest
from agewise.evaluation.shift import Limits, PartShift, Shift, shift

HERE = Path(__file__).parent
ROUNDS, FACES_A_ROUND = 25, 32
OPENVINO: tuple[tuple[str, str, Precision], ...] = (
    ("float", "", "f32"),
    ("int8", "int8", "f32"),
    ("bfloat16", "", "bf16"),
)
"""Kind, file and precision of what OpenVINO runs."""
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(slots=True)
class Entry:
    """One way to run a model, and what was measured of it; milliseconds (rounds,) a face, alone and in a batch."""

    how: str
    file: Path
    predictor: OnnxModel
    alone: NDArray[np.float64]
    batch: NDArray[np.float64]
    found: Shift | None = None


def main() -> None:
    """The command line."""
    options = {"calibrate": "work/fairface-val.parquet", "check": "work/utkface-dev.parquet", "faces": "3000"}
    options |= {"clock": "wall"}
    models: dict[str, str] = {}
    for word in sys.argv[1:]:
        name, _, value = word.partition("=")
        (options if name in options else models)[name] = value or name
    if not models or options["clock"] not in CLOCKS:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        check = drawn(Path(options["check"]), int(options["faces"]), Path(folder))
        tables = {}
        for name, model in models.items():
            entries = made(model_file(model), Path(options["calibrate"]), Path(folder), name)
            timed(entries, CLOCKS[options["clock"]])
            judged(entries, check, Path(folder) / name)
            tables[name] = table(entries)
            print(f"{name}\n{tables[name]}\n", flush=True)
        names = {key: Path(options[key]).stem for key in ("calibrate", "check")}
        write(tables, {**names, "n": str(open_manifest(check).metadata.num_rows), "clock": options["clock"]})


def drawn(manifest: Path, faces: int, folder: Path) -> Path:
    """So many faces of a manifest, drawn by seed 0."""
    table = pq.read_table(manifest)
    rows = np.sort(np.random.default_rng(0).choice(len(table), min(faces, len(table)), replace=False))
    return write_manifest(table.take(pa.array(rows)), folder / manifest.name, metadata(manifest))


def made(source: Path, calibrate: Path, folder: Path, name: str) -> list[Entry]:
    """All ways to run a model: the files are written here, whether they are any good or not."""
    model, graph = OnnxModel(source, 1), onnx.load(source)
    views = calibration_views(model, calibrate)
    files = {kind: folder / f"{name}-{kind}.onnx" for kind in ("float16", "naive", "int8", "int8 99.9 %")}
    save(as_float16(graph), graph, files["float16"])
    save(naive(graph, views, folder), graph, files["naive"])
    save(as_int8(graph, views, "min-max"), graph, files["int8"])
    save(as_int8(graph, views, "99.9 %"), graph, files["int8 99.9 %"])
    entries = [entry("ONNX Runtime, float", source)]
    entries += [entry(f"ONNX Runtime, {kind}", file) for kind, file in files.items()]
    if importlib.util.find_spec("openvino") is None:
        return entries
    for kind, file, precision in OPENVINO:
        one = OnnxModel(files.get(file, source), 1)
        one._session = OpenVinoSession(one.path, 1, precision)  # `load` would refuse what gives other ages
        entries.append(entry(f"OpenVINO, {kind}", one.path, one))
    return entries


def entry(how: str, file: Path, predictor: OnnxModel | None = None) -> Entry:
    """A way to run a file, without measurements yet."""
    return Entry(how, file, predictor or OnnxModel(file, 1), np.empty(0), np.empty(0))


def naive(graph: onnx.ModelProto, views: NDArray[np.uint8], folder: Path) -> onnx.ModelProto:
    """Every operator in int8 by the quantiser's defaults: one scale a tensor."""
    plain, file = unhalved(graph), folder / "naive.onnx"
    with quiet():
        quantize_static(plain, file, Views(views))
    return onnx.load(file)


def save(graph: onnx.ModelProto, original: onnx.ModelProto, file: Path) -> None:
    """Writes a network with the original's metadata."""
    said = next(item.value for item in original.metadata_props if item.key == KEY)
    onnx.helper.set_model_props(graph, {KEY: said})
    onnx.save(graph, file)


def timed(entries: list[Entry], clock: Callable[[], float]) -> None:
    """Measures all in turn, so that what slows the machine slows them alike."""
    size = entries[0].predictor.size
    views = np.random.default_rng(0).integers(0, 256, (FACES_A_ROUND, size, size, 3), dtype=np.uint8)

    def once(one: Entry, batch: int, times: int) -> float:
        session: Any = one.predictor._session
        session.run(["probs"], {"crops": views[:batch]})
        start = clock()
        for _ in range(times):
            session.run(["probs"], {"crops": views[:batch]})
        return (clock() - start) * 1000 / times / batch

    rounds = [[(once(one, 1, 8), once(one, len(views), 1)) for one in entries] for _ in range(ROUNDS)]
    for number, one in enumerate(entries):
        one.alone, one.batch = np.array([row[number] for row in rounds]).T


def judged(entries: list[Entry], check: Path, folder: Path) -> None:
    """What each way does to the answers of the first one, on labelled faces."""
    files = [folder / f"{number}.parquet" for number in range(len(entries))]
    for one, file in zip(entries, files, strict=True):
        predict_manifest(one.predictor, check, file, name=one.how)
        one.found = shift(files[0], file) if file != files[0] else None


def table(entries: list[Entry]) -> str:
    """The rows of a model, as Markdown."""
    some = next(one.found for one in entries if one.found)
    lines = [
        f"| engine, kind | MB | ms a face | ms, of {FACES_A_ROUND} | {some.metric.upper()} (rise, 95 % interval) "
        "| worst band or group | ages move | bounds | coverage | passes |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in entries:
        size = f"{one.file.stat().st_size / 1e6:.2f}"
        times = f"{spread(one.alone)} | {spread(one.batch)}"
        if one.found is None:
            before = some.coverage and f"{some.coverage[0]:.1%}"
            lines.append(f"| {one.how} | {size} | {times} | {some.overall.before:.2f} | | | | {before or ''} | |")
        else:
            lines.append(f"| {one.how} | {size} | {times} | {answers(one.found)} |")
    return "\n".join(lines)


def answers(found: Shift) -> str:
    """The cells of a row that are about answers."""
    everybody, worst = found.overall, found.worst
    interval = everybody.interval
    between = f" ({everybody.rise:+.2f}, {interval[0]:+.2f} to {interval[1]:+.2f})" if interval else ""
    after = found.coverage and f"{found.coverage[1]:.1%}"
    passes = "**no**" if list(found.beyond(Limits())) else "yes"
    cells = [f"{everybody.after:.2f}{between}", said(worst), f"{found.moved:.2f}", f"{found.bounds:.2f}", after or ""]
    return " | ".join([*cells, passes])


def said(part: PartShift | None) -> str:
    """A band or group and its rise."""
    return "" if part is None else f"{part.column} {part.name} {part.rise:+.2f}"


def spread(values: NDArray[np.float64]) -> str:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def write(tables: dict[str, str], names: dict[str, str]) -> None:
    """Fills the template."""
    page = (HERE / "quantize.template.md").read_text()
    filled = "\n\n".join(f"## {name}\n\n{rows}" for name, rows in tables.items())
    for key, value in {**names, "tables": filled}.items():
        page = page.replace(f"<<{key}>>", value)
    (HERE / "quantize.md").write_text(page)
    print(HERE / "quantize.md")


if __name__ == "__main__":
    main()
