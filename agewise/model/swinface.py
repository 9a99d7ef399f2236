"""SwinFace (Qin et al. 2023): one Swin trunk (Liu et al. 2021), and an attention to its levels for each task group."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from timm.models.swin_transformer import SwinTransformer, SwinTransformerStage
from torch import Tensor, nn
from torch.nn import functional

STAGES = 4
"""Stages of the trunk; every stage but the first begins with a merge of 2 x 2 tokens."""

SHARES = (47, 93, 186, 186)
"""Of 512 channels, those that each level gives to a group's features, finest level first."""

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "swinface_t": {},
    "swinface_small": {
        "size": 96,
        "patch": 4,
        "width": 24,
        "heads": (1, 2, 4, 8),
        "window": 6,
        "features": 128,
        "drop_path": 0.05,
    },
    "swinface_tiny": {
        "size": 32,
        "patch": 2,
        "width": 8,
        "depths": (2, 1, 1, 1),
        "heads": (1, 2, 2, 4),
        "window": 4,
        "features": 32,
        "drop_path": 0.0,
    },
}
"""Arguments of SwinFace by name: the paper's, one that a CPU can train, and one for tests."""


class SwinFace(nn.Module):
    """Pixels (N, 3, S, S), scaled to -1..1 -> features (N, `num_features`) for every group of tasks.

    size: pixels S of the input's side, a multiple of 8 * patch.
    width: channels of the first stage; every merge doubles them.
    window: tokens of an attention window's side; it divides every map that is larger than it.
    identity: one more name in the answer, whose features see the last map alone, for a `MarginHead`.
    Raises ValueError where the arguments do not fit each other.
    """

    def __init__(
        self,
        groups: Sequence[str],
        size: int = 112,
        patch: int = 2,
        width: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        drop_path: float = 0.1,
        *,
        features: int = 512,
        dropout: float = 0.5,
        identity: str | None = None,
    ) -> None:
        super().__init__()
        _check_names([*groups, identity] if identity is not None else groups)
        _check_trunk(width, depths, heads)
        _check_maps(size, patch, window)
        _check_shares(drop_path=drop_path, dropout=dropout)
        self.size = size
        self.num_features = features
        self.trunk = SwinTransformer(
            img_size=size,
            patch_size=patch,
            num_classes=0,
            embed_dim=width,
            depths=tuple(depths),
            num_heads=tuple(heads),
            window_size=window,
            drop_path_rate=drop_path,
        )
        self.channels = (2 * width, 4 * width, 8 * width, 8 * width)
        self.groups = nn.ModuleDict({name: LevelAttention(self.channels, features, dropout) for name in groups})
        self.identity = identity
        if identity is not None:
            self.embedding = _embedding(self.channels[-1], features)

    def levels(self, pixels: Tensor) -> list[Tensor]:
        """Four maps (N, `channels`, side, side) of S / patch / 2, 4, 8 and 8: after each merge, and the last.

        A merge belongs to the stage before it here, as in Liu et al. 2021; timm counts it to the stage after it.
        """
        if pixels.shape[1:] != (3, self.size, self.size):
            raise ValueError(f"pixels have shape {tuple(pixels.shape)}; (N, 3, {self.size}, {self.size}) is needed")
        tokens = self.trunk.patch_embed(pixels)
        merged = []
        for index, stage in enumerate(self.trunk.layers):
            assert isinstance(stage, SwinTransformerStage)
            tokens = stage.downsample(tokens)
            if index > 0:
                merged.append(tokens)
            tokens = stage.blocks(tokens)
        return [level.permute(0, 3, 1, 2) for level in (*merged, self.trunk.norm(tokens))]

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Features (N, `num_features`) by the group's name; finer levels are averaged down to the last one's side."""
        levels = self.levels(pixels)
        side = levels[-1].shape[-1]
        pooled = [functional.avg_pool2d(level, level.shape[-1] // side) for level in levels]
        features = {name: attend(pooled) for name, attend in self.groups.items()}
        if self.identity is not None:
            features[self.identity] = self.embedding(levels[-1].mean(dim=(2, 3)))
        return features


class LevelAttention(nn.Module):
    """Multi-level channel attention: maps (N, C_i, s, s) of all levels -> features (N, D) of one group of tasks.

    A 3 x 3 convolution a level, a gate over all channels, the maximum over places, two fully connected layers.
    """

    def __init__(self, channels: Sequence[int], features: int = 512, dropout: float = 0.5) -> None:
        super().__init__()
        parts = zip(channels, split(features), strict=True)
        self.reduce = nn.ModuleList(nn.Conv2d(wide, narrow, 3, padding=1) for wide, narrow in parts)
        self.gate = ChannelGate(features)
        self.norm = nn.BatchNorm1d(features)
        layers = [[nn.Linear(features, features), nn.ReLU(), nn.Dropout(dropout)] for _ in range(2)]
        self.mix = nn.Sequential(*layers[0], *layers[1])

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Features (N, D)."""
        maps = [reduce(level) for reduce, level in zip(self.reduce, levels, strict=True)]
        gated = torch.relu(self.gate(torch.cat(maps, dim=1)))
        return self.mix(self.norm(gated.amax(dim=(2, 3))))


