"""Heads: features -> raw outputs -> probabilities over the ages. To add one: a file here, a line in HEADS and FITS."""

from agewise.model.heads.categorical import CategoricalHead

HEADS = {"categorical": CategoricalHead}
"""Heads by the name that recipes use."""
