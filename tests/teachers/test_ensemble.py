"""The vote over members and views, the switch to the children's members, and members that do not answer well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.ages import AGES, AgeDistribution, Predictor
from agewise.faces.align import Window, cut
from agewise.teachers.contract import TeacherError
from agewise.teachers.ensemble import Answer, Ensemble
from agewise.teachers.views import VIEWS, view, views


def crops(*shades: float) -> NDArray[np.uint8]:
    """Crops as bright as they are old, with some noise of their own."""
    rng = np.random.default_rng(0)
    return np.stack([rng.normal(shade, 4, (24, 24, 3)).clip(0, 255).astype(np.uint8) for shade in shades])


class Told:
    """A member that says `say(brightness)`, and remembers how many faces it was given."""

    def __init__(self, say: Callable[[NDArray[np.float64]], AgeDistribution]) -> None:
        self.say = say
        self.given: list[int] = []

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        self.given.append(len(crops))
        return self.say(crops.mean(axis=(1, 2, 3)))


def at(age: float) -> Told:
    """A member that says one age of everybody."""
    return Told(lambda shades: AgeDistribution.of_ages(np.full(len(shades), age)))


def shade(std: float = 3.0, plus: float = 0.0) -> Told:
    """A member that reads the brightness as the age."""
    return Told(lambda shades: AgeDistribution.gaussian((shades + plus).clip(0, 100), std))


def corner(crops: NDArray[np.uint8]) -> AgeDistribution:
    """A member to whom every view looks different: the age is the brightness of the upper left."""
    return AgeDistribution.gaussian((crops[:, :8, :6].mean(axis=(1, 2, 3)) / 2.6).clip(0, 100), 2.0)


def gradient() -> NDArray[np.uint8]:
    rng = np.random.default_rng(3)
    ramp = np.linspace(20, 230, 32)[None, :, None] * rng.uniform(0.5, 1.1, (4, 32, 1, 3))
    return ramp.clip(0, 255).astype(np.uint8)


def test_the_vote_is_the_weighted_mean() -> None:
    faces = crops(30, 60, 90)
    members = [shade(), shade(6.0, 8.0), corner]
    answer = Ensemble(members, [3.0, 2.0, 1.0]).answer(faces)
    single = np.stack([member(faces).probs for member in members], axis=1)
    assert answer.ages.probs == pytest.approx(np.average(single, axis=1, weights=[3, 2, 1]), abs=1e-12)
    assert answer.votes.dtype == np.float32
    assert answer.votes == pytest.approx(single, abs=1e-7)
    means = single @ AGES
    centre = np.average(means, axis=1, weights=[3, 2, 1])
    variance = np.average((means - centre[:, None]) ** 2, axis=1, weights=[3, 2, 1])
    assert answer.agreement == pytest.approx(np.sqrt(variance))
    assert answer.agreement.min() > 1


def test_agreement_is_the_std_of_the_mean_ages() -> None:
    members = [at(20.0), at(24.5), at(31.0)]
    answer = Ensemble(members).answer(crops(50, 60))
    assert answer.agreement == pytest.approx(np.full(2, np.std([20.0, 24.5, 31.0])))
    assert Ensemble([at(33.0)] * 3).answer(crops(50)).agreement == pytest.approx([0.0], abs=1e-9)


@pytest.mark.parametrize(
    ("general", "switched"),
    [([12.0], True), ([11.0, 13.0], True), ([11.0, 12.0, 13.0], True), ([12.01], False), ([0.0], True), ([40], False)],
)
def test_the_switch_is_at_twelve_and_includes_it(general: list[float], switched: bool) -> None:
    children = at(5.0)
    answer = Ensemble([at(age) for age in general], children=[children]).answer(crops(50))
    assert answer.ages.mean == pytest.approx([5.0 if switched else np.mean(general)])
    assert len(children.given) == switched


def test_a_tie_by_rounding_is_a_tie() -> None:
    probs = np.zeros((1, 101))
    probs[0, [3, 12, 21]] = 0.1, 0.8, 0.1
    wide = AgeDistribution(probs)
    means = [float(Ensemble([at(12.0)] * k + [lambda _crops: wide])(crops(50)).mean[0]) for k in range(1, 12)]
    assert any(mean > 12 for mean in means), "sums of shares here are never above 12: the test shows nothing"
    for k in range(1, 12):
        members: list[Predictor] = [at(12.0)] * k + [lambda _crops: wide]
        assert Ensemble(members, children=[at(1.0)])(crops(50)).mean == pytest.approx([1.0])


def test_there_is_no_way_back() -> None:
    """The children's members say 80, far above the switch: that stays."""
    answer = Ensemble([at(10.0), at(8.0)], children=[at(80.0), at(60.0)]).answer(crops(50))
    assert answer.ages.mean == pytest.approx([70.0])
    assert answer.agreement == pytest.approx([10.0])  # of those who decided
    assert answer.votes[0] @ AGES == pytest.approx([10, 8, 80, 60])


