"""Frames of one person -> one age: closed forms of Gaussians, and photos of the same people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from agewise.ages import AgeDistribution
from agewise.deployment.estimate import Estimator
from agewise.deployment.fuse import LEAST, RHO, Fusion, weight
from agewise.faces.image import read_photo
from agewise.faces.quality import Quality, quality


def pooled(means: Sequence[float], stds: Sequence[float], weights: Sequence[float] | None = None) -> Fusion:
    fusion = Fusion()
    for mean, std, counted in zip(means, stds, weights or [1.0] * len(means), strict=True):
        fusion.add(AgeDistribution.gaussian(mean, std), counted)
    return fusion


def test_one_frame_is_as_it_was() -> None:
    """Whatever its weight."""
    for counted in (1.0, 0.01):
        fusion = pooled([34.0], [5.0], [counted])
        np.testing.assert_allclose(fusion.ages.probs, AgeDistribution.gaussian(34.0, 5.0).probs, atol=1e-5)
        assert fusion.looks == pytest.approx(1.0)


def test_alike_frames_narrow_the_age_by_what_is_independent_in_them() -> None:
    """The variance of the mean of n equally correlated errors is (1 + (n - 1) rho) / n of one's (Kish 1965)."""
    for count in (2, 5, 1000):
        fusion = pooled([40.0] * count, [4.0] * count)
        assert fusion.looks == pytest.approx(count / (1 + (count - 1) * RHO))
        assert fusion.ages.std[0] == pytest.approx(4.0 * np.sqrt((1 + (count - 1) * RHO) / count), rel=1e-3)
        assert fusion.frames == count
    assert fusion.ages.std[0] > 4.0 * np.sqrt(RHO)


def test_the_age_is_the_mean_weighted_by_quality_and_precision() -> None:
    means, stds, weights = np.array([30.0, 36.0, 41.0]), np.array([3.0, 6.0, 4.0]), np.array([0.5, 1.0, 0.2])
    share = weights / stds**2
    pool = pooled(means.tolist(), stds.tolist(), weights.tolist())
    assert pool.ages.mean[0] == pytest.approx((share * means).sum() / share.sum(), abs=0.02)


def test_frames_of_little_weight_are_no_further_looks() -> None:
    fusion = pooled([40.0] * 51, [4.0] * 51, [1.0, *[1e-4] * 50])
    assert fusion.looks == pytest.approx(1.0, abs=0.01)


def test_neither_order_nor_the_scale_of_weights_matters() -> None:
    means, stds, weights = [30.0, 36.0, 41.0], [3.0, 6.0, 4.0], [0.5, 1.0, 0.2]
    one = pooled(means, stds, weights).ages.probs
    other = pooled(means[::-1], stds[::-1], [value / 7 for value in weights[::-1]]).ages.probs
    np.testing.assert_allclose(one, other)


def test_one_frame_of_many_cannot_rule_an_age_out() -> None:
    fusion = pooled([40.0] * 30, [4.0] * 30)
    fusion.add(AgeDistribution.of_groups([60], [70]))
    assert abs(fusion.ages.mean[0] - 40.0) < 3.0
    assert fusion.ages.probs[0, 40] > 0.05


def test_what_cannot_be_pooled_is_refused() -> None:
    with pytest.raises(ValueError, match="no frame"):
        _ = Fusion().ages
    assert Fusion().looks == 0.0
    with pytest.raises(ValueError, match="2 distributions of the person; 1 is needed"):
        Fusion().add(AgeDistribution.gaussian([30.0, 31.0], 4.0))
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="above 0 is needed"):
            Fusion().add(AgeDistribution.gaussian(30.0, 4.0), wrong)


def test_a_worse_picture_counts_less_and_never_nothing() -> None:
    clear = Quality(200.0, 0.6, 0.0, 0.0, 0.0, 0.95)
    small, blurred = Quality(40.0, 0.6, 0.0, 0.0, 0.0, 0.95), Quality(200.0, 0.2, 0.0, 0.0, 0.0, 0.95)
    turned, doubtful = Quality(200.0, 0.6, -60.0, 0.0, 0.0, 0.95), Quality(200.0, 0.6, 0.0, 0.0, 0.0, 0.6)
    assert weight(clear) == 0.95
    assert all(LEAST < weight(one) < 0.7 for one in (small, blurred, turned, doubtful))
    assert weight(turned) == pytest.approx(weight(clear) / 2)
    assert weight(Quality(40.0, 0.6, float("nan"), 0.0, 0.0, 0.9)) == LEAST
    assert weight(Quality(40.0, 0.0, 120.0, 0.0, 0.0, 0.9)) == LEAST


def test_two_photos_of_a_person_narrow_the_interval_and_it_still_covers(shared: Path) -> None:
    """On some of the pairs of which RHO was measured; all of them are in docs/video.md."""
    import pyarrow.parquet as pq

    rows = pq.read_table(shared / "portraits-studio.parquet", columns=["image", "age", "subject"]).to_pylist()
    people: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        people.setdefault(str(row["subject"]), []).append(row)
    pairs = [photos for photos in people.values() if len(photos) == 2][:8]
    estimator = Estimator(threads=1)
    covered, widths = 0, []
    for photos in pairs:
        fusion, alone = Fusion(), []
        for row in photos:
            pixels = read_photo(row["image"]["bytes"]).pixels  # type: ignore[index]  # a parquet row
            faces = estimator.detector(pixels)[:1]
            ages = estimator.model.of_faces(pixels, faces)
            fusion.add(ages, weight(quality(pixels, faces[0])))
            alone.append(float(np.ptp(ages.interval())))
        low, high = fusion.ages.interval()[0]
        covered += low <= float(photos[0]["age"]) <= high  # type: ignore[arg-type]  # a parquet row
        widths.append((high - low) / np.mean(alone))
    assert covered >= 6
    assert 0.9 < np.mean(widths) < 0.99
