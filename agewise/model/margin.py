"""Identity by large-margin cosines (Wang et al. 2018, CosFace): a head, and its loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class MarginHead(nn.Module):
    """Features (N, D) -> cosines (N, subjects) with the direction learned for each subject."""

    def __init__(self, features: int, subjects: int) -> None:
        super().__init__()
        if features < 1 or subjects < 2:
            raise ValueError(f"features is {features} and subjects is {subjects}; 1 and 2 are the least")
        # rows of about length 1: a step of the optimiser turns a row by the step over the length
        self.weight = nn.Parameter(torch.randn(subjects, features) * features**-0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Cosines -1..1 (N, subjects), in single precision even under autocast.

        In bfloat16 a cosine is off by up to 0.002, which the usual scale of 64 makes 0.13 in a logit. A face whose
        features are all 0 has the cosine 0 with everyone.
        """
        with torch.autocast(features.device.type, enabled=False):
            faces = functional.normalize(features.float(), dim=1, eps=1e-6)
            return faces @ functional.normalize(self.weight.float(), dim=1, eps=1e-6).T


def margin_loss(cosines: Tensor, subject: Tensor, margin: float = 0.4, scale: float = 64.0) -> Tensor:
    """Cross entropy of softmax(scale * cosines), with `margin` taken from the true subject's: one value a face (N,).

    subject: the column (N,) of each face's person; faces of unknown persons must be left out.
    The defaults are those of Qin et al. 2023. Raises ValueError on a column that is not there.
    """
    if not 0.0 <= margin <= 1.0 or scale <= 0.0:
        raise ValueError(f"margin is {margin:g} and scale is {scale:g}; 0..1 and above 0 are allowed")
    count, subjects = cosines.shape
    if subject.shape != (count,):
        raise ValueError(f"subject has shape {tuple(subject.shape)}; ({count},) is needed")
    if ((subject < 0) | (subject >= subjects)).any():
        raise ValueError(f"subject holds {int(subject.min())}..{int(subject.max())}; 0..{subjects - 1} is allowed")
    exact = cosines.float()
    column = subject[:, None].long()
    harder = exact.scatter_add(1, column, exact.new_full((count, 1), -margin))
    return functional.cross_entropy(scale * harder, column[:, 0], reduction="none")