class ChannelGate(nn.Module):
    """Scales each channel of maps (N, C, H, W) by 0..1, from all channels' means and maxima (Woo et al. 2018)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.narrow = nn.Linear(channels, hidden, bias=False)
        self.widen = nn.Linear(hidden, channels, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, C, H, W)."""
        hidden = torch.relu(self.narrow(maps.mean(dim=(2, 3)))) + torch.relu(self.narrow(maps.amax(dim=(2, 3))))
        return maps * torch.sigmoid(self.widen(hidden))[:, :, None, None]


def split(features: int) -> list[int]:
    """Channels that each level gives to `features`, in proportion to SHARES.

    >>> split(512), split(128)
    ([47, 93, 186, 186], [12, 23, 47, 46])
    """
    if features < 16:
        raise ValueError(f"features is {features}; 16 or more are needed, or a level has no channel left")
    whole = sum(SHARES)
    bounds = [round(sum(SHARES[:level]) * features / whole) for level in range(len(SHARES) + 1)]
    return [high - low for low, high in pairwise(bounds)]


def _embedding(channels: int, features: int) -> nn.Sequential:
    # FC-BN-FC-BN is how the paper reads identities from the trunk's last map (issue 11 of lxq1000/SwinFace). Without
    # ReLU and dropout, directions of either sign are left to the cosines.
    first, second = nn.Linear(channels, features, bias=False), nn.Linear(features, features, bias=False)
    return nn.Sequential(first, nn.BatchNorm1d(features), second, nn.BatchNorm1d(features))


def _check_names(names: Sequence[str]) -> None:
    if not names or isinstance(names, str):
        raise ValueError(f"groups is {names!r}; a list of one or more names is needed")
    for name in names:
        if not name.isidentifier() or hasattr(nn.ModuleDict, name):
            raise ValueError(f"a group is named {name!r}; a word of letters is needed that is not a word of torch's")
    if len(set(names)) < len(names):
        raise ValueError(f"groups are {', '.join(names)}; every name may stand once")


def _check_trunk(width: int, depths: Sequence[int], heads: Sequence[int]) -> None:
    for name, values in (("depths", depths), ("heads", heads)):
        if len(values) != STAGES or min(values) < 1:
            raise ValueError(f"{name} is {tuple(values)}; {STAGES} whole numbers above 0 are needed")
    if width < 1:
        raise ValueError(f"width is {width}; 1 or more is needed")
    for stage, count in enumerate(heads):
        if width * 2**stage % count:
            raise ValueError(f"stage {stage + 1} has {width * 2**stage} channels; {count} heads do not divide them")


def _check_maps(size: int, patch: int, window: int) -> None:
    if patch < 1 or window < 2:
        raise ValueError(f"patch is {patch} and window is {window}; 1 and 2 are the least")
    step = patch * 2 ** (STAGES - 1)
    if size < step or size % step:
        raise ValueError(f"size is {size}; a multiple of 8 * patch = {step} is needed")
    for stage in range(STAGES):
        side = size // patch // 2**stage
        if side > window and side % window:
            raise ValueError(f"stage {stage + 1} has {side} x {side} tokens; a window of {window} does not divide them")


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0.0 <= share < 1.0:
            raise ValueError(f"{name} is {share:g}; 0 or more and less than 1 is allowed")
