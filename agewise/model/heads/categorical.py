"""One class a year: softmax over the 101 ages (Rothe et al. 2015; Gao et al. 2017)."""

from __future__ import annotations

from torch import Tensor, nn

from agewise.ages import AGES


class CategoricalHead(nn.Module):
    """Features (N, D) -> logits (N, 101); probabilities are their softmax."""

    def __init__(self, features: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(features, len(AGES))
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Raw outputs (N, 101)."""
        return self.linear(self.dropout(features))

    def probs(self, raw: Tensor) -> Tensor:
        """Probabilities (N, 101) over the ages 0..100."""
        return raw.float().softmax(dim=1)
