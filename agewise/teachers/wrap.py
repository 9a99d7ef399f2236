"""Teachers as Predictors, by their contracts: outside ONNX networks, run folders, and ensembles of both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

from agewise.ages import AGES, AgeDistribution, Predictor
from agewise.faces.align import Window, cut
from agewise.teachers.contract import Contract, TeacherError, read_contract
from agewise.teachers.ensemble import Ensemble, Revision
from agewise.teachers.readout import Bank
from agewise.teachers.recalibrate import Response

if TYPE_CHECKING:
    from agewise.model.age_model import TorchPredictor

_FAILING = (
    onnx_errors.Fail,
    onnx_errors.InvalidArgument,
    onnx_errors.InvalidGraph,
    onnx_errors.InvalidProtobuf,
    onnx_errors.NotImplemented,
    onnx_errors.RuntimeException,
)
"""What ONNX Runtime raises, which has no base class but Exception."""

FEW = 10
"""Faces a pass: both networks of recipes/teachers are a fifth to a third slower, each face, in passes of 50 to 100."""
ROUNDING = 0.01
"""By how much a face's class probabilities may miss a sum of 1: what half precision leaves of a softmax is less."""


class OnnxTeacher:
    """A network outside agewise, as its contract describes it."""

    def __init__(self, contract: Contract, folder: Path, threads: int = 0) -> None:
        if not (contract.file and contract.input and contract.output):
            raise TeacherError(f"teacher {contract.name}: the contract names no network of its own")
        self.name = contract.name
        self.input, self.output = contract.input, contract.output
        self.window = Window(contract.crop.x, contract.crop.y, contract.crop.side)
        path = folder / contract.file
        if not path.is_file():
            raise TeacherError(f"teacher {self.name}: no file {path}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what fails is raised here in one line, not logged as well
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except onnx_errors.InvalidProtobuf as error:
            raise TeacherError(f"teacher {self.name}: {path} is not an ONNX file, or a damaged one") from error
        except _FAILING as error:
            why = str(error).splitlines()[0]
            raise TeacherError(f"teacher {self.name}: ONNX Runtime cannot load {path}: {why}") from error
        self._check()

    def _check(self) -> None:
        inputs = {item.name: item.shape for item in self._session.get_inputs()}
        kinds = {item.name: item.type for item in self._session.get_inputs()}
        outputs = {item.name: item.shape for item in self._session.get_outputs()}
        for kind, name, there in (("input", self.input.name, inputs), ("output", self.output.name, outputs)):
            if name not in there:
                raise TeacherError(f"teacher {self.name}: no {kind} {name}; the network has {', '.join(there)}")
        if len(inputs) > 1 or kinds[self.input.name] != "tensor(float)":
            raise TeacherError(f"teacher {self.name}: the network's inputs are {kinds}; one of tensor(float) is needed")
        size = self.input.size
        wanted = (3, size, size) if self.input.layout == "NCHW" else (size, size, 3)
        given = inputs[self.input.name][1:]
        if len(given) != 3 or any(isinstance(n, int) and n != w for n, w in zip(given, wanted, strict=True)):
            raise TeacherError(
                f"teacher {self.name}: input (N, {_row(wanted)}) in the contract, {given} in the network"
            )
        if isinstance(first := inputs[self.input.name][0], int):
            raise TeacherError(
                f"teacher {self.name}: the network takes {first} faces at a time; a free number is needed"
            )
        shape = outputs[self.output.name]
        if len(shape) > 1 and all(isinstance(n, int) for n in shape[1:]):
            self._check_values(int(np.prod(shape[1:])))

    def _check_values(self, count: int) -> None:
        """Raises TeacherError unless so many values a face can be what the contract says of the output."""
        if self.output.kind == "years" and count != 1:
            raise TeacherError(
                f"teacher {self.name}: output {self.output.name} has {count} values a face; years is one"
            )
        top = self.output.first + count - 1
        if self.output.kind != "years" and (count < 2 or top > AGES[-1]):
            raise TeacherError(
                f"teacher {self.name}: output {self.output.name} has {count} classes, from the age {self.output.first} "
                f"to {top}; 2 or more within 0..100 are needed"
            )

    @property
    def size(self) -> int:
        """Pixels of the side of its input."""
        return self.input.size

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        """Ages of crops (N, H, H, 3) in the standard frame. Raises TeacherError on a value that is no number."""
        return self.of_window(cut(crops, self.window, self.size))

    def of_window(self, pixels: NDArray[np.uint8]) -> AgeDistribution:
        """Ages of windows (N, size, size, 3) that are cut already. Raises TeacherError as a call does."""
        if not len(pixels):
            return AgeDistribution.concatenate([])
        starts = range(0, len(pixels), FEW)
        raw = np.concatenate([self._raw(pixels[start : start + FEW]) for start in starts])
        if not np.isfinite(raw).all():
            bad = int(np.argmax(~np.isfinite(raw).all(axis=1)))
            raise TeacherError(f"teacher {self.name}: face {bad} of a batch got a value that is no number")
        return self._ages(raw)

    def _raw(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The network's output (N, values) of windows."""
        ordered = pixels[..., ::-1] if self.input.colours == "BGR" else pixels
        mean, scale = np.array(self.input.mean, np.float32), np.array(self.input.scale, np.float32)
        values = (ordered.astype(np.float32) - mean) / scale
        if self.input.layout == "NCHW":
            values = values.transpose(0, 3, 1, 2)
        try:
            raw = self._session.run([self.output.name], {self.input.name: np.ascontiguousarray(values)})[0]
        except _FAILING as error:
            raise TeacherError(f"teacher {self.name}: the network fails: {str(error).splitlines()[0]}") from error
        if not raw.ndim or len(raw) != len(pixels):
            raise TeacherError(
                f"teacher {self.name}: {len(pixels)} faces gave output {raw.shape}; one row a face is needed"
            )
        self._check_values(raw.size // len(pixels))
        return np.asarray(raw, dtype=np.float64).reshape(len(pixels), -1)

    def _ages(self, raw: NDArray[np.float64]) -> AgeDistribution:
        if self.output.kind == "years":
            return AgeDistribution.gaussian(np.clip(raw[:, 0], AGES[0], AGES[-1]), self.output.std)
        if self.output.kind == "logits":
            raw = np.exp(raw - raw.max(axis=1, keepdims=True))
        elif raw.min() < -ROUNDING or np.abs(raw.sum(axis=1) - 1).max() > ROUNDING:
            raise TeacherError(f"teacher {self.name}: output {self.output.name} is no probabilities; is it logits?")
        probs = np.zeros((len(raw), len(AGES)))
        probs[:, self.output.first : self.output.first + raw.shape[1]] = np.maximum(raw, 0.0)
        return AgeDistribution(probs)


def open_teacher(path: Path | str, threads: int = 0, above: frozenset[Path] = frozenset()) -> Predictor:
    """The Predictor that a contract describes: a network, or an ensemble, recalibrated where it says so.

    Raises:
        SettingsError: the contract is not valid, or a member's run is not there, not finished or damaged.
        TeacherError: a network does not fit its contract, or an ensemble is a member of itself.

    above: the contracts that led here.
    """
    source = Path(path)
    if source.resolve() in above:
        raise TeacherError(f"{source}: this ensemble is a member of itself")
    contract = read_contract(source)
    then: list[Revision] = []
    if contract.readout:
        then.append(Bank.read(source.parent / contract.readout).read_out)
    if contract.recalibration:
        then.append(Response.read(source.parent / contract.recalibration).revised)
    if contract.members:
        names = [*contract.members, *contract.children]
        opened = [_opened(source.parent / name, threads, above | {source.resolve()}) for name in names]
        return Ensemble(
            opened[: len(contract.members)],
            contract.weights or None,
            children=opened[len(contract.members) :],
            switch=contract.switch,
            views=contract.views,
            names=names,
            then=then,
        )
    alone = OnnxTeacher(contract, source.parent, threads)
    return Ensemble([alone], names=[contract.name], then=then) if then else alone


def open_run(folder: Path, threads: int = 0) -> TorchPredictor:
    """The network of a finished run folder. Raises SettingsError where it is none.

    threads: of torch in this process; 0 leaves them as they are.
    """
    import torch  # teachers of ONNX networks alone do not need it

    from agewise.model.age_model import TorchPredictor
    from agewise.model.folding import folded
    from agewise.training.run_folder import load_run

    if threads:
        torch.set_num_threads(threads)
    return TorchPredictor(folded(load_run(folder)))


def _opened(path: Path, threads: int, above: frozenset[Path]) -> Predictor:
    """A member: a contract, or a run of the frame in which teachers get their crops."""
    if path.suffix == ".toml":
        return open_teacher(path, threads, above)
    run = open_run(path, threads)
    if run.model.settings.frame != "aligned":
        frame = run.model.settings.frame
        raise TeacherError(f"{path}: this run wants crops of the {frame} frame; a teacher gets aligned ones")
    return run


def _row(numbers: tuple[int, ...]) -> str:
    return ", ".join(str(number) for number in numbers)
