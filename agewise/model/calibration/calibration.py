"""What was learnt on labelled faces about a model's distributions, and puts them right: carried in the model's file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agewise.ages import AgeDistribution
from agewise.model.calibration.axis import Spread, Warp


@dataclass(frozen=True, slots=True)
class Origin:
    """What a calibration was fitted on: the manifest's name and SHA-256, its labelled faces, what is known of them.

    labels: "ages", "groups" or "ages and groups". style: what the map of the ages aims at, "" where there is none.
    edges: (B - 1,) the predicted ages between the bands. faces_by_band: (B,).
    """

    manifest: str
    sha256: str
    faces: int
    labels: str
    style: str
    edges: tuple[float, ...]
    faces_by_band: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature (Guo et al. 2017), then a map of the ages where one was asked for, then the spread.

    >>> Calibration(1.0, None, Spread((0.9,), (40.0,), ((2.0,),)))(AgeDistribution.gaussian([40], [5])).std.round()
    array([10.])
    """

    temperature: float
    warp: Warp | None
    spread: Spread
    origin: Origin | None = None

    def __post_init__(self) -> None:
        """Raises ValueError on a temperature that is not above 0."""
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"the temperature is {self.temperature}; above 0 is allowed")

    def __call__(self, ages: AgeDistribution) -> AgeDistribution:
        """The distributions put right, in order."""
        shaped = tempered(ages, self.temperature)
        return self.spread(shaped if self.warp is None else self.warp(shaped))


def tempered(ages: AgeDistribution, temperature: float) -> AgeDistribution:
    """Probabilities to the power 1 / temperature, normalised: above 1 widens, below 1 sharpens."""
    if temperature == 1.0:
        return ages
    # The largest of each row is made 1 first, so that a power of small ones cannot leave a row of zeros.
    return AgeDistribution((ages.probs / ages.probs.max(axis=1, keepdims=True, initial=1e-300)) ** (1 / temperature))


def as_metadata(calibration: Calibration) -> dict[str, Any]:
    """A calibration as a table of JSON, for the metadata of a model."""
    warp, spread, origin = calibration.warp, calibration.spread, calibration.origin
    said: dict[str, Any] = {
        "temperature": calibration.temperature,
        "ages": None if warp is None else {"given": list(warp.given), "meant": list(warp.meant)},
        "spread": {
            "levels": list(spread.levels),
            "centres": list(spread.centres),
            "factors": [list(row) for row in spread.factors],
        },
    }
    if origin is not None:
        lists = {"edges": list(origin.edges), "faces_by_band": list(origin.faces_by_band)}
        names = ("manifest", "sha256", "faces", "labels", "style")
        said["fitted_on"] = {**{name: getattr(origin, name) for name in names}, **lists}
    return said


def from_metadata(said: Mapping[str, Any]) -> Calibration:
    """What `as_metadata` gave. Raises ValueError where it is something else."""
    try:
        ages, spread, fitted_on = said["ages"], said["spread"], said.get("fitted_on")
        return Calibration(
            float(said["temperature"]),
            None if ages is None else Warp(_numbers(ages["given"]), _numbers(ages["meant"])),
            Spread(
                _numbers(spread["levels"]),
                _numbers(spread["centres"]),
                tuple(_numbers(row) for row in spread["factors"]),
            ),
            None if fitted_on is None else _origin(fitted_on),
        )
    except KeyError as error:
        raise ValueError(f"the calibration has no {error}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"the calibration is wrong: {error}") from error


def _origin(said: Mapping[str, Any]) -> Origin:
    words = [str(said[name]) for name in ("manifest", "sha256", "labels", "style")]
    counts = tuple(int(count) for count in said["faces_by_band"])
    return Origin(words[0], words[1], int(said["faces"]), words[2], words[3], _numbers(said["edges"]), counts)


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in np.asarray(values, dtype=np.float64))