def test_only_the_young_go_to_the_childrens_members() -> None:
    faces = crops(4, 50, 10, 90, 11)
    general, child = [shade(0.0), shade(0.0)], shade(0.0, -2.0)
    answer = Ensemble(general, children=[child], switch=15.0).answer(faces)
    shades = faces.mean(axis=(1, 2, 3))
    young = shades <= 15
    assert child.given == [3]
    assert answer.ages.mean == pytest.approx(np.where(young, shades - 2, shades))
    assert answer.votes.shape == (5, 3, 101)
    assert np.isnan(answer.votes[~young, 2]).all()
    assert not np.isnan(answer.votes[young]).any()
    assert not np.isnan(answer.votes[:, :2]).any()
    assert Ensemble(general, switch=15.0)(faces).mean == pytest.approx(shades)


def test_nobody_young_asks_no_child() -> None:
    child = at(3.0)
    answer = Ensemble([at(40.0)], children=[child]).answer(crops(1, 2))
    assert child.given == []
    assert np.isnan(answer.votes[:, 1]).all()


def test_weights_are_of_the_general_members_alone() -> None:
    answer = Ensemble([at(4.0), at(10.0)], [5.0, 1.0], children=[at(2.0), at(6.0)]).answer(crops(9))
    assert answer.ages.mean == pytest.approx([4.0])
    assert answer.agreement == pytest.approx([2.0])


def test_the_vote_over_views_is_the_mean_over_them() -> None:
    faces = gradient()
    names = ["original", "mirror", "rotate+5", "shift-5"]
    answer = Ensemble([corner, shade()], views=names).answer(faces)
    each = np.stack([corner(seen).probs for seen in views(faces, names)])
    assert answer.votes[:, 0] == pytest.approx(each.mean(axis=0), abs=1e-7)
    assert np.std(each @ AGES, axis=0).min() > 1  # the views do not look alike
    both = (each.mean(axis=0) + np.mean([shade()(view(faces, name)).probs for name in names], axis=0)) / 2
    assert answer.ages.probs == pytest.approx(both, abs=1e-12)
    assert Ensemble([corner], views=names[:1])(faces).probs == pytest.approx(corner(faces).probs, abs=1e-15)
    assert Ensemble([corner], views=names[1:2])(faces).probs == pytest.approx(corner(faces[:, :, ::-1]).probs)


def test_children_vote_over_the_same_views() -> None:
    faces = gradient()
    answer = Ensemble([at(3.0)], children=[corner], views=tuple(VIEWS)).answer(faces)
    each = np.mean([corner(seen).probs for seen in views(faces)], axis=0)
    assert answer.ages.probs == pytest.approx(each, abs=1e-12)


def test_a_face_is_the_same_in_any_batch() -> None:
    faces = crops(*np.linspace(0, 60, 23))
    ensemble = Ensemble(
        [shade(), shade(5.0, 1.0), corner], [1, 2, 3], children=[shade(1.0), corner], views=tuple(VIEWS)
    )
    whole = ensemble.answer(faces)
    for size in (1, 4, 22):
        pieces = [ensemble.answer(faces[n : n + size]) for n in range(0, 23, size)]
        assert np.array_equal(np.concatenate([piece.ages.probs for piece in pieces]), whole.ages.probs)
        assert np.array_equal(np.concatenate([piece.agreement for piece in pieces]), whole.agreement)
        assert np.array_equal(np.concatenate([piece.votes for piece in pieces]), whole.votes, equal_nan=True)
    order = np.random.default_rng(0).permutation(23)
    assert np.array_equal(ensemble.answer(faces[order]).ages.probs, whole.ages.probs[order])


def test_no_faces() -> None:
    members = [at(3.0), at(4.0)]
    answer = Ensemble(members, children=[at(1.0)], views=["mirror"]).answer(np.empty((0, 24, 24, 3), np.uint8))
    assert (len(answer.ages), answer.agreement.shape, answer.votes.shape) == (0, (0,), (0, 3, 101))
    assert members[0].given == []


def test_ensembles_of_ensembles() -> None:
    inner = Ensemble([at(10.0), at(20.0)], children=[at(5.0)], switch=15.0)
    answer = Ensemble([inner, at(35.0)], [1, 2]).answer(crops(50))
    assert answer.votes.shape == (1, 2, 101)
    assert answer.votes[0] @ AGES == pytest.approx([5, 35])
    assert answer.ages.mean == pytest.approx([25.0])


class Framed:
    """A member that can be given its window cut already."""

    window, size = Window(0.5, 0.5, 0.5), 12

    def __init__(self, plus: float = 0.0) -> None:
        self.plus = plus

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        return self.of_window(cut(crops, self.window, self.size))

    def of_window(self, pixels: NDArray[np.uint8]) -> AgeDistribution:
        assert pixels.shape[1:] == (12, 12, 3)
        return AgeDistribution.gaussian(pixels.mean(axis=(1, 2, 3)).clip(0, 100) + self.plus, 2.0)


