"""A student learns from a teacher's answers to the views it sees itself, mixed ones too (Beyer et al. 2022).

Where its own view is degraded, the teacher is shown the clear one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agewise.data.settings import SettingsError
from agewise.model.age_model import AgeModel
from agewise.model.heads.head import single_precision
from agewise.model.mivolo import CONFIGURATIONS
from agewise.training.config import Recipe
from agewise.training.run_folder import load_run


def teacher_of(recipe: Recipe) -> AgeModel | None:
    """The run that is imitated. Raises SettingsError where it sees other frames, or the student has no one feature."""
    name = recipe.imitation.teacher
    if name is None:
        return None
    teacher = load_run(name)
    for settings, whose in ((recipe.model, "the student"), (teacher.settings, name)):
        if settings.backbone.name in CONFIGURATIONS:
            raise SettingsError(f"imitation.teacher: {whose} sees pairs of faces and bodies, which are not imitated")
    if (teacher.settings.frame, teacher.settings.margin) != (recipe.model.frame, recipe.model.margin):
        seen, own = (f"{one.frame!r} with margin {one.margin:g}" for one in (teacher.settings, recipe.model))
        raise SettingsError(f"imitation.teacher: {name} sees the frame {seen}, this recipe {own}")
    return teacher


class Imitation(nn.Module):
    """The student's distance to a teacher: of the ages' distributions, and of the features (Romero et al. 2015).

    The teacher stays as it is: it is neither trained nor saved with the run.
    """

    def __init__(self, teacher: AgeModel, features: int) -> None:
        """features: width of the student's."""
        super().__init__()
        self._teacher = (teacher.eval().requires_grad_(False),)  # in a tuple: no part of this module's state
        self.projection = nn.Linear(features, teacher.backbone.features)

    def to_device(self, device: torch.device) -> None:
        """Moves the teacher, which Lightning does not know of."""
        self._teacher[0].to(device)

    def forward(self, crops: Tensor, features: Tensor, log_probs: Tensor) -> tuple[Tensor, Tensor]:
        """Kullback-Leibler divergences (N,) in nats, and mean squares (N,) between features.

        crops (N, S, S, 3) are the teacher's, of its window and size; features (N, D) and log_probs (N, 101) are what
        the student makes of its own. Features count in the standard deviations of the teacher's over the batch.
        """
        teacher = self._teacher[0]
        with torch.no_grad():
            wanted = teacher.backbone(crops)["age"]
            with single_precision(wanted):
                probs = teacher.head.log_probs(teacher.raw(wanted))
        with single_precision(wanted):
            divergence = (probs.exp() * (probs - log_probs.float())).sum(dim=1)
            wanted = wanted.float()
            spread = wanted.std(dim=0, correction=0).clamp_min(1e-3)
            away = (self.projection(features.float()) - wanted) / spread
            return divergence, away.square().mean(dim=1)
