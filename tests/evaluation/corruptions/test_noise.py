from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from agewise.evaluation.corruptions.noise import (
    BUCKETS,
    PHOTONS,
    SIGMAS,
    UNSETTLED,
    _photon_tables,
    developed,
    gaussian_noise,
    photon_counts,
)


@pytest.mark.parametrize("severity", [1, 5])
def test_the_gaussian_noise_is_normal_independent_and_clipped(severity: int) -> None:
    image = np.full((200, 200, 3), 128, dtype=np.uint8)
    out = gaussian_noise(image, severity, np.random.default_rng(0), "paper")
    sigma = 255 * SIGMAS[severity - 1]
    counts = np.bincount(out.ravel(), minlength=256)
    chances = np.diff(stats.norm.cdf(np.arange(-0.5, 256), 128, sigma), prepend=0, append=1)
    chances[1] += chances[0]
    chances[-2] += chances[-1]
    chances = chances[1:-1]
    often = chances * image.size > 20
    chi = stats.chisquare(counts[often], chances[often] * counts[often].sum() / chances[often].sum())
    assert chi.pvalue > 1e-3
    assert abs(np.corrcoef(out[:, :, 0].ravel(), out[:, :, 1].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("photons", [*PHOTONS, 100])
@pytest.mark.parametrize("level", [1, 90, 255])
def test_photons_follow_poisson(photons: int, level: int) -> None:
    image = np.full((150, 150, 3), level, dtype=np.uint8)
    counts = np.bincount(photon_counts(image, photons, np.random.default_rng(1)).ravel())
    expected = stats.poisson.pmf(np.arange(len(counts)), photons * level / 255) * image.size
    often = expected > 10
    found, wanted = counts[often], expected[often]
    assert counts[~often].sum() < 80
    assert stats.chisquare(found, wanted * found.sum() / wanted.sum()).pvalue > 1e-3


@pytest.mark.parametrize("photons", [5, 60])
def test_the_tables_are_the_law_and_settle_most_draws(photons: int) -> None:
    settled, chances = _photon_tables(photons, 1.0)
    mean = photons * np.arange(256) / 255
    np.testing.assert_allclose(chances, stats.poisson.cdf(np.arange(chances.shape[1]), mean[:, None]), atol=1e-12)
    assert (settled == UNSETTLED).mean() < 0.03
    assert chances.shape[1] <= UNSETTLED
    bucket = np.arange(BUCKETS)
    known = settled.reshape(256, BUCKETS)[200]
    middle = stats.poisson.ppf((bucket + 0.5) / BUCKETS, mean[200])
    np.testing.assert_array_equal(known[known != UNSETTLED], middle[known != UNSETTLED])


def test_black_sends_no_photon_and_counts_are_scaled_to_white() -> None:
    black = np.zeros((40, 40, 3), dtype=np.uint8)
    assert not photon_counts(black, 60, np.random.default_rng(0)).any()
    counts = np.array([[[0, 1, 2]], [[3, 8, 200]]], dtype=np.uint8)
    assert developed(counts, 8, "paper").ravel().tolist() == [0, 32, 64, 96, 255, 255]
    assert developed(counts, 8, "released").ravel().tolist() == [0, 31, 63, 95, 255, 255]
