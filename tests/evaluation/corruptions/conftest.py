"""The picture that the corruptions are tried on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.faces.image import read_photo


@pytest.fixture(scope="session")
def portrait(astronaut: Path) -> NDArray[np.uint8]:
    """A head and what surrounds it: (224, 224, 3)."""
    return np.ascontiguousarray(read_photo(astronaut).pixels[10:234, 113:337])
