"""A Predictor of your own: whatever turns face crops into an AgeDistribution works wherever a model does."""

import numpy as np
from numpy.typing import NDArray

from agewise import AgeDistribution, Predictor


def grey_hair(crops: NDArray[np.uint8]) -> AgeDistribution:
    """Says 30 years, and 30 more the paler and the less colourful the top of the frame is; it is often wrong."""
    hair = crops[:, : crops.shape[1] // 6].astype(np.float64)
    paleness = hair.min(axis=3).mean(axis=(1, 2)) / 255
    return AgeDistribution.gaussian(30 + 30 * paleness, 15.0)


def average_person(crops: NDArray[np.uint8]) -> AgeDistribution:
    """Does not look: everybody is between 18 and 65."""
    return AgeDistribution.of_groups(np.full(len(crops), 18), np.full(len(crops), 65))


def mean_of(*predictors: Predictor) -> Predictor:
    """Several Predictors are one: the mean of what they say."""
    return lambda crops: AgeDistribution(np.mean([predict(crops).probs for predict in predictors], axis=0))


if __name__ == "__main__":
    noise = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    for age in mean_of(grey_hair, average_person)(noise):
        print(f"{age.mean:.1f} +- {age.std:.1f} years, 90 % between {age.low:.0f} and {age.high:.0f}")
