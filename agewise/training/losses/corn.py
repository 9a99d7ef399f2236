"""Binary cross-entropy on conditional ranks, each over those who reach it (Shi et al. 2023, CORN)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from agewise.training.losses.ordinal import importance_of, older_than


def corn(conditionals: Tensor, target: Tensor, prior: Tensor | None = None, importance: bool = False) -> Tensor:
    """Sum over the ranks k that the face has reached, age > k - 1, of the cross-entropy of "older than k".

    Without importance it is the cross-entropy of the ages. The published code divides a batch's sum by the number of
    (face, rank) pairs, which scales it by a constant for any one set of faces.
    """
    older = older_than(target)
    losses = -(older * logsigmoid(conditionals) + target[:, :-1] * logsigmoid(-conditionals))
    return (losses * importance_of(prior, conditionals, importance)).sum(dim=-1)
