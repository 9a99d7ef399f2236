"""Losses: (a view of the raw outputs, targets (N, 101)) -> (N,). To add one: a file here and a line in LOSSES.

A loss's first parameter names the view of a head's raw outputs that it reads: a method of the head. It fits every head
that has that view, and `log_probs` they all have. `prior` (the distribution of the training faces), `progress` (the
share of training that is done), `low` and `high` (N,) (bounds of the known ages in years, NaN where none is known) are
handed to a loss that asks for them; its other parameters are options in recipes.
"""

import inspect
from collections.abc import Callable

from torch import Tensor

from agewise.model.heads.head import Head
from agewise.training.losses.corn import corn
from agewise.training.losses.cross_entropy import cross_entropy
from agewise.training.losses.distillation import distillation
from agewise.training.losses.distribution import distribution
from agewise.training.losses.gaussian import beta_nll
from agewise.training.losses.mean_residue import mean_residue
from agewise.training.losses.mean_variance import mean_variance
from agewise.training.losses.ordinal import ordinal
from agewise.training.losses.regression import l1, l2, smooth_l1
from agewise.training.losses.smooth_epsilon import smooth_epsilon
from agewise.training.losses.sord import sord
from agewise.training.losses.squared_emd import squared_emd
from agewise.training.losses.teacher_bounded import teacher_bounded
from agewise.training.losses.tree_likelihood import tree_likelihood
from agewise.training.losses.tree_squares import tree_squares
from agewise.training.losses.unimodal import unimodal

LOSSES: dict[str, Callable[..., Tensor]] = {
    "distribution": distribution,
    "distillation": distillation,
    "teacher-bounded": teacher_bounded,
    "cross-entropy": cross_entropy,
    "mean-variance": mean_variance,
    "mean-residue": mean_residue,
    "sord": sord,
    "unimodal": unimodal,
    "squared-emd": squared_emd,
    "l1": l1,
    "l2": l2,
    "smooth-l1": smooth_l1,
    "smooth-epsilon": smooth_epsilon,
    "beta-nll": beta_nll,
    "ordinal": ordinal,
    "corn": corn,
    "tree-squares": tree_squares,
    "tree-likelihood": tree_likelihood,
}
"""Losses by the name that recipes use."""

HANDED = ("target", "prior", "progress", "low", "high")
"""Parameters of a loss that are no options: the module hands them over."""


def view_of(loss: str) -> str:
    """The view of the raw outputs that a loss reads: the name of its first parameter."""
    return next(iter(inspect.signature(LOSSES[loss]).parameters))


def losses_for(head: type[Head]) -> list[str]:
    """The losses that fit a head, its own first."""
    fits = [loss for loss in LOSSES if hasattr(head, view_of(loss))]
    return sorted(fits, key=lambda loss: view_of(loss) == "log_probs")
