"""What heads say, against discretised Gaussians, coral-pytorch's labels, the ages they start from, and age groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coral_pytorch.dataset import corn_label_from_logits, proba_to_label
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy import stats
from scipy.optimize import brentq
from torch import Tensor

from agewise.ages import AGES, AgeDistribution
from agewise.model.age_model import AgeModel, ModelSettings
from agewise.model.heads import HEADS
from agewise.model.heads.bell import bell, held
from agewise.model.heads.coral import CoralHead
from agewise.model.heads.corn import CornHead
from agewise.model.heads.gaussian import GaussianHead
from agewise.model.heads.groups import SCHEMES, GroupHead
from agewise.model.heads.head import Head
from agewise.model.heads.ordinal import OrdinalHead
from agewise.model.heads.regression import RegressionHead
from agewise.training.run_folder import start_from

Floats = NDArray[np.float64]
RANKED = [OrdinalHead, CoralHead, CornHead]


def noise(rows: int, columns: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))


def means(head: Head, raw: Tensor) -> Floats:
    return np.asarray(head.probs(raw).detach().double().numpy() @ AGES)


def gaussian(mean: float, std: float) -> Floats:
    density = stats.norm.pdf(AGES, mean, std)
    return np.asarray(density / density.sum())


PRIORS = {
    "adults": AgeDistribution.gaussian([38.0], [14.0]).probs[0],
    "two peaks": AgeDistribution.gaussian([6.0, 61.0], [5.0, 9.0]).probs.mean(axis=0),
    "everyone": np.full(101, 1 / 101),
}


# The bell


def tilted(mean: float, std: float) -> Floats:
    """The Gaussian cut off at the axis's ends, p ~ exp(t k - k^2 / 2 std^2), with t found by bisection."""

    def probs(tilt: float) -> Floats:
        energy = tilt * AGES - 0.5 * (AGES / std) ** 2
        shares = np.exp(energy - energy.max())
        return np.asarray(shares / shares.sum())

    return probs(float(brentq(lambda tilt: float(probs(tilt) @ AGES) - mean, -1000, 1000, xtol=1e-13)))


def test_a_bell_keeps_its_mean_at_every_age_and_width() -> None:
    centres, widths = torch.meshgrid(torch.linspace(0, 100, 401), torch.linspace(0.5, 20, 40), indexing="ij")
    probs = bell(centres, widths).exp().double()
    found = probs @ torch.arange(101, dtype=torch.float64)
    assert (found - centres.double()).abs().max() < 0.15
    assert torch.allclose(probs.sum(dim=-1), torch.ones(401, 40, dtype=torch.float64), atol=1e-5)


@pytest.mark.parametrize(("mean", "std"), [(50, 14), (30, 7), (25.3, 4), (70.7, 0.8), (8, 2), (95, 1)])
def test_away_from_the_ends_a_bell_is_a_discretised_gaussian(mean: float, std: float) -> None:
    np.testing.assert_allclose(bell(torch.tensor(mean), torch.tensor(std)).exp(), gaussian(mean, std), atol=2e-4)


@pytest.mark.parametrize(("mean", "std"), [(2, 6), (0.3, 2), (12, 14), (97, 4), (99.6, 20), (50, 30), (1, 1)])
def test_at_an_end_a_bell_is_cut_off_and_tilted(mean: float, std: float) -> None:
    found = bell(torch.tensor(float(mean)), torch.tensor(float(std))).exp()
    np.testing.assert_allclose(found, tilted(mean, std), atol=2e-4)


