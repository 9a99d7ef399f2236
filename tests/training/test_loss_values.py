"""Losses against coral-pytorch, torch, SciPy and arithmetic by hand."""

from __future__ import annotations

from math import exp, log, pi
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from coral_pytorch.dataset import levels_from_labelbatch
from coral_pytorch.losses import coral_loss, corn_loss
from scipy import stats
from torch import Tensor
from torch.nn import functional

from agewise.ages import AGES, AgeDistribution
from agewise.data.dataset import labels
from agewise.data.manifest import COLUMNS
from agewise.metrics import crps, epsilon_errors
from agewise.model.heads import HEADS
from agewise.training.config import LossSettings
from agewise.training.losses.axis import blurred, class_of
from agewise.training.losses.corn import corn
from agewise.training.losses.cross_entropy import cross_entropy
from agewise.training.losses.distillation import distillation
from agewise.training.losses.distribution import distribution
from agewise.training.losses.gaussian import beta_nll
from agewise.training.losses.interval import interval
from agewise.training.losses.mean_residue import mean_residue
from agewise.training.losses.mean_variance import mean_variance
from agewise.training.losses.ordinal import importance_of, ordinal
from agewise.training.losses.regression import l1, l2, smooth_l1
from agewise.training.losses.smooth_epsilon import smooth_epsilon
from agewise.training.losses.sord import sord
from agewise.training.losses.squared_emd import squared_emd
from agewise.training.losses.teacher_bounded import teacher_bounded
from agewise.training.losses.tree_likelihood import tree_likelihood
from agewise.training.losses.tree_squares import tree_squares
from agewise.training.losses.unimodal import unimodal
from agewise.training.objective import Objective
from tests.contracts.pairs import head_of

YEARS = torch.tensor([0, 1, 7, 33, 33, 64, 99, 100])


def at(*ages: float) -> Tensor:
    """Targets (N, 101): the exact ages, fractional ones shared by their neighbours."""
    return torch.from_numpy(AgeDistribution.of_ages(ages).probs).float()


def spread(shares: dict[int, float]) -> Tensor:
    """One distribution (1, 101) of the shares by age, and nothing at all other ages."""
    assert sum(shares.values()) == pytest.approx(1)
    probs = torch.zeros(1, 101)
    probs[0, list(shares)] = torch.tensor(list(shares.values()))
    return probs


def logs(shares: dict[int, float]) -> Tensor:
    return spread(shares).clamp_min(1e-30).log()


