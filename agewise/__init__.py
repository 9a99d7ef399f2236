"""Ages from face photos: `for face, age in agewise.estimate("photo.jpg"): print(age.mean, age.low, age.high)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agewise.ages import Age, AgeDistribution, Predictor
    from agewise.deployment.draw import draw
    from agewise.deployment.estimate import Estimator, estimate
    from agewise.deployment.runtime import load
    from agewise.faces.detect import Detector
    from agewise.faces.face import Face

__version__ = "0.2.0"

__all__ = [
    "Age",
    "AgeDistribution",
    "Detector",
    "Estimator",
    "Face",
    "Predictor",
    "__version__",
    "draw",
    "estimate",
    "load",
]

_HOMES = {
    "Age": "agewise.ages",
    "AgeDistribution": "agewise.ages",
    "Detector": "agewise.faces.detect",
    "Estimator": "agewise.deployment.estimate",
    "Face": "agewise.faces.face",
    "Predictor": "agewise.ages",
    "draw": "agewise.deployment.draw",
    "estimate": "agewise.deployment.estimate",
    "load": "agewise.deployment.runtime",
}


def __getattr__(name: str) -> object:
    """A public name, imported when it is first used: `import agewise` itself loads nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'agewise' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
