"""Losses: (raw outputs, target distributions) -> (N,). To add one: a file here, a line in LOSSES and FITS."""

from agewise.training.losses.distribution import distribution

LOSSES = {"distribution": distribution}
"""Losses by the name that recipes use."""

FITS = {"categorical": ("distribution",)}
"""Which losses read which head's raw outputs."""
