"""How an age gate decides: a challenge age, or a bound on the odds of being below the legal age."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agewise.ages import AGES, AgeDistribution, Decision
from agewise.evaluation.gate.faces import sides
from agewise.metrics import Floats

NEAR = 4
"""Years below the legal age whose faces are also scored alone, as the hardest minors: 14 to 17 of 18."""

PASS, REFER, FAIL = "pass", "refer", "fail"


@dataclass(frozen=True, slots=True)
class Rule:
    """How a gate decides, in years. Raises ValueError on a rule that cannot be.

    threshold: the legal age. buffer: the challenge age: a face passes if its estimate, by `decision`, is at least that.
    alpha: a face passes the bound if P(age < threshold) is at most alpha, that is if the one-sided lower bound of its
    age, at 1 - alpha, is at least the threshold; it fails if P(age >= threshold) is at most alpha; else it is referred
    to another check. budget: the share of the adults that may be referred.
    """

    threshold: int = 18
    buffer: int = 25
    alpha: float = 0.05
    budget: float = 0.2
    decision: Decision = "mean"

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= 99:
            raise ValueError(f"the threshold is {self.threshold}; 1..99 years is allowed")
        if not self.threshold <= self.buffer <= AGES[-1]:
            allowed = f"{self.threshold} (the threshold)..{AGES[-1]:g} years is allowed"
            raise ValueError(f"the buffer is {self.buffer}; it is the age that an estimate has to reach: {allowed}")
        if not 0 < self.alpha <= 0.5:
            raise ValueError(f"alpha is {self.alpha:g}; above 0 and up to 0.5 is allowed")
        if not 0 <= self.budget < 1:
            raise ValueError(f"the budget is {self.budget:g}; a share from 0 to below 1 of the adults is allowed")
        if self.decision not in ("mean", "median", "mode"):
            raise ValueError(f"no decision rule {self.decision!r}; there are mean, median, mode")


def decide(ages: AgeDistribution, threshold: int = 18, alpha: float = 0.05) -> list[str]:
    """Of each face: pass, refer or fail, by the bound at alpha of a Rule.

    >>> decide(AgeDistribution.gaussian([30.0, 22.0, 8.0], [4.0, 4.0, 2.0]))
    ['pass', 'refer', 'fail']
    """
    rule = Rule(threshold, max(threshold, 25), alpha)
    return verdicts(*sides(ages, rule.threshold), alpha).tolist()


def verdicts(young: Floats, old: Floats, alpha: float) -> NDArray[np.str_]:
    """pass, refer or fail (N,) of the probabilities (N,) below the threshold and from it on; even odds never pass."""
    passes = (young <= alpha) & (young < old)
    return np.where(passes, PASS, np.where(np.minimum(young, old) <= alpha, FAIL, REFER))


def alpha_within(budget: float, doubt: Floats) -> float | None:
    """The least alpha that refers at most that share of these faces (N,); None for no face.

    doubt: the smaller of the probabilities on the two sides of the threshold, 0..0.5.

    >>> alpha_within(0.5, np.array([0.1, 0.4, 0.2, 0.3]))
    0.2
    """
    if not len(doubt):
        return None
    allowed = int(np.floor(budget * len(doubt) + 1e-9))
    return float(np.sort(doubt)[len(doubt) - 1 - allowed]) if allowed < len(doubt) else 0.0
