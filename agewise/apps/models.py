"""A model named on the command line: an ONNX file, a bundled name, a run folder or a teacher's contract."""

from __future__ import annotations

import hashlib
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
        import torch

        from agewise.data.manifest import fingerprint
        from agewise.model.age_model import TorchPredictor
        from agewise.training.run_folder import load_run

        if threads:
            torch.set_num_threads(threads)
        run = load_run(path)
        name = f"{path.name} {fingerprint(path / 'model.safetensors')[:8]}"
        return Named(TorchPredictor(run), name, run.settings.frame, run.settings.margin)
    if path and path.suffix == ".toml":
        return open_teacher_named(path, threads)
    from agewise.deployment.runtime import OnnxModel

    onnx = OnnxModel(path, threads)
    return Named(onnx, f"{onnx.name} {hashlib.sha256(onnx.path.read_bytes()).hexdigest()[:8]}", onnx.frame, onnx.margin)


def open_teacher_named(path: Path, threads: int = 0) -> Named:
    """A teacher by its contract; its hash covers the contract and every file that it leads to."""
    from agewise.teachers.contract import read_contract
    from agewise.teachers.wrap import open_teacher

    digest = hashlib.sha256()

    def add(contract_path: Path) -> None:
        contract = read_contract(contract_path)
        digest.update(contract.model_dump_json().encode())
        for name in (contract.file, contract.recalibration):
            if name and (contract_path.parent / name).is_file():
                digest.update((contract_path.parent / name).read_bytes())
        for member in contract.members:
            add(contract_path.parent / member)

    teacher = open_teacher(path, threads)  # first: it refuses an ensemble that holds itself
    add(path)
    return Named(teacher, f"{read_contract(path).name} {digest.hexdigest()[:8]}")
