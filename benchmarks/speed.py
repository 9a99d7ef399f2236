"""What a face and a photo cost: the network alone, a whole photo, and the command from a cold start.

python benchmarks/speed.py [MODEL]. Medians and quartiles, in turn within one run, on one thread.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from agewise.deployment.estimate import Estimator
from agewise.deployment.runtime import OnnxModel
from agewise.faces.detect import Detector
from agewise.faces.image import read_photo

PHOTO = Path(__file__).parents[1] / "examples" / "astronaut.jpg"


def times(action: Callable[[], object], runs: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Milliseconds (runs,) of an action, after one that is not counted."""
    action()
    spent = np.empty(runs)
    for run in range(runs):
        start = time.perf_counter()
        action()
        spent[run] = (time.perf_counter() - start) * 1000
    return spent


def say(what: str, spent: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """One row."""
    low, middle, high = np.percentile(spent, [25, 50, 75])
    print(f"{what:48s} {middle:8.2f} ms  (quartiles {low:.2f}-{high:.2f}, {len(spent)} runs)")


def main(model: str | None) -> None:
    """Prints the table."""
    network = OnnxModel(model, threads=1)
    detector = Detector(threads=1)
    estimator = Estimator(model, detector=detector, threads=1)
    photo = read_photo(PHOTO)
    crops = np.random.default_rng(0).integers(0, 256, (32, network.size, network.size, 3), dtype=np.uint8)
    say("network, one face", times(lambda: network._run(crops[:1]), 100))
    say("network, a face of a batch of 32", times(lambda: network._run(crops), 15) / 32)
    say("detector, 512 x 512 px", times(lambda: detector(photo.pixels), 30))
    say("photo of 512 x 512 px to its age", times(lambda: estimator(read_photo(PHOTO)), 30))
    command = [str(Path(sys.executable).parent / "agewise"), "predict", str(PHOTO), "--threads", "1"]
    say("agewise predict, cold start", times(lambda: subprocess.run(command, check=True, capture_output=True), 7))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
