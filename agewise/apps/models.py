"""A model named on the command line: an ONNX file, a bundled name, a run folder or a teacher's contract."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agewise.ages import Predictor


@dataclass(frozen=True, slots=True)
class Named:
    """A Predictor, a name that is only its own (with a hash of it), and the frame and margin of its crops."""

    predictor: Predictor
    name: str
    frame: str = "aligned"
    margin: float = 0.0


def open_model(model: str | None, threads: int = 0) -> Named:
    """The Predictor that a word of the command line means. Raises ValueError where it means none."""
    path = Path(model) if model else None
    if path and path.is_dir():
        from agewise.data.manifest import fingerprint
        from agewise.teachers.wrap import open_run

        run = open_run(path, threads)
        name = f"{path.absolute().name} {fingerprint(path / 'model.safetensors')[:8]}"
        return Named(run, name, run.model.settings.frame, run.model.settings.margin)
    if path and path.suffix == ".toml":
        return open_teacher_named(path, threads)
    from agewise.deployment.runtime import OnnxModel

    onnx = OnnxModel(path, threads)
    return Named(onnx, f"{onnx.name} {hashlib.sha256(onnx.path.read_bytes()).hexdigest()[:8]}", onnx.frame, onnx.margin)


def open_teacher_named(path: Path, threads: int = 0) -> Named:
    """A teacher by its contract; its hash covers the contract and every file and run folder that it leads to."""
    from agewise.teachers.contract import read_contract
    from agewise.teachers.wrap import open_teacher

    teacher = open_teacher(path, threads)  # first: it refuses an ensemble that holds itself
    digest = hashlib.sha256()
    for part in _content(path):
        digest.update(part)
    return Named(teacher, f"{read_contract(path).name} {digest.hexdigest()[:8]}")


def _content(path: Path) -> Iterator[bytes]:
    """All that a teacher's answers depend on: of a contract, or of a member that is a run folder."""
    from agewise.data.manifest import fingerprint
    from agewise.teachers.contract import read_contract

    if path.suffix != ".toml":
        for written in ("recipe.json", "model.safetensors"):
            yield (path / written).read_bytes()
        return
    contract = read_contract(path)
    later = {"children", "switch", "views", "readout"} - contract.model_fields_set  # unset, it hashes as ever
    yield contract.model_dump_json(exclude=later).encode()
    for name in (contract.file, contract.recalibration, contract.readout):
        if name and (path.parent / name).is_file():
            yield (path.parent / name).read_bytes()
        elif name and (path.parent / name).is_dir():  # a readout's bank may be a folder of parts
            yield fingerprint(path.parent / name).encode()
    for member in (*contract.members, *contract.children):
        yield from _content(path.parent / member)