@pytest.mark.parametrize(("mean", "std"), [(40, 6), (3, 5), (96, 9), (0.8, 2)])
def test_the_gradients_of_a_bell_are_those_of_its_tilt(mean: float, std: float) -> None:
    """Of the mean log p under some weights, against differences of the bisected one."""
    weights = np.random.default_rng(0).dirichlet(np.ones(101)) * (np.abs(AGES - mean) < 3 * std)
    given = torch.tensor([float(mean), float(std)], requires_grad=True)
    (bell(given[0], given[1]) * torch.from_numpy(weights).float()).sum().backward()
    assert given.grad is not None

    def value(centre: float, width: float) -> float:
        return float(weights @ np.log(tilted(centre, width) + 1e-300))

    step = 1e-3
    of_mean = (value(mean + step, std) - value(mean - step, std)) / (2 * step)
    of_std = (value(mean, std + step) - value(mean, std - step)) / (2 * step)
    assert given.grad.tolist() == pytest.approx([of_mean, of_std], rel=0.02, abs=2e-3)


def test_widths_stay_on_the_axis() -> None:
    np.testing.assert_allclose(bell(torch.tensor(50.0), torch.tensor(0.01)).exp(), gaussian(50, 0.5), atol=1e-5)
    np.testing.assert_allclose(bell(torch.tensor(50.0), torch.tensor(500.0)).exp(), gaussian(50, 30), atol=1e-5)


def test_what_is_beyond_the_axis_is_clipped_and_can_come_back() -> None:
    far = torch.tensor([-40.0, 130.0, 60.0], requires_grad=True)
    logs = bell(far, torch.tensor(6.0).expand(3))
    assert torch.isfinite(logs).all()
    assert torch.allclose(logs[:2], bell(torch.tensor([0.0, 100.0]), torch.tensor([6.0, 6.0])), atol=1e-3)
    (logs.exp() @ torch.arange(101.0)).sum().backward()
    assert far.grad is not None
    assert far.grad.tolist() == pytest.approx([1, 1, 1], rel=0.05)  # the mean's own
    values = torch.tensor([-3.0, 0.5, 9.0], requires_grad=True)
    kept = held(values, 0.0, 1.0)
    assert kept.tolist() == pytest.approx([0, 0.5, 1])
    kept.sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [1, 1, 1]


# One number


def test_a_normalised_neuron_is_the_place_on_the_axis() -> None:
    raw = torch.tensor([[-0.5], [-0.1], [0.0], [0.23], [0.5]])
    head = RegressionHead(4, normalised=True)
    assert head.age(raw).tolist() == pytest.approx([0, 40, 50, 73, 100], abs=1e-4)  # (y - 50) / 100 the other way
    assert means(head, raw).tolist() == pytest.approx([0, 40, 50, 73, 100], abs=0.15)
    years = RegressionHead(4)
    assert years.age(raw * 100).tolist() == pytest.approx([-50, -10, 0, 23, 50], abs=1e-4)  # not clipped


def test_the_regression_head_says_a_gaussian_as_wide_as_its_errors() -> None:
    head = RegressionHead(4)
    head.variance.fill_(16.0)
    np.testing.assert_allclose(head.probs(torch.tensor([[40.0]]))[0], gaussian(40, 4), atol=1e-6)


@pytest.mark.parametrize("normalised", [False, True])
def test_the_width_follows_the_squared_error(normalised: bool) -> None:
    head, ages = RegressionHead(4, normalised=normalised), np.array([20.0, 35.5, 50.0, 64.0])
    off = np.array([3.0, -5.0, 1.0, -1.0])  # squares 9, 25, 1, 1; 35.5 is half of 35 and half of 36, variance 1/4
    raw = torch.from_numpy(ages + off)[:, None].float()
    raw = (raw - 50) / 100 if normalised else raw
    target = torch.from_numpy(AgeDistribution.of_ages(ages).probs).float()
    expected = 100.0
    for _ in range(5):
        head.observe(raw, target)
        expected = 0.98 * expected + 0.02 * 36.25 / 4
        assert head.variance.item() == pytest.approx(expected, rel=1e-4)
    for _ in range(500):
        head.observe(raw, target)
    assert head.variance.item() == pytest.approx(36.25 / 4, rel=1e-2)


