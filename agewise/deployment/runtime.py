"""Exported models (ONNX) as Predictors, run by ONNX Runtime: no torch."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

from agewise.ages import AGES, AgeDistribution
from agewise.faces.align import Window, align, cut, square
from agewise.faces.face import Face
from agewise.model.calibration.calibration import Calibration, from_metadata

if TYPE_CHECKING:
    from agewise.deployment.openvino import OpenVinoSession

MODELS = Path(__file__).parent / "models"
DEFAULT = "base"
"""The bundled model that is used where none is named."""
FORMAT = 2
"""The newest layout of the model's metadata that this version reads: the one of a model that carries a calibration."""
PLAIN_FORMAT = 1
"""The layout of a model that carries none, which the earlier versions read as well."""
KEY = "agewise"
"""The metadata entry of an ONNX file that holds its input contract, as JSON."""
BATCH = 64
"""Most crops held at once, as views of 224 pixels 10 MB."""
A_THREAD = 4
"""Crops that a network runs at once for each thread: the activations of more leave the processor's cache, and take a
quarter more time (docs/LOG.md)."""
MOST_THREADS = 256
"""More, ONNX Runtime would try to start for minutes."""
PRECISE = "session.x64quantprecision"
"""ONNX Runtime's option for processors whose fast way to multiply 8-bit numbers overflows; it takes twice the time."""
Engine = Literal["onnxruntime", "openvino"]
"""What runs a model; openvino is an extra (`pip install 'agewise[openvino]'`)."""
AGREEMENT = 0.25
"""Years by which the ages of two engines may differ; int8 under both differs by 0.03 on average."""

_LOADING = (
    onnx_errors.Fail,
    onnx_errors.InvalidArgument,
    onnx_errors.InvalidGraph,
    onnx_errors.InvalidProtobuf,
    onnx_errors.NoModel,
    onnx_errors.NotImplemented,
    onnx_errors.RuntimeException,
)


class ModelError(ValueError):
    """A model that cannot be used; the message is one line for the user."""