def test_members_of_one_window_share_the_cutting(monkeypatch: pytest.MonkeyPatch) -> None:
    faces = gradient()
    members = [Framed(), Framed(3.0), corner]
    expected = np.mean(
        [[member(seen).probs for member in members] for seen in views(faces, ["mirror", "scale+5"])], axis=0
    )
    cuts = []

    def counted(crops: NDArray[np.uint8], window: Window, size: int) -> NDArray[np.uint8]:
        cuts.append((len(crops), window, size))
        return cut(crops, window, size)

    monkeypatch.setattr("agewise.teachers.ensemble.cut", counted)
    answer = Ensemble(members, views=["mirror", "scale+5"]).answer(faces)
    assert cuts == [(4, Framed.window, 12)] * 2
    assert answer.votes == pytest.approx(expected.swapaxes(0, 1), abs=1e-7)


def raises(error: Exception) -> Predictor:
    def member(_crops: NDArray[np.uint8]) -> AgeDistribution:
        raise error

    return member


def broken(probs: NDArray[np.float64]) -> AgeDistribution:
    """A distribution that is none, as one whose values were written over would be."""
    made = AgeDistribution.of_ages([30.0, 30.0])
    made.probs = probs
    return made


@pytest.mark.parametrize(
    ("member", "wanted"),
    [
        (lambda _crops: AgeDistribution.of_ages([3.0]), "2 faces gave probabilities (1, 101)"),
        (lambda _crops: AgeDistribution.of_ages([3.0] * 3), "2 faces gave probabilities (3, 101)"),
        (lambda _crops: AgeDistribution(np.full((2, 101), np.nan)), "age probabilities must be finite"),
        (lambda _crops: AgeDistribution(np.ones((2, 100))), "age probabilities have shape (2, 100)"),
        (lambda _crops: broken(np.full((2, 101), np.nan)), "it gave a probability that is no number"),
        (lambda _crops: broken(np.ones((2, 13))), "2 faces gave probabilities (2, 13)"),
        (lambda _crops: np.full((2, 101), 1 / 101), "it gave ndarray; an AgeDistribution is needed"),
        (raises(ValueError("too dark")), "too dark"),
    ],
)
@pytest.mark.parametrize("child", [False, True])
def test_a_member_that_fails_is_named(member: Any, wanted: str, child: bool) -> None:
    members = {"members": [at(10.0)], "children": [member]} if child else {"members": [at(10.0), member]}
    ensemble = Ensemble(**members, names=["first", "second"])
    with pytest.raises(TeacherError) as caught:
        ensemble(crops(50, 60))
    assert str(caught.value).startswith(f"member second: {wanted}")
    assert "\n" not in str(caught.value)


def test_a_member_without_a_name_has_its_number() -> None:
    class Named(Told):
        name = "faceres"

    ensemble = Ensemble([at(3.0), Named(lambda shades: AgeDistribution.of_ages(shades))], children=[at(2.0)])
    assert ensemble.names == ["1", "faceres", "3"]
    with pytest.raises(TeacherError, match=r"^member 2: too dark$"):
        Ensemble([at(3.0), raises(ValueError("too dark"))])(crops(50))


def test_an_error_that_names_its_teacher_stays_as_it_is() -> None:
    with pytest.raises(TeacherError, match=r"^teacher net: no$"):
        Ensemble([raises(TeacherError("teacher net: no"))])(crops(50))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"members": []}, "an ensemble needs a member"),
        ({"weights": [1.0, 2.0]}, "1 members need as many positive weights"),
        ({"weights": [0.0]}, "1 members need as many positive weights"),
        ({"weights": [np.nan]}, "1 members need as many positive weights"),
        ({"weights": [np.inf]}, "1 members need as many positive weights"),
        ({"switch": 101.0}, "the switch to the children's members is at 101 years; 0..100 is allowed"),
        ({"switch": -1.0}, "the switch to the children's members is at -1 years"),
        ({"switch": np.nan}, "the switch to the children's members is at nan years"),
        ({"views": ["upside down"]}, "no view 'upside down'; there are original"),
        ({"views": []}, "a list of one or more of original"),
        ({"names": ["a", "b"]}, "1 members have 2 names; one each is needed"),
    ],
)
def test_an_ensemble_that_cannot_be(options: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted.replace("(", r"\(")):
        Ensemble(**{"members": [at(3.0)], **options})


def test_it_is_a_predictor() -> None:
    answer = Ensemble([at(3.0)]).answer(crops(50))
    assert isinstance(answer, Answer)
    assert Ensemble([at(3.0)])(crops(50)).mean.tolist() == answer.ages.mean.tolist() == [3.0]