def test_the_width_does_not_learn_from_groups() -> None:
    head, target = RegressionHead(4), torch.from_numpy(AgeDistribution.of_groups([20, 30], [29, 30]).probs).float()
    raw = torch.tensor([[24.0], [36.0]])
    head.observe(raw, target, torch.tensor([True, True]))
    assert head.variance.item() == 100
    head.observe(raw, target, torch.tensor([True, False]))
    assert head.variance.item() == pytest.approx(98 + 0.02 * 36)
    head.observe(raw, target)
    wide = ((AGES[20:30] - 24) ** 2).mean()  # what is uncertain in a target is part of its error
    assert head.variance.item() == pytest.approx(0.98 * 98.72 + 0.02 * (36 + wide) / 2)


def test_a_gaussian_is_said_in_decades_from_fifty() -> None:
    head = GaussianHead(4)
    raw = torch.tensor([[0.0, 0.0], [-1.5, 2 * np.log(0.4)], [2.25, 2 * np.log(0.1)], [8.0, 9.0], [-6.0, -20.0]])
    mean, log_variance = head.normal(raw).unbind(dim=1)
    assert mean.tolist() == pytest.approx([50, 35, 72.5, 130, -10])
    low, high = 2 * np.log(0.5), 2 * np.log(30.0)  # bent smoothly into 0.5..30 years
    risen = low + np.logaddexp(0, raw[:, 1].double().numpy() + 2 * np.log(10.0) - low)
    expected = high - np.logaddexp(0, high - risen)
    assert log_variance.tolist() == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-5)
    std = (0.5 * log_variance).exp().tolist()
    assert std == pytest.approx([10, 4, 1.12, 30, 0.5], rel=0.06)
    for row, centre in enumerate([50, 35, 72.5]):
        np.testing.assert_allclose(head.probs(raw)[row], gaussian(centre, std[row]), atol=1e-4)


def test_a_width_at_its_bound_can_come_back() -> None:
    raw = torch.tensor([[0.0, 9.0], [0.0, -9.0]], requires_grad=True)
    GaussianHead(4).normal(raw)[:, 1].sum().backward()
    assert raw.grad is not None
    assert (raw.grad[:, 1] > 1e-4).all()


# Ranks


def labels_of(head: Head, raw: Tensor) -> Tensor:
    """coral-pytorch's decision: how many ranks are passed with more than a half."""
    if isinstance(head, CornHead):
        return corn_label_from_logits(raw.double())
    return proba_to_label(raw.double().sigmoid())


@pytest.mark.parametrize("kind", RANKED)
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_the_median_is_the_label_of_coral_pytorch(kind: type[Head], scale: float) -> None:
    raw = {
        OrdinalHead: noise(200, 100, scale),  # answers that contradict each other
        CoralHead: noise(200, 1, 2 * scale) + torch.linspace(4, -6, 100),
        CornHead: noise(200, 100, scale) + noise(200, 1) + torch.linspace(8, 1, 100),
    }[kind]
    head = kind(4)
    probs, wanted = head.probs(raw).double(), labels_of(head, raw)
    passed = probs.cumsum(dim=1)
    median = (passed < 0.5).sum(dim=1)
    clear = (passed - 0.5).abs().min(dim=1).values > 1e-5  # where both may round, they may differ
    assert clear.sum() > 190
    assert torch.equal(median[clear], wanted[clear])
    ages = AgeDistribution(probs.numpy()).median
    assert np.abs(ages - wanted.numpy())[clear.numpy()].max() <= 0.5  # a year's mass is spread over it
    assert len(set(wanted.tolist())) > 10


