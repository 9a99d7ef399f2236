"""Heads: features -> raw outputs -> probabilities over the ages. To add one: a file here and a line in HEADS."""

from agewise.model.heads.categorical import CategoricalHead
from agewise.model.heads.coral import CoralHead
from agewise.model.heads.corn import CornHead
from agewise.model.heads.gaussian import GaussianHead
from agewise.model.heads.groups import GroupHead
from agewise.model.heads.head import Head
from agewise.model.heads.label_forest import LabelForest
from agewise.model.heads.ordinal import OrdinalHead
from agewise.model.heads.regression import RegressionHead
from agewise.model.heads.regression_forest import RegressionForest

HEADS: dict[str, type[Head]] = {
    "categorical": CategoricalHead,
    "regression": RegressionHead,
    "gaussian": GaussianHead,
    "ordinal": OrdinalHead,
    "coral": CoralHead,
    "corn": CornHead,
    "forest": RegressionForest,
    "label-forest": LabelForest,
    "groups": GroupHead,
}
"""Heads by the name that recipes use. What they take beside features and dropout are their options."""
