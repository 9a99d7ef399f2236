"""Several Predictors as one: the weighted mean of their distributions (soft vote)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agewise.ages import AgeDistribution, Predictor


class Ensemble:
    """A mixture of Predictors is a Predictor.

    >>> young, old = (lambda crops: AgeDistribution.of_ages([20.0])), (lambda crops: AgeDistribution.of_ages([30.0]))
    >>> Ensemble([young, old])(np.zeros((1, 8, 8, 3), np.uint8)).mean.tolist()
    [25.0]
    """

    def __init__(self, members: Sequence[Predictor], weights: Sequence[float] | None = None) -> None:
        if not members:
            raise ValueError("an ensemble needs a member")
        shares = np.ones(len(members)) if weights is None else np.asarray(weights, dtype=np.float64)
        if shares.shape != (len(members),) or not (shares > 0).all():
            raise ValueError(f"{len(members)} members need as many positive weights")
        self.members = list(members)
        self.weights = shares / shares.sum()

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        """The mixture's ages of crops (N, H, W, 3)."""
        return self.mixed(self.votes(crops))

    def votes(self, crops: NDArray[np.uint8]) -> list[AgeDistribution]:
        """What each member says."""
        return [member(crops) for member in self.members]

    def mixed(self, votes: Sequence[AgeDistribution]) -> AgeDistribution:
        """The mixture of the members' votes."""
        return AgeDistribution(sum(share * vote.probs for share, vote in zip(self.weights, votes, strict=True)))

    def agreement(self, votes: Sequence[AgeDistribution]) -> NDArray[np.float64]:
        """Standard deviation (N,), in years, of the members' mean ages: 0 where all say the same."""
        means = np.stack([vote.mean for vote in votes])
        centre = self.weights @ means
        return np.sqrt(self.weights @ (means - centre) ** 2)