def test_corn_multiplies_its_answers() -> None:
    raw = noise(20, 100, 2.0) + 3
    passed = raw.double().sigmoid().cumprod(dim=1)  # P(age > k)
    expected = -np.diff(np.column_stack([np.ones(20), passed.numpy(), np.zeros(20)]), axis=1)
    head = CornHead(4)
    np.testing.assert_allclose(head.probs(raw), expected, atol=1e-6)
    np.testing.assert_allclose(means(head, raw), passed.sum(dim=1), rtol=1e-5)  # the sum of the ranks


def test_ranks_that_agree_are_differences_of_sigmoids() -> None:
    raw = torch.linspace(5, -5, 100) + noise(20, 1)
    older = raw.double().sigmoid().numpy()
    expected = -np.diff(np.column_stack([np.ones(20), older, np.zeros(20)]), axis=1)
    for kind in (OrdinalHead, CoralHead):
        np.testing.assert_allclose(kind(4).probs(raw), expected, atol=1e-6)


def test_ranks_that_disagree_keep_their_sum() -> None:
    raw = noise(50, 100, 2.0)
    np.testing.assert_allclose(means(OrdinalHead(4), raw), raw.double().sigmoid().sum(dim=1), atol=0.05)
    shuffled = raw[:, torch.randperm(100, generator=torch.Generator().manual_seed(1))]
    assert torch.allclose(OrdinalHead(4).probs(raw), OrdinalHead(4).probs(shuffled))


@pytest.mark.parametrize("kind", RANKED)
@pytest.mark.parametrize("age", [0, 1, 42, 99, 100])
def test_logits_of_fifty_are_one_age(kind: type[Head], age: int) -> None:
    raw = torch.where(torch.arange(100) < age, 50.0, -50.0)[None].requires_grad_()
    head = kind(4)
    logs = head.log_probs(raw)
    assert torch.isfinite(logs).all()
    assert logs[0, age].exp().item() == pytest.approx(1, abs=1e-6)
    assert labels_of(head, raw.detach()).item() == age
    for other in range(101):
        (slope,) = torch.autograd.grad(logs[0, other], raw, retain_graph=True)
        assert torch.isfinite(slope).all()


def test_coral_has_one_direction_and_falling_thresholds() -> None:
    head = CoralHead(6)
    raw = head(noise(5, 6, 100.0))
    assert torch.allclose(raw[:, :1] - raw, (raw[:, :1] - raw)[:1].expand(5, 100), atol=1e-5)
    expected = [(100 - k) / 100 for k in range(100)]
    assert head.thresholds.tolist() == pytest.approx(expected)  # as in coral-pytorch
    assert head.linear.bias is None


# Where training starts


def started(name: str, prior: Floats, **options: Any) -> tuple[Head, Tensor]:
    """A head without a direction yet, and its raw outputs for faces of any features."""
    head = HEADS[name](4, **options)
    torch.nn.init.zeros_(head.linear.weight)
    head.start(prior)
    return head, head(noise(3, 4, 10.0)).detach()


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("name", ["categorical", "ordinal", "coral", "corn"])
def test_before_any_step_the_ages_are_those_of_the_training_faces(name: str, prior: str) -> None:
    head, raw = started(name, PRIORS[prior])
    probs = head.probs(raw).detach().double().numpy()
    np.testing.assert_allclose(probs, np.tile(PRIORS[prior], (3, 1)), atol=1e-3)
    little = (PRIORS[prior] + 1e-4) / (1 + 101e-4)  # every age has a little
    np.testing.assert_allclose(probs, np.tile(little, (3, 1)), atol=1e-5)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("name", ["regression", "normalised", "gaussian", "forest"])
def test_before_any_step_the_mean_is_that_of_the_training_faces(name: str, prior: str) -> None:
    options = {"normalised": {"normalised": True}, "forest": {"trees": 2}}.get(name, {})
    head, raw = started("regression" if name == "normalised" else name, PRIORS[prior], **options)
    allowed = 1.0 if name == "forest" else 0.15  # of 32 quantiles, in completed years
    assert means(head, raw).tolist() == pytest.approx([PRIORS[prior] @ AGES] * 3, abs=allowed)


