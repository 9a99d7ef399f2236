"""Forests of soft split nodes on a network's outputs, whose leaves are fitted by EM (Shen et al. 2017, 2018)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from agewise.ages import AGES
from agewise.model.heads.head import Head

TINY = 1e-12
"""Least probability in a division or a logarithm."""


class Forest(Head):
    """Raw outputs (N, outputs): the functions from which the split nodes of all trees are drawn.

    The leaves are no parameters: every `every` batches, EM fits them to the last `memory` faces (20 iterations, or
    `iterations`). A subclass says what a leaf is. depth counts the root: 6 is 31 split nodes and 32 leaves.
    """

    def __init__(
        self,
        features: int,
        dropout: float = 0.0,
        trees: int = 5,
        depth: int = 6,
        outputs: int = 128,
        every: int = 50,
        memory: int = 2000,
        iterations: int = 20,
        seed: int = 0,
    ) -> None:
        leaves, nodes = 2 ** (depth - 1), 2 ** (depth - 1) - 1
        if not (trees >= 1 and 2 <= depth <= 10 and outputs >= nodes and every >= 1 and memory >= 1):
            raise ValueError(
                f"a forest of {trees} trees of depth {depth} on {outputs} outputs, renewed every {every} batches from "
                f"{memory} faces; allowed are 1 tree or more, depth 2..10, {nodes} outputs or more, 1 or more of each"
            )
        super().__init__(features, outputs, dropout)
        torch.nn.init.normal_(self.linear.weight, std=0.1)
        self.trees_count, self.leaves, self.every, self.iterations = trees, leaves, every, iterations
        rng = np.random.default_rng(seed)
        chosen = np.stack([rng.permutation(outputs)[:nodes] for _ in range(trees)])
        self.chosen: Tensor
        self.left: Tensor
        self.right: Tensor
        self.recent: Tensor
        self.targets: Tensor
        self.seen: Tensor
        self.register_buffer("chosen", torch.from_numpy(chosen).flatten())
        turns = _turns(depth)
        self.register_buffer("left", torch.from_numpy(turns == 1).float(), persistent=False)
        self.register_buffer("right", torch.from_numpy(turns == -1).float(), persistent=False)
        self.register_buffer("recent", torch.zeros(memory, outputs))
        self.register_buffer("targets", torch.zeros(memory, len(AGES)))
        self.register_buffer("seen", torch.zeros(2, dtype=torch.int64))  # faces and batches

    def paths(self, raw: Tensor) -> Tensor:
        """Probabilities (N, T, L) of reaching each leaf: left with sigma(f), right with 1 - sigma(f)."""
        splits = raw.float()[:, self.chosen].reshape(-1, self.trees_count, self.leaves - 1)
        return (logsigmoid(splits) @ self.left + logsigmoid(-splits) @ self.right).exp()

    def leaf_probs(self) -> Tensor:
        """What the leaves say (T, L, 101)."""
        raise NotImplementedError

    def tree_log_probs(self, raw: Tensor) -> Tensor:
        """Logarithms (N, T, 101) of each tree's distribution."""
        mixed = torch.einsum("ntl,tlc->ntc", self.paths(raw), self.leaf_probs())
        return mixed.clamp_min(TINY).log()

    def log_probs(self, raw: Tensor) -> Tensor:
        """Logarithms (N, 101) of the mean of the trees."""
        return self.tree_log_probs(raw).exp().mean(dim=1).log().log_softmax(dim=-1)

    @torch.no_grad()
    def observe(self, raw: Tensor, target: Tensor) -> None:
        """Remembers the batch in place of the oldest faces; every so often renews the leaves."""
        size = len(self.recent)
        places = (int(self.seen[0]) + torch.arange(len(raw), device=raw.device)) % size
        self.recent[places[-size:]] = raw.float()[-size:]
        self.targets[places[-size:]] = target.float()[-size:]
        self.seen += torch.tensor([len(raw), 1], device=raw.device)
        if int(self.seen[1]) % self.every == 0:
            count = min(int(self.seen[0]), size)
            self.renew(self.paths(self.recent[:count]), self.targets[:count])

    @torch.no_grad()
    def renew(self, paths: Tensor, target: Tensor) -> None:
        """EM on the leaves, from the path probabilities (M, T, L) and targets (M, 101) of some faces."""
        for _ in range(self.iterations):
            says = self.densities()
            given = torch.einsum("mtl,tlc->mtc", paths, says).clamp_min(1e-30)
            shares = torch.einsum("mtl,mtc->tlc", paths, target[:, None] / given) * says
            self.maximise(shares)

    def densities(self) -> Tensor:
        """The leaves' likelihoods (T, L, 101) of each age, as the E step weighs them."""
        return self.leaf_probs()

    def maximise(self, shares: Tensor) -> None:
        """The M step: leaves from the faces' shares (T, L, 101) in each, by age."""
        raise NotImplementedError


def _turns(depth: int) -> NDArray[np.int64]:
    """Per split node (rows) and leaf (columns): 1 where the way to the leaf turns left, -1 right, 0 not on it."""
    leaves = 2 ** (depth - 1)
    turns = np.zeros((leaves - 1, leaves), dtype=np.int64)
    for leaf in range(leaves):
        node = leaf + leaves - 1
        while node > 0:
            parent = (node - 1) // 2
            turns[parent, leaf] = 1 if node == 2 * parent + 1 else -1
            node = parent
    return turns