def noise(columns: int, rows: int = len(YEARS), scale: float = 3.0) -> Tensor:
    """Logits in double precision."""
    return scale * torch.randn(rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def bell(mean: float, std: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    density = stats.norm.pdf(AGES, mean, std)
    return density / density.sum()


def importance(counts: Tensor) -> Tensor:
    """Cao et al. 2020: root of the larger class of each rank, counted face by face, over the largest root."""
    faces = torch.repeat_interleave(torch.arange(101), counts)
    larger = [max(int((faces > k).sum()), int((faces <= k).sum())) for k in range(100)]
    root = torch.tensor(larger, dtype=torch.float64).sqrt()
    return root / root.max()


COUNTS = torch.randint(0, 9, (101,), generator=torch.Generator().manual_seed(3))
PRIOR = (COUNTS / COUNTS.sum()).float()


# Ranks. In double precision against coral-pytorch to 1e-6, but for importance weights, which are single.


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_coral_is_that_of_coral_pytorch(scale: float) -> None:
    logits = noise(100, scale=scale)
    levels = levels_from_labelbatch(YEARS, 101, torch.float64)
    expected = coral_loss(logits, levels, reduction=None)
    torch.testing.assert_close(ordinal(logits, at(*YEARS)), expected, rtol=1e-9, atol=1e-9)
    assert ordinal(logits, at(*YEARS)).mean().item() == pytest.approx(coral_loss(logits, levels).item(), abs=1e-6)


def test_coral_with_importance_is_that_of_coral_pytorch() -> None:
    logits, levels = noise(100), levels_from_labelbatch(YEARS, 101, torch.float64)
    expected = coral_loss(logits, levels, importance_weights=importance(COUNTS), reduction=None)
    torch.testing.assert_close(ordinal(logits, at(*YEARS), PRIOR, True), expected, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(expected, coral_loss(logits, levels, reduction=None), rtol=1e-2)
    torch.testing.assert_close(ordinal(logits, at(*YEARS), PRIOR), ordinal(logits, at(*YEARS)))


def test_importance_is_the_root_of_the_larger_class() -> None:
    torch.testing.assert_close(importance_of(PRIOR, PRIOR, True).double(), importance(COUNTS), rtol=1e-6, atol=1e-6)
    halves = importance_of(spread({10: 0.5, 60: 0.5})[0], PRIOR, True)
    assert halves[:10].tolist() == [1] * 10  # everyone is older
    assert halves[10:60].tolist() == pytest.approx([0.5**0.5] * 50)
    assert halves[60:].tolist() == [1] * 40
    assert importance_of(PRIOR, PRIOR, False).tolist() == [1]
    with pytest.raises(ValueError, match="importance weights need the distribution of the training faces"):
        importance_of(None, PRIOR, True)


def test_the_objective_hands_the_prior_over() -> None:
    head, logits = head_of("coral"), noise(100).float()
    objective = Objective(LossSettings.model_validate({"name": "ordinal", "importance": True}), PRIOR)
    levels = levels_from_labelbatch(YEARS, 101)
    expected = coral_loss(logits, levels, importance_weights=importance(COUNTS).float(), reduction=None)
    torch.testing.assert_close(objective(head, logits, at(*YEARS)), expected, rtol=1e-5, atol=1e-5)


def test_ranks_are_binary_cross_entropy_of_hard_and_soft_answers() -> None:
    logits = noise(100)
    levels = levels_from_labelbatch(YEARS, 101, torch.float64)
    expected = functional.binary_cross_entropy_with_logits(logits, levels, reduction="none").sum(dim=1)
    torch.testing.assert_close(ordinal(logits, at(*YEARS)), expected, rtol=1e-9, atol=1e-9)
    soft = spread({20: 0.25, 21: 0.5, 40: 0.25})
    older = torch.tensor([[1.0] * 20 + [0.75] + [0.25] * 19 + [0.0] * 60], dtype=torch.float64)
    expected = functional.binary_cross_entropy_with_logits(logits[:1], older, reduction="none").sum(dim=1)
    torch.testing.assert_close(ordinal(logits[:1], soft), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_corn_over_its_pairs_is_that_of_coral_pytorch(scale: float) -> None:
    logits = noise(100, scale=scale)
    pairs = sum(sum(age > k - 1 for k in range(100)) for age in YEARS.tolist())
    expected = float(corn_loss(logits, YEARS, num_classes=101))
    assert float(corn(logits, at(*YEARS)).sum()) / pairs == pytest.approx(expected, abs=1e-6, rel=1e-9)


def test_corn_weighs_its_ranks() -> None:
    logits = noise(100)
    weights, expected = importance(COUNTS), []
    for row, age in zip(logits, YEARS.tolist(), strict=True):
        terms = [-functional.logsigmoid(row[k] if age > k else -row[k]) * weights[k] for k in range(100) if age >= k]
        expected.append(torch.stack(terms).sum())
    torch.testing.assert_close(corn(logits, at(*YEARS), PRIOR, True), torch.stack(expected), rtol=1e-6, atol=1e-6)


def test_corn_is_the_cross_entropy_of_its_ages() -> None:
    raw = noise(100).float()
    soft = torch.from_numpy(AgeDistribution.gaussian(YEARS.numpy(), np.full(8, 4.0)).probs).float()
    expected = cross_entropy(HEADS["corn"](4).log_probs(raw), soft)
    torch.testing.assert_close(corn(raw, soft), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loss", [ordinal, corn])
def test_a_hundred_ranks_are_stable_at_logits_of_fifty(loss: Any) -> None:
    right = torch.where(torch.arange(100) < YEARS[:, None], 50.0, -50.0).requires_grad_()
    wrong = (-right.detach()).requires_grad_()
    best, worst = loss(right, at(*YEARS)), loss(wrong, at(*YEARS))
    asked = torch.full((8,), 100.0) if loss is ordinal else (YEARS + 1.0).clamp_max(100)
    assert best.tolist() == pytest.approx([0] * 8, abs=1e-6)
    assert worst.tolist() == pytest.approx((50 * asked).tolist())
    (best + worst).sum().backward()
    assert right.grad is not None
    assert right.grad.abs().max() < 1e-6
    assert wrong.grad is not None
    assert wrong.grad.abs().sum(dim=1).tolist() == pytest.approx(asked.tolist())


# Classes and distributions


def test_dex_is_torchs_cross_entropy_of_the_nearest_year() -> None:
    logits, ages = noise(101, rows=5).float(), [0.0, 20.4, 20.6, 99.7, 100.0]
    expected = functional.cross_entropy(logits, torch.tensor([0, 20, 21, 100, 100]), reduction="none")
    torch.testing.assert_close(cross_entropy(logits.log_softmax(dim=1), at(*ages), hard=True), expected)
    soft = at(*ages)
    expected = functional.cross_entropy(logits, soft, reduction="none")  # of probabilities
    torch.testing.assert_close(cross_entropy(logits.log_softmax(dim=1), soft), expected)
    assert class_of(soft).tolist() == [0, 20, 21, 100, 100]


@pytest.mark.parametrize("mean_weight", [0.0, 1.0, 0.3])
def test_dldl_is_scipys_divergence_and_v2_adds_the_means(mean_weight: float) -> None:
    logits = noise(101, rows=3)
    probs = logits.softmax(dim=1).numpy()
    for row, age in enumerate([30, 1, 98]):
        wanted = bell(age, 2.0)
        expected = stats.entropy(wanted, probs[row]) + mean_weight * abs(probs[row] @ AGES - wanted @ AGES)
        chosen = logits[row : row + 1].log_softmax(dim=1).float()
        given = distribution(chosen, at(age), mean_weight=mean_weight, sigma=2.0)
        assert given.item() == pytest.approx(expected, rel=1e-5)
        soft = torch.from_numpy(wanted[None]).float()
        assert distribution(chosen, soft, mean_weight=mean_weight).item() == pytest.approx(expected, rel=1e-5)


def test_dldl_v2_by_hand() -> None:
    probs = {20: 0.5, 30: 0.25, 40: 0.25}  # mean 27.5
    target = spread({20: 0.5, 30: 0.5})  # mean 25
    divergence = 0.5 * log(0.5 / 0.5) + 0.5 * log(0.5 / 0.25)
    assert distribution(logs(probs), target).item() == pytest.approx(divergence, rel=1e-5)
    assert distribution(logs(probs), target, mean_weight=1.0).item() == pytest.approx(divergence + 2.5, rel=1e-5)


def test_dadl_takes_the_annotators_std() -> None:
    columns = {"age": [30.4, 61.0], "age_std": [4.2, 0.0]}
    table = pa.table({name: pa.array(column, COLUMNS[name]) for name, column in columns.items()})
    target = torch.from_numpy(labels(table, Path("m"))[0])
    logits = noise(101, rows=2)
    given = distribution(logits.log_softmax(dim=1).float(), target)
    probs = logits.softmax(dim=1).numpy()
    expected = [stats.entropy(bell(30.4, 4.2), probs[0]), -log(probs[1, 61])]  # no disagreement: the one year
    assert given.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mean_weight", [0.0, 0.3])
def test_distillation_at_temperature_1_is_the_distribution_loss(mean_weight: float) -> None:
    logits = noise(101, rows=3).float().log_softmax(dim=1)
    targets = torch.from_numpy(np.stack([bell(30, 2.0), bell(1, 0.7), AgeDistribution.of_groups([60], [69]).probs[0]]))
    given = distillation(logits, targets.float(), temperature=1.0, mean_weight=mean_weight)
    torch.testing.assert_close(given, distribution(logits, targets.float(), mean_weight), rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 7.5])
def test_distillation_has_hintons_gradient(temperature: float) -> None:
    """Of the logits: (q - p) / T, both sides under the temperature, times T^2 (Hinton et al. 2015, section 2.1)."""
    logits, teacher = noise(101), noise(101, scale=1.0).flip(0)
    free = logits.float().requires_grad_()
    distillation(free.log_softmax(dim=1), teacher.softmax(dim=1).float(), temperature).sum().backward()
    assert free.grad is not None
    apart = (logits / temperature).softmax(dim=1) - (teacher / temperature).softmax(dim=1)
    torch.testing.assert_close(free.grad.double(), temperature * apart, rtol=1e-4, atol=1e-5)


def test_hot_distillation_matches_logits() -> None:
    """At a high temperature the gradient is the difference of the centred logits over their number (ibid.)."""
    logits, teacher = noise(101, scale=0.1), noise(101, scale=0.1).flip(0)
    free = logits.float().requires_grad_()
    distillation(free.log_softmax(dim=1), teacher.softmax(dim=1).float(), 20.0).sum().backward()
    assert free.grad is not None
    centred = [side - side.mean(dim=1, keepdim=True) for side in (logits, teacher)]
    torch.testing.assert_close(101 * free.grad.double(), centred[0] - centred[1], rtol=0.05, atol=2e-3)


def test_distillation_by_hand() -> None:
    target, given = spread({20: 0.8, 30: 0.2}), logs({20: 0.5, 30: 0.5})
    # at temperature 2 the target's shares are as 2 to 1, and an age that it rules out has sqrt(1e-8 / 0.8) of the first
    root, floor = np.array([0.8, 0.2]) ** 0.5, 1e-4
    wanted, rest = root / (root.sum() + 99 * floor), floor / (root.sum() + 99 * floor)
    held = logs({20: 0.5, 30: 0.5}).clamp_min(log(1e-8))  # what a student that is as sure would say
    plain = np.array([0.5, 0.5]) ** 0.5
    answer, other = plain / (plain.sum() + 99 * floor), floor / (plain.sum() + 99 * floor)
    expected = 4 * (float(wanted @ np.log(wanted / answer)) + 99 * rest * log(rest / other))
    assert distillation(held, target).item() == pytest.approx(expected, rel=1e-4)
    means = distillation(given, target, mean_weight=0.5) - distillation(given, target)
    assert means.item() == pytest.approx(0.5 * 3, rel=1e-4)  # 25 and 22


SURE = {20: 0.5, 30: 0.5}  # mean 25


@pytest.mark.parametrize(
    ("low", "high", "teacher", "margin", "years"),
    [
        (22.0, 22.0, 24.0, 0.0, 3.0),  # known 22: the student is 3 off and the teacher 2
        (22.0, 22.0, 18.9, 0.0, 0.0),  # 3 and 3.1
        (22.0, 22.0, 30.0, 0.0, 0.0),  # 3 and 8
        (22.0, 22.0, 18.9, 0.5, 3.0),  # better, but not by the margin
        (22.0, 22.0, 30.0, 0.5, 0.0),
        (30.0, 40.0, 33.0, 0.0, 5.0),  # a group: 5 below it, the teacher inside
        (30.0, 40.0, 29.0, 0.0, 5.0),
        (20.0, 29.0, 50.0, 0.0, 0.0),  # inside the group
        (float("nan"), float("nan"), 90.0, 9.0, 0.0),  # nothing is known
        (60.0, float("nan"), 90.0, 9.0, 0.0),
    ],
)
def test_teacher_bounded_by_hand(low: float, high: float, teacher: float, margin: float, years: float) -> None:
    target, given = at(teacher), logs(SURE).clamp_min(-20)
    bounds = torch.tensor([low]), torch.tensor([high])
    plain = distribution(given, target)
    for weight in (0.0, 0.1, 2.0):
        found = teacher_bounded(given, target, *bounds, known_weight=weight, margin=margin)
        assert found.item() == pytest.approx(plain.item() + weight * years, rel=1e-5)


def test_an_unknown_label_leaves_the_teacher_alone() -> None:
    logits, target = noise(101, rows=4).float(), at(3.0, 40.5, 77.0, 100.0)
    found = []
    for loss in (teacher_bounded, distribution):
        free = logits.clone().requires_grad_()
        bounds = [torch.full((4,), torch.nan)] * 2 if loss is teacher_bounded else []
        loss(free.log_softmax(dim=1), target, *bounds).sum().backward()
        assert free.grad is not None
        found.append(free.grad)
    torch.testing.assert_close(found[0], found[1])
    assert torch.isfinite(found[0]).all()


def test_known_labels_pull_only_the_faces_worse_than_the_teacher() -> None:
    logits, target = torch.zeros(2, 101, requires_grad=True), at(40.0, 40.0)  # the student says 50, the teacher 40
    known = torch.tensor([38.0, 49.0])  # 12 and 2 years off; 1 and 9
    (teacher_bounded(logits.log_softmax(dim=1), target, known, known, known_weight=1.0)).sum().backward()
    assert logits.grad is not None
    plain = torch.zeros(2, 101, requires_grad=True)
    distribution(plain.log_softmax(dim=1), target).sum().backward()
    assert plain.grad is not None
    pull = logits.grad - plain.grad
    torch.testing.assert_close(pull[0], (torch.arange(101.0) - 50) / 101)  # of the mean, downhill
    assert pull[1].tolist() == [0.0] * 101


def test_the_objective_hands_the_known_labels_over() -> None:
    head, logits, target = head_of("categorical"), noise(101, rows=3).float(), at(20.0, 30.0, 90.0)
    objective = Objective(LossSettings.model_validate({"name": "teacher-bounded", "known_weight": 0.7}))
    low, high = torch.tensor([20.0, torch.nan, 60.0]), torch.tensor([21.0, torch.nan, 70.0])
    expected = teacher_bounded(logits.log_softmax(dim=1), target, low, high, 0.7)
    torch.testing.assert_close(objective(head, logits, target, known=(low, high)), expected)
    without = distribution(logits.log_softmax(dim=1), target)
    torch.testing.assert_close(objective(head, logits, target), without)  # nobody's age is known
    assert expected[0] > without[0] + 1
    with pytest.raises(ValueError, match="low"):
        LossSettings.model_validate({"name": "teacher-bounded", "low": 3.0})


def test_a_blurred_target_is_a_bell_around_each_of_its_ages() -> None:
    target = spread({3: 0.75, 60: 0.25})
    expected = 0.75 * bell(3, 2.0) + 0.25 * bell(60, 2.0)
    np.testing.assert_allclose(blurred(target, 2.0).numpy()[0], expected, atol=1e-6)
    assert blurred(target, 0.0) is target
    ends = blurred(at(0.0, 100.0), 5.0)
    assert ends.sum(dim=1).tolist() == pytest.approx([1, 1])
    assert ends[0].tolist() == pytest.approx(ends[1].flip(0).tolist(), abs=1e-6)


def test_mean_variance_by_hand() -> None:
    probs = logs({20: 0.5, 22: 0.25, 24: 0.25})
    # mean 10 + 5.5 + 6 = 21.5; variance 0.5 * 1.5^2 + 0.25 * 0.5^2 + 0.25 * 2.5^2 = 1.125 + 0.0625 + 1.5625 = 2.75
    # the truth is 22: cross entropy log 4, (21.5 - 22)^2 / 2 = 0.125
    expected = log(4) + 0.2 * 0.125 + 0.05 * 2.75
    assert mean_variance(probs, at(22.0)).item() == pytest.approx(expected, rel=1e-5)
    expected = log(4) + 3.0 * 0.125 + 2.0 * 2.75
    assert mean_variance(probs, at(22.0), 3.0, 2.0).item() == pytest.approx(expected, rel=1e-5)
    # the truth is 20.5, half of 20 and half of 21, where nothing is: the mean is a year off
    spared = logs({20: 0.5, 21: 0.25, 24: 0.25})  # mean 21.25, variance 0.78125 + 0.015625 + 1.890625 = 2.6875
    expected = 0.5 * log(2) + 0.5 * log(4) + 0.2 * 0.5 * 0.75**2 + 0.05 * 2.6875
    assert mean_variance(spared, at(20.5)).item() == pytest.approx(expected, rel=1e-5)


def residue(*shares: float) -> float:
    """-sum q log q of the shares below the true one's, and of the floor at all other ages (Zhao et al. 2020)."""
    q = np.array([share + 1e-3 for share in shares] + [1e-3] * (101 - len(shares)))
    return float(-(q * np.log(q)).sum())


def test_mean_residue_by_hand() -> None:
    probs = logs({20: 0.4, 22: 0.2, 24: 0.2, 30: 0.15, 40: 0.05})  # mean 8 + 4.4 + 4.8 + 4.5 + 2 = 23.7
    # the truth is 22, so 20 (more likely) and 24 (as likely) are exempt; 30 and 40 are the residue
    expected = log(5) + 0.2 * 0.5 * 1.7**2 + 0.05 * residue(0.15, 0.05)
    assert mean_residue(probs, at(22.0)).item() == pytest.approx(expected, rel=1e-5)
    # the truth is 40: nothing is less likely, and the floor alone is left, 101 * 0.0069
    expected = log(20) + 0.2 * 0.5 * 16.3**2 + 0.05 * 101 * 1e-3 * log(1000)
    assert mean_residue(probs, at(40.0)).item() == pytest.approx(expected, rel=1e-5)
    # the truth is 20: it alone is exempt
    expected = log(2.5) + 0.3 * 0.5 * 3.7**2 + 0.7 * residue(0.2, 0.2, 0.15, 0.05)
    assert mean_residue(probs, at(20.0), 0.3, 0.7).item() == pytest.approx(expected, rel=1e-5)


def test_mean_residue_exempts_as_many_ages_as_are_likelier() -> None:
    """The gradient of the residue alone: -p (log q + 1) below the true age, and exactly none for the K exempt."""
    logits = noise(101, rows=6, scale=1.0).float()
    found = logits.log_softmax(dim=1).requires_grad_()
    truth = torch.tensor([3, 3, 50, 77, 0, 100])
    mean_residue(found, at(*truth), mean_weight=0.0, residue_weight=1.0).sum().backward()
    assert found.grad is not None
    slope = found.grad + functional.one_hot(truth, 101)  # without the cross entropy
    probs = found.detach().exp()
    exempt = probs >= probs.gather(1, truth[:, None])
    expected = torch.where(exempt, 0.0, -probs * ((probs + 1e-3).log() + 1))
    torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-6)
    kept = exempt.sum(dim=1)
    assert ((slope == 0).sum(dim=1) == kept).all()
    assert len(set(kept.tolist())) > 3


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_sord_of_absolute_distances_is_a_geometric_series(temperature: float) -> None:
    """Against probs ~ exp(-|j - 50| / 2): log Z + E|j - 50| / 2, both of them sums of a geometric series."""
    log_probs = (-(torch.arange(101.0) - 50).abs() / 2).log_softmax(dim=0)[None]
    ratio, other = exp(-1 / temperature), exp(-0.5)
    distance = 2 * ratio / (1 - ratio**2)
    expected = log((1 + other) / (1 - other)) + distance / 2
    assert sord(log_probs, at(50.0), temperature=temperature).item() == pytest.approx(expected, rel=1e-4)


def test_sord_of_squared_distances_is_a_bell() -> None:
    """With a temperature of twice the variance; a fractional truth is the bell's own centre."""
    logits, age = noise(101, rows=1), 30.25
    expected = -(bell(age, 3.0) @ logits.log_softmax(dim=1).numpy()[0])
    given = sord(logits.log_softmax(dim=1).float(), at(age), power=2.0, temperature=18.0)
    assert given.item() == pytest.approx(expected, rel=1e-5)
    assert sord(logits.log_softmax(dim=1).float(), at(age)).item() != pytest.approx(expected, rel=1e-3)


def test_squared_emd_by_hand() -> None:
    probs = logs({20: 0.5, 22: 0.3, 25: 0.2})  # cumulative 0.5 at 20, 21; 0.8 at 22, 23, 24; 1 from 25 on
    expected = 0.5**2 + 0.5**2 + 3 * 0.2**2  # the truth is 21: 0 at 20, 1 from there on
    assert squared_emd(probs, at(21.0)).item() == pytest.approx(expected, rel=1e-5)
    assert squared_emd(probs, at(21.0)).item() == pytest.approx(crps(AgeDistribution(probs.exp()), [21.0]), rel=1e-5)
    soft = spread({20: 0.25, 22: 0.75})  # 0.25 at 20, 21; 1 from 22 on
    assert squared_emd(probs, soft).item() == pytest.approx(2 * 0.25**2 + 3 * 0.2**2, rel=1e-5)


def test_unimodal_by_hand() -> None:
    probs = logs({20: 0.5, 21: 0.1, 22: 0.4})
    mean = 20.9  # variance 0.5 * 0.81 + 0.1 * 0.01 + 0.4 * 1.21 = 0.405 + 0.001 + 0.484 = 0.89
    for truth, wrong in ((20, 0.3), (22, 0.4), (21, 0.7)):  # up after 20; down before 22; both around 21
        expected = 0.5 * log(0.89) + (mean - truth) ** 2 / (2 * 0.89)
        assert unimodal(probs, at(truth), slope_weight=0.0).item() == pytest.approx(expected, rel=1e-4)
        assert unimodal(probs, at(truth)).item() == pytest.approx(expected + 1000 * wrong, rel=1e-4)
        assert unimodal(probs, at(truth), slope_weight=5.0).item() == pytest.approx(expected + 5 * wrong, rel=1e-4)


@pytest.mark.parametrize("age", [0, 2, 40, 100])
def test_one_peak_at_the_truth_has_no_slope_penalty(age: int) -> None:
    found = torch.from_numpy(np.maximum(bell(age, 6.0), 1e-30)[None]).float().log()
    plain = unimodal(found, at(age), slope_weight=0.0)
    assert unimodal(found, at(age)).item() == pytest.approx(plain.item(), abs=1e-3)
    shifted = unimodal(found, at(60)) - unimodal(found, at(60), slope_weight=0.0)
    peak, there = bell(age, 6.0)[age], bell(age, 6.0)[60]
    assert shifted.item() == pytest.approx(1000 * (peak - there), rel=1e-3)  # from the peak to the truth, all downhill


@pytest.mark.parametrize("name", HEADS)
def test_an_interval_is_the_mass_inside(name: str) -> None:
    head = head_of(name, 4)
    raw = head(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)))
    bounds = [(0, 2), (25, 32), (60, 100)]
    target = torch.from_numpy(AgeDistribution.of_groups(*zip(*bounds, strict=True)).probs).float()
    probs = head.probs(raw).detach().double()
    expected = [-log(float(row[low : high + 1].sum())) for row, (low, high) in zip(probs, bounds, strict=True)]
    assert interval(head.log_probs(raw), target).tolist() == pytest.approx(expected, rel=1e-4)


def test_an_interval_asks_not_how_its_ages_are_weighed() -> None:
    probs = logs({20: 0.5, 25: 0.3, 40: 0.2})
    for target in (spread({20: 0.5, 25: 0.5}), spread({20: 0.01, 25: 0.99})):
        assert interval(probs, target).item() == pytest.approx(-log(0.8), rel=1e-5)
    found = probs.clone().requires_grad_()
    interval(found, spread({20: 0.5, 25: 0.5})).sum().backward()
    assert found.grad is not None
    assert found.grad[0, [20, 25, 40]].tolist() == pytest.approx([-0.625, -0.375, 0])
    everything = interval(probs, torch.full((1, 101), 1 / 101))
    assert everything.item() == pytest.approx(0, abs=1e-6)


# Numbers of years

OFF = torch.tensor([30.0, 31.5, 20.0, 55.0])
TRUE = [30.0, 30.5, 28.0, 51.6]


@pytest.mark.parametrize("unit", [1.0, 5.0, 100.0])
def test_distances_are_torchs(unit: float) -> None:
    wanted, mean = at(*TRUE), torch.tensor(TRUE)
    close = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(
        l1(OFF, wanted, unit), functional.l1_loss(OFF / unit, mean / unit, reduction="none"), **close
    )
    torch.testing.assert_close(
        l2(OFF, wanted, unit), functional.mse_loss(OFF / unit, mean / unit, reduction="none"), **close
    )
    for beta in (0.02, 1.0, 4.0):
        expected = functional.smooth_l1_loss(OFF / unit, mean / unit, reduction="none", beta=beta)
        torch.testing.assert_close(smooth_l1(OFF, wanted, beta, unit), expected, **close)
    assert smooth_l1(torch.tensor([33.0]), at(30.0), beta=4.0).item() == pytest.approx(9 / 8)
    assert smooth_l1(torch.tensor([38.0]), at(30.0), beta=4.0).item() == pytest.approx(8 - 2)


def test_smooth_epsilon_goes_from_half_the_square_to_the_challenges_error() -> None:
    wanted, off = at(*TRUE), OFF.numpy() - np.array(TRUE)
    squares, errors = off**2 / 2, epsilon_errors(OFF.numpy(), TRUE, [3.0] * 4)
    assert smooth_epsilon(OFF, wanted, 0.0).tolist() == pytest.approx(squares.tolist(), abs=1e-5)
    assert smooth_epsilon(OFF, wanted, 1.0).tolist() == pytest.approx(errors.tolist(), abs=1e-5)
    half = (squares + errors) / 2
    assert smooth_epsilon(OFF, wanted, 0.5).tolist() == pytest.approx(half.tolist(), abs=1e-5)
    wider = epsilon_errors(OFF.numpy(), TRUE, [5.0] * 4)
    assert smooth_epsilon(OFF, wanted, 1.0, sigma=5.0).tolist() == pytest.approx(wider.tolist(), abs=1e-5)


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_the_objective_hands_the_progress_over(progress: float) -> None:
    objective = Objective(LossSettings.model_validate({"name": "smooth-epsilon", "sigma": 5.0}))
    given = objective(head_of("regression"), OFF[:, None], at(*TRUE), progress=progress)
    torch.testing.assert_close(given, smooth_epsilon(OFF, at(*TRUE), progress, 5.0))


STD = torch.tensor([1.0, 2.5, 0.7, 12.0])


def test_beta_0_is_the_gaussian_likelihood() -> None:
    normal = torch.stack([OFF, 2 * STD.log()], dim=1)
    given = beta_nll(normal, at(*TRUE), beta=0.0)
    expected = -torch.distributions.Normal(OFF, STD).log_prob(torch.tensor(TRUE)) - 0.5 * log(2 * pi)
    shared = torch.tensor([0, 0.25, 0, 0.24])  # the variance of a fractional age's two neighbours
    torch.testing.assert_close(given, expected + shared / (2 * STD**2), rtol=1e-4, atol=1e-4)
    torchs = functional.gaussian_nll_loss(OFF, torch.tensor(TRUE).round(), STD**2, reduction="none")
    rounded = beta_nll(normal, at(*np.round(TRUE)), beta=0.0)
    torch.testing.assert_close(rounded, torchs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_beta_scales_the_gradients(beta: float) -> None:
    """By variance^beta: of the mean (m - y) / variance, of the log variance (1 - squared / variance) / 2."""
    normal = torch.stack([OFF, 2 * STD.log()], dim=1).requires_grad_()
    ages = torch.tensor(TRUE).round()
    beta_nll(normal, at(*ages), beta=beta).sum().backward()
    assert normal.grad is not None
    variance, off = STD**2, OFF - ages
    torch.testing.assert_close(normal.grad[:, 0], variance ** (beta - 1) * off, rtol=1e-4, atol=1e-4)
    expected = variance**beta * 0.5 * (1 - off**2 / variance)
    torch.testing.assert_close(normal.grad[:, 1], expected, rtol=1e-4, atol=1e-3)
    if beta == 1:  # of the mean as half of squared error's
        torch.testing.assert_close(normal.grad[:, 0], off)


def test_a_soft_label_is_a_wide_one() -> None:
    target = spread({20: 0.5, 30: 0.5})  # mean 25, variance 25
    normal = torch.tensor([[28.0, log(16.0)]])
    expected = 0.5 * (log(16) + (9 + 25) / 16)
    assert beta_nll(normal, target, beta=0.0).item() == pytest.approx(expected, rel=1e-5)
    assert beta_nll(normal, target).item() == pytest.approx(4 * expected, rel=1e-5)
    mean, best = 25.0, log(25.0)  # where the likelihood ends: the target's own mean and variance
    at_best = torch.tensor([[mean, best]], requires_grad=True)
    beta_nll(at_best, target, beta=0.0).sum().backward()
    assert at_best.grad is not None
    assert at_best.grad.abs().max() < 1e-5


# Trees


def test_tree_squares_by_hand() -> None:
    trees = torch.tensor([[30.0, 40.0, 20.0], [50.0, 50.0, 50.0]])
    # (0 + 100 + 100) / 2 and 3 * 0.6^2 / 2 years squared
    assert tree_squares(trees, at(30.0, 50.6), unit=1.0).tolist() == pytest.approx([100, 0.54], rel=1e-4)
    assert tree_squares(trees, at(30.0, 50.6)).tolist() == pytest.approx([0.01, 0.000054], rel=1e-4)


def test_tree_likelihood_averages_over_trees() -> None:
    both = torch.stack([logs({20: 0.5, 30: 0.5}), logs({20: 0.125, 40: 0.875})], dim=1)
    assert tree_likelihood(both, at(20.0)).item() == pytest.approx((log(2) + log(8)) / 2, rel=1e-5)
    target = spread({20: 0.75, 30: 0.25})
    one = tree_likelihood(both[:, :1], target)
    assert one.item() == pytest.approx(log(2), rel=1e-5)