@pytest.mark.parametrize("name", ["categorical", "ordinal", "coral", "corn"])
def test_an_age_that_no_training_face_has_is_not_ruled_out(name: str) -> None:
    head, raw = started(name, AgeDistribution.of_groups([20], [40]).probs[0])
    logs = head.log_probs(raw)
    assert torch.isfinite(logs).all()
    assert logs.min().exp().item() == pytest.approx(1e-4 / 1.0101, rel=0.05)


# Groups

ADIENCE = [0] * 4 + [1] * 4 + [2] * 6 + [3] * 9 + [4] * 13 + [5] * 10 + [6] * 11 + [7] * 44
"""By hand: 3, 7 and 35 are equally near to two groups and count for the younger; 13 is nearer to 8-12, 14 to 15-20."""
FAIRFACE = [0] * 3 + [1] * 7 + [2] * 10 + [3] * 10 + [4] * 10 + [5] * 10 + [6] * 10 + [7] * 10 + [8] * 31


@pytest.mark.parametrize(("scheme", "cells"), [("adience", ADIENCE), ("fairface", FAIRFACE)])
def test_groups_part_the_ages(scheme: Any, cells: list[int]) -> None:
    head = GroupHead(4, scheme=scheme)
    assert head.cells.shape == (len(SCHEMES[scheme]), 101)
    assert (head.cells.sum(dim=0) == 1).all()
    assert head.cells.argmax(dim=0).tolist() == cells
    for group, (low, high) in enumerate(SCHEMES[scheme]):
        assert set(cells[low : high + 1]) == {group}


@pytest.mark.parametrize(("scheme", "count"), [("adience", 8), ("fairface", 9)])
def test_the_ages_of_a_group_share_its_probability(scheme: Any, count: int) -> None:
    head = GroupHead(4, scheme=scheme)
    raw = head(noise(6, 4, 300.0)).detach()
    assert raw.shape == (6, count)
    probs, classes = head.probs(raw), raw.softmax(dim=1)
    assert torch.allclose(probs @ head.cells.T, classes, atol=1e-6)
    for group in range(count):
        inside = probs[:, head.cells[group] > 0]
        assert torch.allclose(inside, inside[:, :1].expand_as(inside))
    assert torch.allclose(head.groups(raw).exp(), classes, atol=1e-6)


def test_a_scheme_that_there_is_not() -> None:
    settings = {"backbone": {"name": "test_resnet"}, "size": 32}
    with pytest.raises(ValueError, match="scheme: Input should be 'adience' or 'fairface'"):
        ModelSettings.model_validate({**settings, "head": {"name": "groups", "scheme": "utk"}})


@pytest.mark.parametrize("scheme", ["adience", "fairface"])
def test_a_trained_network_takes_the_head_of_the_groups(tiny_run: Path, scheme: str) -> None:
    """As the paper does on Adience: another head on the network that has learned ages (Greco et al. 2021)."""
    recipe = json.loads((tiny_run / "recipe.json").read_text())
    settings = ModelSettings.model_validate({**recipe["model"], "head": {"name": "groups", "scheme": scheme}})
    torch.manual_seed(1)
    model = AgeModel(settings)
    before = model.head.linear.weight.detach().clone()
    start_from(tiny_run, model)
    learned, state = load_file(tiny_run / "model.safetensors"), model.state_dict()
    names = [name for name in state if name.startswith("backbone.")]
    assert names
    assert all(torch.equal(state[name], learned[name]) for name in names)
    assert torch.equal(model.head.linear.weight, before)
    raw = model.eval()(torch.zeros(2, 32, 32, 3, dtype=torch.uint8))
    assert raw.shape == (2, len(SCHEMES[scheme]))
    assert model.head.probs(raw).sum(dim=1).tolist() == pytest.approx([1, 1])
