"""Several Predictors as one: a soft vote over members and views, and other members for children.

As in Antipov et al. (2016) and Greco et al. (2021): the general members vote first. Where the vote's mean is at most
`switch` years, the face is the children's members', whose vote is final: it never goes back, whatever age it says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agewise.ages import AGES, AgeDistribution, Predictor
from agewise.faces.align import Window, cut
from agewise.teachers.contract import SWITCH, TeacherError
from agewise.teachers.views import checked_views, view

TIE = 1e-9
"""Years by which a mean may exceed the switch and still be at it: sums of shares leave more than nothing."""


@runtime_checkable
class Windowed(Protocol):
    """A Predictor that can be given its window cut already; members of the same window and size share the cutting."""

    @property
    def window(self) -> Window:
        """The part of the frame that it sees."""
        ...

    @property
    def size(self) -> int:
        """Pixels of the side of its input."""
        ...

    def of_window(self, pixels: NDArray[np.uint8]) -> AgeDistribution:
        """Ages of windows (N, size, size, 3)."""
        ...


Revision = Callable[[AgeDistribution], AgeDistribution]


@dataclass(frozen=True, slots=True)
class Answer:
    """What an ensemble says of N faces.

    agreement: (N,) years, the weighted standard deviation of the mean ages of the members that decided (the
        children's where the face went to them): 0 where all say the same.
    votes: (N, M, 101), each member's distribution, the mean over its views: general members first, then children's;
        NaN where a member was not asked.
    """

    ages: AgeDistribution
    agreement: NDArray[np.float64]
    votes: NDArray[np.float32]


class Ensemble:
    """A mixture of Predictors is a Predictor; so is one Predictor over several views.

    >>> young, old = (lambda crops: AgeDistribution.of_ages([20.0])), (lambda crops: AgeDistribution.of_ages([30.0]))
    >>> answer = Ensemble([young, old]).answer(np.zeros((1, 8, 8, 3), np.uint8))
    >>> answer.ages.mean.tolist(), answer.agreement.tolist(), answer.votes.shape
    ([25.0], [5.0], (1, 2, 101))
    """

    def __init__(
        self,
        members: Sequence[Predictor],
        weights: Sequence[float] | None = None,
        *,
        children: Sequence[Predictor] = (),
        switch: float = SWITCH,
        views: Sequence[str] = ("original",),
        names: Sequence[str] | None = None,
        then: Sequence[Revision] = (),
    ) -> None:
        """weights: of the general members; the children's count alike. names: of all members, for messages.

        then: what becomes of the vote's ages at last, such as a readout or a recalibration; agreement and votes stay.
        """
        if not members:
            raise ValueError("an ensemble needs a member")
        shares = np.ones(len(members)) if weights is None else np.asarray(weights, dtype=np.float64)
        if shares.shape != (len(members),) or not ((shares > 0) & np.isfinite(shares)).all():
            raise ValueError(f"{len(members)} members need as many positive weights")
        if not AGES[0] <= switch <= AGES[-1]:
            raise ValueError(f"the switch to the children's members is at {switch:g} years; 0..100 is allowed")
        self.members, self.children = list(members), list(children)
        self.weights = shares / shares.sum()
        self.switch = float(switch)
        self.views = checked_views(views)
        self.then = tuple(then)
        everyone = [*self.members, *self.children]
        self.names = list(names) if names is not None else [_name(member, n) for n, member in enumerate(everyone)]
        if len(self.names) != len(everyone):
            raise ValueError(f"{len(everyone)} members have {len(self.names)} names; one each is needed")

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        """The ages of crops (N, H, H, 3)."""
        return self.answer(crops).ages

    def answer(self, crops: NDArray[np.uint8]) -> Answer:
        """The ages of crops (N, H, H, 3), how far the members agree, and their votes.

        Raises TeacherError naming the member that gives anything but a distribution a face.
        """
        general = len(self.members)
        votes = self._asked(self.members, self.names[:general], crops)
        probs, spread = _mixed(votes, self.weights)
        kept = np.full((len(crops), len(self.names), len(AGES)), np.nan, dtype=np.float32)
        kept[:, :general] = votes
        young = self.young(AgeDistribution(probs))
        if self.children and young.any():
            votes = self._asked(self.children, self.names[general:], crops[young])
            kept[young, general:] = votes
            equal = np.full(len(self.children), 1 / len(self.children))
            probs[young], spread[young] = _mixed(votes, equal)
        ages = AgeDistribution(probs)
        for revised in self.then:
            ages = revised(ages)
        return Answer(ages, spread, kept)

    def young(self, ages: AgeDistribution) -> NDArray[np.bool_]:
        """Which faces (N,) the children's members get, by the general vote's ages."""
        return _means(ages.probs) <= self.switch + TIE

    def _asked(
        self, members: Sequence[Predictor], names: Sequence[str], crops: NDArray[np.uint8]
    ) -> NDArray[np.float64]:
        """What each member says of crops (N, H, H, 3), as the mean over the views: (N, members, 101)."""
        votes = np.zeros((len(crops), len(members), len(AGES)))
        if len(crops):
            for shown in self.views:
                seen = _Seen(view(crops, shown))  # one view at a time, for all members: memory stays that of one
                for index, (member, name) in enumerate(zip(members, names, strict=True)):
                    votes[:, index] += seen.by(member, name)
        return votes / len(self.views)


def _mixed(votes: NDArray[np.float64], shares: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mixture (N, 101) of votes (N, M, 101), and the standard deviation (N,) of their means in years.

    Row by row, without BLAS, whose sums depend on the batch in their last digit.
    """
    means = _means(votes)
    centre = (means * shares).sum(axis=-1, keepdims=True)
    spread = np.sqrt(((means - centre) ** 2 * shares).sum(axis=-1))
    return (votes * shares[:, None]).sum(axis=1), spread


def _means(probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean ages of distributions (..., 101), in years."""
    return np.asarray((probs * AGES).sum(axis=-1), dtype=np.float64)


class _Seen:
    """Crops (N, H, H, 3) and the windows that were cut out of them."""

    def __init__(self, crops: NDArray[np.uint8]) -> None:
        self.crops = crops
        self.windows: dict[tuple[Window, int], NDArray[np.uint8]] = {}

    def by(self, member: Predictor, name: str) -> NDArray[np.float64]:
        """A member's probabilities (N, 101). Raises TeacherError naming it where it gives anything else."""
        try:
            found = self._shown_to(member)
        except TeacherError:
            raise  # it names itself
        except ValueError as error:
            raise TeacherError(f"member {name}: {error}") from error
        if not isinstance(found, AgeDistribution):
            raise TeacherError(f"member {name}: it gave {type(found).__name__}; an AgeDistribution is needed")
        if found.probs.shape != (len(self.crops), len(AGES)):
            raise TeacherError(f"member {name}: {len(self.crops)} faces gave probabilities {found.probs.shape}")
        if not np.isfinite(found.probs).all():
            raise TeacherError(f"member {name}: it gave a probability that is no number")
        return found.probs

    def _shown_to(self, member: Predictor) -> object:
        if not isinstance(member, Windowed):
            return member(self.crops)
        place = member.window, member.size
        if place not in self.windows:
            self.windows[place] = cut(self.crops, *place)
        return member.of_window(self.windows[place])


def _name(member: Predictor, number: int) -> str:
    return str(getattr(member, "name", number + 1))
