"""Forests: trees walked by hand, gradients by finite differences, leaves by EM in slow loops, and their memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from agewise.ages import AGES, AgeDistribution
from agewise.data.settings import SettingsError, check
from agewise.model.age_model import ModelSettings
from agewise.model.heads.forest import Forest
from agewise.model.heads.label_forest import LabelForest
from agewise.model.heads.regression_forest import RegressionForest
from agewise.training.losses.tree_likelihood import tree_likelihood
from agewise.training.losses.tree_squares import tree_squares

FORESTS = [RegressionForest, LabelForest]
Floats = NDArray[np.float64]
YEARS = range(101)


def small(kind: type[Forest], **changes: Any) -> Any:
    """Two trees of three splits and four leaves on eight outputs."""
    torch.manual_seed(0)
    return kind(4, **{"trees": 2, "depth": 3, "outputs": 8, "every": 3, "memory": 8, **changes})


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def soft(count: int, seed: int = 0, std: float = 4.0) -> Tensor:
    years = np.random.default_rng(seed).uniform(0, 90, count)
    return torch.from_numpy(AgeDistribution.gaussian(years, np.full(count, std)).probs)


def groups(count: int) -> Tensor:
    low = np.random.default_rng(1).integers(0, 90, count)
    return torch.from_numpy(AgeDistribution.of_groups(low, low + 10).probs)


def walked(raw: Floats, chosen: NDArray[np.int64], leaves: int) -> Floats:
    """Probability of each leaf of one tree for one face, from the root down: children of n are 2n + 1 and 2n + 2."""
    found = np.zeros(leaves)

    def walk(node: int, share: float) -> None:
        if node >= leaves - 1:
            found[node - (leaves - 1)] = share
            return
        left = 1 / (1 + np.exp(-raw[chosen[node]]))
        walk(2 * node + 1, share * left)
        walk(2 * node + 2, share * (1 - left))

    walk(0, 1.0)
    return found


def all_walked(forest: Forest, raw: Floats) -> Floats:
    chosen = forest.chosen.reshape(forest.trees_count, -1).numpy()
    return np.array([[walked(row, tree, forest.leaves) for tree in chosen] for row in raw])


def test_three_levels_by_hand() -> None:
    forest = small(RegressionForest, trees=1, outputs=3)
    forest.chosen.copy_(torch.tensor([2, 0, 1]))  # root, its left child, its right child
    raw = torch.tensor([[np.log(4.0), 0.0, np.log(3.0)]])  # left with 4/5, 1/2 and 3/4
    root, left, right = 3 / 4, 4 / 5, 1 / 2
    expected = [root * left, root * (1 - left), (1 - root) * right, (1 - root) * (1 - right)]
    assert forest.paths(raw)[0, 0].tolist() == pytest.approx(expected)
    forest.means.copy_(torch.tensor([[10.0, 20.0, 40.0, 80.0]]))
    assert forest.trees(raw)[0, 0].item() == pytest.approx(0.6 * 10 + 0.15 * 20 + 0.125 * 40 + 0.125 * 80)


def test_a_tree_that_goes_left_ends_at_the_first_leaf() -> None:
    forest = small(LabelForest)
    ends = forest.paths(torch.tensor([[50.0] * 8, [-50.0] * 8]))
    assert ends[0, :, 0].tolist() == pytest.approx([1, 1])
    assert ends[1, :, -1].tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("depth", [2, 3, 6])
def test_paths_are_walks(depth: int) -> None:
    forest = small(LabelForest, trees=3, depth=depth, outputs=40)
    raw = 3 * noise(5, 40)
    paths = forest.paths(raw)
    assert torch.allclose(paths.sum(dim=2), torch.ones(5, 3), atol=1e-6)
    np.testing.assert_allclose(paths.numpy(), all_walked(forest, raw.double().numpy()), atol=1e-6)


def test_a_tree_draws_each_output_once_and_trees_share_them() -> None:
    forest = RegressionForest(4)
    chosen = forest.chosen.reshape(5, 31)
    assert all(len(set(tree.tolist())) == 31 for tree in chosen)
    assert len(set(forest.chosen.tolist())) < 5 * 31  # 155 of 128: some are drawn twice
    other = RegressionForest(4, seed=1)
    assert torch.equal(RegressionForest(4).chosen, forest.chosen)
    assert not torch.equal(other.chosen, forest.chosen)


def squares(forest: RegressionForest, raw: Floats, age: float) -> float:
    """Half the squared errors of the trees in hundreds of years, in NumPy and double precision."""
    ages = (all_walked(forest, raw[None])[0] * forest.means.double().numpy()).sum(axis=1)
    return float(0.5 * (((ages - age) / 100) ** 2).sum())


def test_gradients_of_tree_squares_are_finite_differences() -> None:
    """Autograd in single precision against NumPy in double; trees that share an output add up."""
    forest = small(RegressionForest, trees=4)  # 12 draws from 8 outputs
    forest.start(AgeDistribution.gaussian([40.0], [15.0]).probs[0])
    raw = noise(3, 8).requires_grad_()
    ages = [12.0, 40.0, 77.0]
    wanted = torch.from_numpy(AgeDistribution.of_ages(ages).probs).float()
    tree_squares(forest.trees(raw), wanted).sum().backward()
    assert raw.grad is not None
    step, expected = 1e-5, np.zeros((3, 8))
    for row, column in np.ndindex(3, 8):
        moved = np.zeros(8)
        moved[column] = step
        place = raw.detach().double().numpy()[row]
        rise = squares(forest, place + moved, ages[row]) - squares(forest, place - moved, ages[row])
        expected[row, column] = rise / (2 * step)
    np.testing.assert_allclose(raw.grad.numpy(), expected, rtol=1e-3, atol=1e-6)
    counts = np.bincount(forest.chosen.numpy(), minlength=8)
    assert counts.max() > 1
    assert (raw.grad.numpy()[:, counts == 0] == 0).all()


def test_gradients_of_tree_squares_are_the_papers() -> None:
    """Of split n: s_n A_right - (1 - s_n) A_left, A_l = (y - tree's age) mean_l P_l, summed over trees (Shen 2018)."""
    forest = small(RegressionForest, trees=4, depth=4)
    forest.means.copy_(100 * torch.rand(4, 8, generator=torch.Generator().manual_seed(1)))
    raw, age = noise(1, 8, seed=2).requires_grad_(), 33.0
    wanted = torch.from_numpy(AgeDistribution.of_ages([age]).probs).float()
    tree_squares(forest.trees(raw), wanted, unit=1.0).sum().backward()
    assert raw.grad is not None
    outputs, means = raw.detach().double().numpy()[0], forest.means.double().numpy()
    expected = np.zeros(8)
    for tree, chosen in enumerate(forest.chosen.reshape(4, 7).numpy()):
        path = walked(outputs, chosen, 8)
        share = np.zeros(15)  # of all nodes, the leaves last
        share[7:] = (age - path @ means[tree]) * means[tree] * path
        for node in range(6, -1, -1):
            share[node] = share[2 * node + 1] + share[2 * node + 2]
            split = 1 / (1 + np.exp(-outputs[chosen[node]]))
            expected[chosen[node]] += split * share[2 * node + 2] - (1 - split) * share[2 * node + 1]
    np.testing.assert_allclose(raw.grad.numpy()[0], expected, rtol=1e-4, atol=1e-3)


class Unsmoothed(LabelForest):
    """The papers' own M step."""

    def maximise(self, shares: Tensor) -> None:
        self.says.copy_(shares / shares.sum(dim=-1, keepdim=True))


def likelihood(forest: Forest, paths: Tensor, target: Tensor) -> Tensor:
    """Mean over faces (T,) of the expected log of each tree's likelihood."""
    given = torch.einsum("mtl,tlc->mtc", paths, forest.densities())
    return (target[:, None] * given.log()).sum(dim=2).mean(dim=0)


@pytest.mark.parametrize(
    ("kind", "fall"),
    # mixing in 1e-4 leaves every density at least 0.9999 of EM's, so a step costs no more than this
    [(RegressionForest, 1e-12), (Unsmoothed, 1e-12), (LabelForest, -np.log(1 - 1e-4))],
)
def test_em_never_makes_the_faces_less_likely(kind: type[Forest], fall: float) -> None:
    forest = small(kind, trees=3, depth=4, iterations=1)
    paths, target = forest.paths(2 * noise(60, 8)).double(), soft(60)
    forest.double()
    found = [likelihood(forest, paths, target)]
    for _ in range(20):
        forest.renew(paths, target)
        found.append(likelihood(forest, paths, target))
    steps = torch.stack(found).diff(dim=0)
    assert (steps >= -fall).all()
    assert (found[-1] > found[0] + 0.05).all()
    assert (steps[0] > 1e-3).all()


def shares_of(forest: Forest, paths: Floats, target: Floats, censored: NDArray[np.bool_]) -> Floats:
    """What of each face's age is each leaf's (T, L, 101), face by face (the E step)."""
    says = forest.densities().double().numpy()
    shares = np.zeros(says.shape)
    for face, tree in np.ndindex(len(paths), len(says)):
        whole = [sum(paths[face, tree, leaf] * leaves[age] for leaf, leaves in enumerate(says[tree])) for age in YEARS]
        weights = target[face]
        if censored[face]:  # any age of the group, by what the tree thinks of it
            weights = np.array([whole[age] if target[face, age] > 0 else 0 for age in YEARS])
            weights = weights / weights.sum()
        for leaf, age in np.ndindex(says.shape[1], 101):
            shares[tree, leaf, age] += weights[age] * paths[face, tree, leaf] * says[tree, leaf, age] / whole[age]
    return shares


@pytest.mark.parametrize("kind", FORESTS)
@pytest.mark.parametrize("known", [7, 4, 0])
def test_one_step_of_em_in_slow_loops(kind: type[Forest], known: int) -> None:
    forest = small(kind, iterations=1)
    paths, target = forest.paths(2 * noise(7, 8)), torch.cat([soft(known), groups(7 - known)])
    censored = torch.arange(7) >= known
    shares = shares_of(forest, paths.double().numpy(), target.numpy(), censored.numpy())
    total = shares.sum(axis=2)
    forest.renew(paths, target.float(), censored)
    assert total.sum() == pytest.approx(2 * 7)  # every face is shared out in every tree
    if isinstance(forest, LabelForest):
        expected = 0.9999 * shares / total[..., None] + 1e-4 / 101
        np.testing.assert_allclose(forest.says.numpy(), expected, atol=1e-5)
        return
    for tree, leaf in np.ndindex(2, 4):
        mean = (shares[tree, leaf] * AGES).sum() / total[tree, leaf]
        variance = (shares[tree, leaf] * (AGES - mean) ** 2).sum() / total[tree, leaf]
        assert forest.means[tree, leaf].item() == pytest.approx(mean, rel=1e-4)
        assert forest.variances[tree, leaf].item() == pytest.approx(max(variance, 0.25), rel=1e-3)


@pytest.mark.parametrize(("kind", "fall"), [(RegressionForest, 1e-12), (Unsmoothed, 1e-12)])
def test_em_never_makes_groups_less_likely(kind: type[Forest], fall: float) -> None:
    """Of a censored face the likelihood is that of any of its ages, however the target weighs them."""
    forest = small(kind, trees=3, depth=4, iterations=1)
    paths, target = forest.paths(2 * noise(60, 8)).double(), torch.cat([soft(30), groups(30)])
    forest.double()
    censored = torch.arange(60) >= 30

    def score() -> Tensor:
        given = torch.einsum("mtl,tlc->mtc", paths, forest.densities())
        exact = (target[:30, None] * given[:30].log()).sum(dim=2)
        inside = (given[30:] * (target[30:, None] > 0)).sum(dim=2).log()
        return torch.cat([exact, inside]).mean(dim=0)

    found = [score()]
    for _ in range(20):
        forest.renew(paths, target, censored)
        found.append(score())
    assert (torch.stack(found).diff(dim=0) >= -fall).all()
    assert (found[-1] > found[0] + 0.05).all()


def test_which_faces_are_censored_is_remembered() -> None:
    forest = small(LabelForest, every=1000)
    forest.observe(noise(6, 8), soft(6).float())
    forest.observe(noise(5, 8), groups(5).float(), torch.tensor([True, False, True, True, False]))
    # eight places: faces 8, 9 and 10 are in those of 0, 1 and 2
    assert forest.censored.tolist() == [True, True, False, False, False, False, True, False]


def test_twenty_steps_are_one_step_twenty_times() -> None:
    once, often = small(LabelForest), small(LabelForest, iterations=1)
    paths, target = once.paths(noise(9, 8)), soft(9).float()
    once.renew(paths, target)
    for _ in range(20):
        often.renew(paths, target)
    assert torch.equal(once.says, often.says)


@pytest.mark.parametrize("kind", FORESTS)
def test_a_leaf_that_no_face_reaches_stays(kind: type[Forest]) -> None:
    forest = small(kind)
    paths = forest.paths(noise(20, 8))
    paths[:, :, 2] = 0
    before = forest.leaf_probs().clone()
    forest.renew(paths, soft(20).float())
    after = forest.leaf_probs()
    assert torch.equal(after[:, 2], before[:, 2])
    assert all(not torch.allclose(after[:, leaf], before[:, leaf], atol=1e-3) for leaf in (0, 1, 3))
    assert torch.isfinite(after).all()


def test_leaves_of_one_age_keep_half_a_year() -> None:
    forest = small(RegressionForest)
    forest.means.copy_(torch.tensor([12.0, 18.0, 21.0, 30.0]).expand(2, 4))
    forest.renew(forest.paths(noise(10, 8)), torch.eye(101)[[20] * 10])
    assert torch.allclose(forest.means, torch.tensor(20.0), atol=1e-3)
    assert torch.allclose(forest.variances, torch.tensor(0.25))
    again = small(LabelForest)
    assert (again.says > 0).all()
    again.renew(again.paths(noise(10, 8)), torch.eye(101)[[20] * 10])
    assert again.says[..., 20].min() > 0.9998
    assert (again.says > 0).all()  # an age given up could come back


def test_the_oldest_faces_are_forgotten_first() -> None:
    forest = small(LabelForest, every=1000)
    sizes, faces = (3, 4, 2, 8, 20, 1), noise(38, 8)
    target, first = soft(38).float(), 0
    for size in sizes:
        forest.observe(faces[first : first + size], target[first : first + size])
        first += size
        held = forest.recent[: min(first, 8)]
        expected = faces[max(0, first - 8) : first]
        order = [int((expected == row).all(dim=1).nonzero()) for row in held]
        assert sorted(order) == list(range(len(held)))
        assert torch.equal(forest.targets[: len(held)], target[max(0, first - 8) : first][order])
    assert forest.seen.tolist() == [38, len(sizes)]


@pytest.mark.parametrize("every", [1, 3])
def test_leaves_are_renewed_every_so_many_batches_from_what_is_remembered(
    every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    forest, given = small(LabelForest, every=every), []
    monkeypatch.setattr(
        forest, "renew", lambda paths, target, censored: given.append((paths, target.clone(), censored))
    )
    for batch in range(7):
        forest.observe(noise(2, 8, seed=batch), soft(2, seed=batch).float())
        assert len(given) == (batch + 1) // every
    assert [len(paths) for paths, *_ in given] == [min(2 * every * (n + 1), 8) for n in range(7 // every)]
    paths, target, censored = given[0]
    assert not censored.any()
    assert torch.equal(paths, forest.paths(torch.cat([noise(2, 8, seed=batch) for batch in range(every)])))
    assert torch.equal(target, torch.cat([soft(2, seed=batch).float() for batch in range(every)]))


def bimodal(count: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Faces of two kinds: one is 10 or 70 years old, the other 30 or 50."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, count)
    ages = np.where(kind, rng.choice([30, 50], count), rng.choice([10, 70], count))
    features = np.column_stack([2.0 * kind - 1, 1 - 2.0 * kind, rng.normal(size=(count, 2)) / 4])
    return torch.from_numpy(features).float(), ages


def learned(kind: type[Forest], every: int) -> tuple[float, Tensor]:
    """Mean likelihood loss after the same steps, with leaves renewed every so often; and what is said of each face."""
    forest = small(kind, trees=3, every=every, memory=200, iterations=20)
    features, ages = bimodal(200)
    wanted = torch.eye(101)[ages]
    optimizer = torch.optim.Adam(forest.parameters(), lr=0.1)
    for _ in range(60):
        raw = forest(features)
        optimizer.zero_grad()
        tree_likelihood(forest.tree_log_probs(raw), wanted).mean().backward()
        optimizer.step()
        forest.observe(raw.detach(), wanted)
    with torch.no_grad():
        probs = forest.probs(forest(features))
    return float(-(wanted * probs.clamp_min(1e-9).log()).sum(dim=1).mean()), probs[ages == 10]


@pytest.mark.parametrize(("kind", "best"), [(LabelForest, np.log(2) + 0.1), (RegressionForest, 2.0)])
def test_two_ages_are_learned_by_renewing_the_leaves(kind: type[Forest], best: float) -> None:
    without, _ = learned(kind, 10_000)
    found, probs = learned(kind, 10)
    assert found < best
    assert found < without - 1
    near = probs[:, [8, 9, 10, 11, 12, 68, 69, 70, 71, 72]].sum(dim=1)
    assert near.min() > 0.8  # ten or seventy,
    assert 0.2 < float(probs[:, :30].sum(dim=1).mean()) < 0.8  # and it does not know which


def test_the_forest_says_the_mean_of_its_trees() -> None:
    forest = small(LabelForest)
    raw = noise(3, 8)
    trees = forest.tree_log_probs(raw).exp()
    assert torch.allclose(trees.sum(dim=2), torch.ones(3, 2), atol=1e-5)
    assert torch.allclose(forest.probs(raw), trees.mean(dim=1), atol=1e-6)
    mixed = np.einsum("ntl,tlc->ntc", all_walked(forest, raw.double().numpy()), forest.says.double().numpy())
    np.testing.assert_allclose(trees.numpy(), mixed, atol=1e-6)


def test_a_regression_forest_begins_with_the_ages_of_its_faces() -> None:
    forest = RegressionForest(4)
    prior = AgeDistribution.gaussian([40.0], [12.0]).probs[0]
    forest.start(prior)
    expected = 40 + 12 * torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(32) + 0.5) / 32)
    for means in forest.means:
        assert torch.allclose(means.sort().values, expected, atol=0.8)
    assert forest.variances.unique().tolist() == pytest.approx([12**2 / 4], rel=0.01)
    torch.nn.init.zeros_(forest.linear.weight)
    assert forest.trees(forest(noise(2, 4))).flatten().tolist() == pytest.approx([40] * 10, abs=0.6)
    assert len({tuple(means.tolist()) for means in forest.means}) > 1  # trees differ from the first step


@pytest.mark.parametrize("changes", [{"trees": 0}, {"depth": 1}, {"depth": 11}, {"every": 0}, {"memory": 0}], ids=str)
@pytest.mark.parametrize("name", ["forest", "label-forest"])
def test_forests_that_cannot_grow(name: str, changes: dict[str, int]) -> None:
    ((option, value),) = changes.items()
    values = {"backbone": {"name": "test_resnet"}, "head": {"name": name, **changes}}
    with pytest.raises(SettingsError, match=rf"{name}.*{option}: .*(greater|less) than .*\(given: {value}\)") as caught:
        check(values, ModelSettings, "r")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", FORESTS)
def test_a_tree_needs_an_output_for_each_split(kind: type[Forest]) -> None:
    assert small(kind, depth=4, outputs=7).leaves == 8
    with pytest.raises(ValueError, match="a tree of depth 5 draws 15 of its forest's outputs; there are 8"):
        small(kind, depth=5)
