"""Training that dies on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from agewise.training.config import Recipe
from agewise.training.fit import train
from agewise.training.module import AgeModule
from agewise.training.run_folder import Checkpoints


class _Killed(BaseException):
    """What kill -9 does, as far as one process can do it to itself."""


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Recipe, int, int], None]:
    """Trains and dies in a step of an epoch; step -1: when the epoch's last.ckpt is to be written."""

    def at(recipe: Recipe, epoch: int, step: int) -> None:
        original, save = AgeModule.training_step, Checkpoints.save_checkpoint

        def training_step(self: AgeModule, batch: Any, index: int) -> torch.Tensor:
            if (self.current_epoch, index) == (epoch, step):
                raise _Killed
            return original(self, batch, index)

        def save_checkpoint(
            self: Checkpoints, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
        ) -> None:
            if step == -1 and checkpoint["epoch"] == epoch and Path(path).name == "last.ckpt":
                raise _Killed
            save(self, checkpoint, path, storage_options)

        with monkeypatch.context() as patch:
            patch.setattr(AgeModule, "training_step", training_step)
            patch.setattr(Checkpoints, "save_checkpoint", save_checkpoint)
            with pytest.raises(_Killed):
                train(recipe, progress=False)

    return at