class OnnxModel:
    """A Predictor in an ONNX file, which says itself what part of a face it looks at.

    name, licence: of the model. frame: "aligned" or "square". window: the part of that frame it sees.
    size: pixels of its input's side. margin: around the square frame, a share of its side. info: all its metadata.
    calibration: what the file carries of it (`agewise calibrate`), applied to every answer; None is none.
    """

    name: str
    licence: str
    frame: Literal["aligned", "square"]
    window: Window
    size: int
    margin: float
    info: dict[str, Any]
    calibration: Calibration | None

    def __init__(self, path: Path | str | None = None, threads: int = 0, engine: Engine = "onnxruntime") -> None:
        """Opens a model file, or a bundled model by name; no path is the default one.

        threads: of the engine; 0 is one a core.

        Raises:
            ModelError: no such file, not ONNX, not exported by agewise, by a newer one, or of another contract; no such
                engine, or one that gives other ages.
        """
        if engine not in get_args(Engine):
            raise ModelError(f"no engine {engine!r}; there are {', '.join(get_args(Engine))}")
        if not 0 <= threads <= MOST_THREADS:
            raise ModelError(f"threads is {threads}; 0 (one a core) to {MOST_THREADS} is allowed")
        self.path = model_file(path)
        self._session = _session(self.path, threads)
        self.info = _metadata(self.path, self._session)
        try:
            self.name, self.licence = str(self.info["name"]), str(self.info.get("licence", ""))
            self.frame, self.window, self.margin = _frame(self.info)
            self.size = int(self.info["size"])
            self.calibration = from_metadata(self.info["calibration"]) if "calibration" in self.info else None
        except KeyError as error:
            raise ModelError(f"{self.path}: its metadata has no {error}") from error
        except (TypeError, ValueError) as error:
            raise ModelError(f"{self.path}: its metadata is wrong: {error}") from error
        _check_ports(self.path, self._session, self.size)
        self._at_once = min(BATCH, A_THREAD * (threads or os.cpu_count() or 1))
        if engine == "openvino":
            self._session, self._at_once = self._under_openvino(threads), BATCH

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        """Ages of crops (N, H, H, 3) that show the whole standard frame, uint8 RGB, in order."""
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[3] != 3 or crops.shape[1] != crops.shape[2]:
            raise ValueError(f"crops are {crops.dtype} {crops.shape}; uint8 (N, H, H, 3) is needed")
        whole = crops.shape[1] == self.size and self.window == Window()
        parts = (crops[start : start + BATCH] for start in range(0, len(crops), BATCH))
        return AgeDistribution.concatenate(
            [self._run(part if whole else cut(part, self.window, self.size)) for part in parts]
        )

    def of_faces(self, pixels: NDArray[np.uint8], faces: Sequence[Face]) -> AgeDistribution:
        """Ages of faces found in a photo (H, W, 3), each warped only once: from the photo to the network's input."""
        parts = (faces[start : start + BATCH] for start in range(0, len(faces), BATCH))
        return AgeDistribution.concatenate([self._run(self.views(pixels, part)) for part in parts])

    def views(self, pixels: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.uint8]:
        """What the network sees of faces found in a photo (H, W, 3): (N, size, size, 3)."""
        made = np.empty((len(faces), self.size, self.size, 3), np.uint8)
        for row, face in enumerate(faces):
            made[row] = self._view(pixels, face)
        return made

    def of_views(self, views: NDArray[np.uint8]) -> AgeDistribution:
        """Ages of views (N, size, size, 3), of one photo or of many. An age does not depend on those beside it."""
        parts = (views[start : start + BATCH] for start in range(0, len(views), BATCH))
        return AgeDistribution.concatenate([self._run(part) for part in parts])

    def _view(self, pixels: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        if self.frame == "square":
            return square(pixels, face, self.size, self.margin, self.window)
        return align(pixels, face, self.size, self.window)

    def _run(self, views: NDArray[np.uint8]) -> AgeDistribution:
        """Ages of at most BATCH views (N, S, S, 3)."""
        starts = range(0, len(views), self._at_once)
        parts = (np.ascontiguousarray(views[start : start + self._at_once]) for start in starts)
        try:
            probs = np.concatenate([self._session.run(["probs"], {"crops": part})[0] for part in parts])
        except _LOADING as error:
            raise ModelError(f"{self.path}: ONNX Runtime cannot run it: {str(error).splitlines()[0]}") from error
        if probs.shape != (len(views), len(AGES)):
            raise ModelError(f"{self.path}: {len(views)} faces gave probs {probs.shape}; (N, {len(AGES)}) is needed")
        try:
            ages = AgeDistribution(probs)
        except ValueError as error:
            raise ModelError(f"{self.path}: the network's output is no distribution: {error}") from error
        return ages if self.calibration is None else self.calibration(ages)

    def _under_openvino(self, threads: int) -> OpenVinoSession:
        """The same network under OpenVINO. Raises ModelError where it gives other ages than ONNX Runtime does."""
        from agewise.deployment.openvino import OpenVinoSession

        other = OpenVinoSession(self.path, threads)
        # 9 coarse random patterns, more than OpenVinoSession runs at once, so that each of its networks is tried
        noise = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
        views = cut(noise, Window(), self.size)
        feeds = {"crops": views}
        gap = np.abs((other.run(["probs"], feeds)[0] - self._session.run(["probs"], feeds)[0]) @ AGES).max()
        if not gap <= AGREEMENT:
            raise ModelError(f"{self.path}: OpenVINO gives other ages, by {gap:.1f} years; use the engine onnxruntime")
        return other

    def __repr__(self) -> str:
        return f"OnnxModel({self.name!r}, size={self.size})"


def load(model: Path | str | None = None, threads: int = 0, engine: Engine = "onnxruntime") -> OnnxModel:
    """A model by its file or by the name of a bundled one; none is the default one."""
    return OnnxModel(model, threads, engine)


def bundled() -> list[str]:
    """Names of the models that the package ships."""
    return sorted(path.stem for path in MODELS.glob("*.onnx"))


def model_file(model: Path | str | None) -> Path:
    """The file of a model. Raises ModelError where there is none, with the names that there are."""
    if model is not None and os.path.isfile(model):
        return Path(model)
    name, names = str(model or DEFAULT), bundled()
    if name in names:
        return MODELS / f"{name}.onnx"
    there = ", ".join(names) or "none"
    raise ModelError(f"{name}: no such model; give an ONNX file or the name of a bundled one ({there})")


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False  # it makes the first two runs of each new batch size slower, and no other faster
    options.log_severity_level = 4  # what fails is raised here in one line, not logged as well
    options.add_session_config_entry(PRECISE, "1" if _overflows() else "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except onnx_errors.InvalidProtobuf as error:
        raise ModelError(f"{path}: not an ONNX file, or a damaged one") from error
    except _LOADING as error:
        raise ModelError(f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from error


@lru_cache
def _overflows() -> bool:
    """Whether this is an x86 processor without VNNI, or one of which that is not known."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            return "vnni" not in stream.read(8192)
    except OSError:
        return True


def _metadata(path: Path, session: onnxruntime.InferenceSession) -> dict[str, Any]:
    stored = session.get_modelmeta().custom_metadata_map.get(KEY)
    if stored is None:
        raise ModelError(f"{path}: an ONNX file without agewise's metadata; `agewise export` writes it")
    try:
        info = json.loads(stored)
    except json.JSONDecodeError as error:
        raise ModelError(f"{path}: its metadata is not JSON: {error}") from error
    if not isinstance(info, dict) or not isinstance(info.get("format"), int):
        raise ModelError(f"{path}: its metadata has no format number")
    if info["format"] > FORMAT:
        raise ModelError(f"{path}: metadata of format {info['format']}; this agewise reads up to {FORMAT}: update it")
    return info


def _frame(info: dict[str, Any]) -> tuple[Literal["aligned", "square"], Window, float]:
    frame, margin = info["frame"], float(info.get("margin", 0.0))
    x, y, side = (float(value) for value in info["window"])
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"the window's centre is {x}, {y}")
    if not 0.0 <= margin <= 2.0:
        raise ValueError(f"the margin is {margin}; 0..2 is allowed")
    if frame not in ("aligned", "square"):
        raise ValueError(f"the frame is {frame!r}; aligned and square are allowed")
    return frame, Window(x, y, side), margin


def _check_ports(path: Path, session: onnxruntime.InferenceSession, size: int) -> None:
    """Raises ModelError unless crops uint8 (N, size, size, 3) go in and probs float32 (N, 101) come out."""
    given = [(port.name, port.type, _shape(port.shape)) for port in session.get_inputs()]
    wanted = [("crops", "tensor(uint8)", ("N", size, size, 3))]
    if given != wanted:
        raise ModelError(f"{path}: its inputs are {given}; {wanted} is needed")
    outputs = [(port.name, port.type, _shape(port.shape)) for port in session.get_outputs()]
    probs = ("probs", "tensor(float)", ("N", len(AGES)))
    if probs not in outputs:
        raise ModelError(f"{path}: its outputs are {outputs}; {probs} is needed")


def _shape(shape: Sequence[int | str | None]) -> tuple[int | str | None, ...]:
    """A tensor's shape with its first, free axis called N."""
    return tuple("N" if axis == 0 and not isinstance(n, int) else n for axis, n in enumerate(shape))
