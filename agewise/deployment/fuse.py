"""Ages of one person in many frames -> one age: a weighted pool of distributions that are not independent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agewise.ages import AGES, AgeDistribution
from agewise.faces.quality import Quality

RHO = 0.87
"""The correlation of the errors of two photos of one person, about no error: what further frames do not average away.

Of 100 pairs (neutral, smiling) of portraits-studio with an earlier bundled model: 0.87 [0.82, 0.91]; with the present
one 0.77 [0.62, 0.88], so that intervals are if anything too wide (docs/video.md).
"""
FLOOR = 1e-8
"""The least probability that a frame gives to an age, so that none of many can rule one out alone."""
LARGE, SHARP = 96.0, 0.5
"""The size in pixels and the sharpness from which a face cannot be seen better."""
LEAST = 1e-3
"""The least weight of a frame: an age is said of a track of poor frames as well."""


class Fusion:
    """The pool of what frames said of one person, in memory that does not grow with them.

    A logarithmic opinion pool (Genest and Zidek 1986): the mean of the log-probabilities, weighted by the frames'
    quality, where narrow distributions count more by themselves, since their logarithms are steeper. It is raised to
    the effective number of independent frames n / (1 + (n - 1) RHO) (Kish 1965), where n is that of equal weights:
    one frame is as it was, and no number of them narrows the interval by more than 1 - sqrt(RHO), 7 %.
    """

    __slots__ = ("_logs", "_squares", "_weights", "frames")

    def __init__(self) -> None:
        self.frames = 0
        self._logs: NDArray[np.float64] = np.zeros(len(AGES))
        self._weights = self._squares = 0.0

    def add(self, ages: AgeDistribution, weight: float = 1.0) -> None:
        """Takes in one frame. Raises ValueError unless it is one face, with a weight above 0."""
        if len(ages) != 1:
            raise ValueError(f"a frame has {len(ages)} distributions of the person; 1 is needed")
        if not 0 < weight < np.inf:
            raise ValueError(f"the weight of a frame is {weight}; above 0 is needed")
        self._logs += weight * np.log(np.maximum(ages.probs[0], FLOOR))
        self._weights += weight
        self._squares += weight**2
        self.frames += 1

    @property
    def looks(self) -> float:
        """How many independent looks the frames are worth: 0 of none, 1 of one, at most 1 / RHO."""
        if not self.frames:
            return 0.0
        equal = self._weights**2 / self._squares
        return equal / (1 + (equal - 1) * RHO)

    @property
    def ages(self) -> AgeDistribution:
        """The age by all frames so far, of one face. Raises ValueError where there was none."""
        if not self.frames:
            raise ValueError("no frame was taken in")
        energy = self._logs * (self.looks / self._weights)
        return AgeDistribution(np.exp(energy - energy.max())[None])


def weight(found: Quality) -> float:
    """What a frame counts, above 0 to 1: the squares of size and sharpness up to those of a clear face, score, turn.

    So grows the precision of a frame's age about that of the clear photo, measured in docs/video.md.

    >>> weight(Quality(120.0, 0.6, 0.0, 4.0, 0.0, 1.0)), round(weight(Quality(48.0, 0.25, 60.0, 4.0, 0.0, 0.8)), 3)
    (1.0, 0.025)
    """
    clear = min(1.0, found.size / LARGE) * min(1.0, found.sharpness / SHARP)
    turned = max(0.0, float(np.cos(np.radians(found.yaw)))) if np.isfinite(found.yaw) else 0.0
    return max(LEAST, clear**2 * found.score * turned)
