"""Forests of soft split nodes on a network's outputs, whose leaves are fitted by EM (Shen et al. 2017, 2018)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
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
        trees: Annotated[int, Field(ge=1)] = 5,
        depth: Annotated[int, Field(ge=2, le=10)] = 6,
        outputs: Annotated[int, Field(ge=1)] = 128,
        every: Annotated[int, Field(ge=1)] = 50,
        memory: Annotated[int, Field(ge=1)] = 2000,
        iterations: Annotated[int, Field(ge=1)] = 20,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        leaves, nodes = 2 ** (depth - 1), 2 ** (depth - 1) - 1
        if outputs < nodes:
            raise ValueError(f"a tree of depth {depth} draws {nodes} of its forest's outputs; there are {outputs}")
        super().__init__(features, outputs, dropout)
        torch.nn.init.normal_(self.linear.weight, std=0.1)
        self.trees_count, self.leaves, self.every, self.iterations, self.seed = trees, leaves, every, iterations, seed
        rng = np.random.default_rng(seed)
        chosen = np.stack([rng.permutation(outputs)[:nodes] for _ in range(trees)])
        self.chosen: Tensor
        self.left: Tensor
        self.right: Tensor
        self.recent: Tensor
        self.targets: Tensor
        self.censored: Tensor
        self.seen: Tensor
        self.register_buffer("chosen", torch.from_numpy(chosen).flatten())
        turns = _turns(depth)
        self.register_buffer("left", torch.from_numpy(turns == 1).float(), persistent=False)
        self.register_buffer("right", torch.from_numpy(turns == -1).float(), persistent=False)
        self.register_buffer("recent", torch.zeros(memory, outputs))
        self.register_buffer("targets", torch.zeros(memory, len(AGES)))
        self.register_buffer("censored", torch.zeros(memory, dtype=torch.bool))
        self.register_buffer("seen", torch.zeros(2, dtype=torch.int64))  # faces and batches
        self.plant()

    @abstractmethod
    def plant(self) -> None:
        """Registers the leaves."""

    def paths(self, raw: Tensor) -> Tensor:
        """Probabilities (N, T, L) of reaching each leaf: left with sigma(f), right with 1 - sigma(f)."""
        splits = raw.float()[:, self.chosen].reshape(-1, self.trees_count, self.leaves - 1)
        return (logsigmoid(splits) @ self.left + logsigmoid(-splits) @ self.right).exp()

    @abstractmethod
    def leaf_probs(self) -> Tensor:
        """What the leaves say (T, L, 101)."""

    def tree_log_probs(self, raw: Tensor) -> Tensor:
        """Logarithms (N, T, 101) of each tree's distribution."""
        mixed = torch.einsum("ntl,tlc->ntc", self.paths(raw), self.leaf_probs())
        return mixed.clamp_min(TINY).log()

    def log_probs(self, raw: Tensor) -> Tensor:
        """Logarithms (N, 101) of the mean of the trees."""
        return self.tree_log_probs(raw).exp().mean(dim=1).log().log_softmax(dim=-1)

    @torch.no_grad()
    def observe(self, raw: Tensor, target: Tensor, group_only: Tensor | None = None) -> None:
        """Remembers the batch in place of the oldest faces; every so often renews the leaves."""
        censored = torch.zeros(len(raw), dtype=torch.bool, device=raw.device) if group_only is None else group_only
        size = len(self.recent)
        places = (int(self.seen[0]) + torch.arange(len(raw), device=raw.device)) % size
        self.recent[places[-size:]] = raw.float()[-size:]
        self.targets[places[-size:]] = target.float()[-size:]
        self.censored[places[-size:]] = censored[-size:]
        self.seen += torch.tensor([len(raw), 1], device=raw.device)
        if int(self.seen[1]) % self.every == 0:
            count = min(int(self.seen[0]), size)
            self.renew(self.paths(self.recent[:count]), self.targets[:count], self.censored[:count])

    @torch.no_grad()
    def renew(self, paths: Tensor, target: Tensor, censored: Tensor | None = None) -> None:
        """EM on the leaves, from the path probabilities (M, T, L) and targets (M, 101) of some faces.

        Of a censored one (M,) only the possible ages are known: what is likely among them is for the leaves to say.
        """
        for _ in range(self.iterations):
            says = self.densities()
            given = torch.einsum("mtl,tlc->mtc", paths, says).clamp_min(1e-30)
            wanted = target[:, None]
            if censored is not None and bool(censored.any()):
                possible = given * (wanted > 0)
                inside = possible / possible.sum(dim=-1, keepdim=True).clamp_min(1e-30)
                wanted = torch.where(censored[:, None, None], inside, wanted)
            shares = torch.einsum("mtl,mtc->tlc", paths, wanted / given) * says
            self.maximise(shares)

    def densities(self) -> Tensor:
        """The leaves' likelihoods (T, L, 101) of each age, as the E step weighs them."""
        return self.leaf_probs()

    @abstractmethod
    def maximise(self, shares: Tensor) -> None:
        """The M step: leaves from the faces' shares (T, L, 101) in each, by age."""


def eased(leaves: Tensor) -> Tensor:
    """Distributions (..., 101) with a little of all ages: one that has the share 0 in a leaf never comes back by EM."""
    return (1 - 1e-4) * leaves + 1e-4 / len(AGES)


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
