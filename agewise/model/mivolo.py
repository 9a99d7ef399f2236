"""MiVOLO (Kuprashevich and Tolstykh 2023): a face and its body -> tokens of a VOLO trunk (Yuan et al. 2022).

The trunk's blocks are timm's; only outlook attention is ours: timm's folds by Col2Im, which not every runtime has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.bottleneck_attn import PosEmbedRel
from timm.layers.mlp import Mlp
from timm.models.volo import VOLO, PatchEmbed
from torch import Tensor, nn

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "mivolo_d1": {"size": 224, "dims": (192, 384), "depths": (4, 4, 8, 2), "heads": (6, 12), "stem": 64},
    "mivolo_small": {"size": 96, "dims": (64, 128), "depths": (2, 4), "heads": (2, 4), "stem": 32},
    "mivolo_tiny": {"size": 32, "dims": (16, 32), "depths": (1, 1), "heads": (2, 4), "stem": 8},
}
"""Arguments of MiVOLO by name: the paper's network, one that a CPU can train, and one for tests."""

KERNEL = 3
"""Rows and columns of the neighbourhood of outlook attention."""


class MiVOLO(nn.Module):
    """Normalised faces and bodies (N, 3, size, size) -> tokens (N, 1 + T, D), the class token first.

    A view that is missing is a black image, uint8 zeros before the pixels are normalised (`bodies.letterbox` makes
    it); to this network it is an image like any other, so at least one view must show something.

    size: pixels of both views' sides, a multiple of 16; T is (size / 16)².
    dims, heads: of the outlookers, at size / 8, and of the transformers, at size / 16.
    depths: outlookers, then the transformers of each later stage (equal but for their number).
    stem: channels of the convolutions over each view.
    drop_path: stochastic depth of the last transformer, rising to it in equal steps.

    Raises ValueError where these do not fit together.
    """

    def __init__(
        self,
        size: int = 224,
        dims: tuple[int, int] = (192, 384),
        depths: Sequence[int] = (4, 4, 8, 2),
        heads: tuple[int, int] = (6, 12),
        mlp_ratio: float = 3.0,
        stem: int = 64,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        _check(size, dims, depths, heads)
        self.size = size
        self.num_features = dims[1]
        self.face, self.body = (
            PatchEmbed(size, stem_conv=True, stem_stride=2, patch_size=8, hidden_dim=stem, embed_dim=dims[0])
            for _ in range(2)
        )
        self.enhancer = Enhancer(dims[0], size // 8)
        self.trunk = _trunk(size, dims, depths, heads, mlp_ratio, drop_path)

    def forward(self, face: Tensor, body: Tensor) -> Tensor:
        """Tokens (N, 1 + T, D) after the last norm."""
        for name, view in (("face", face), ("body", body)):
            if view.shape[1:] != (3, self.size, self.size):
                raise ValueError(f"{name}: images are {tuple(view.shape)}; (N, 3, {self.size}, {self.size}) is needed")
        mixed = self.enhancer(self.face(face), self.body(body))
        tokens = self.trunk.forward_tokens(mixed.permute(0, 2, 3, 1))
        return self.trunk.norm(self.trunk.forward_cls(tokens))


class Enhancer(nn.Module):
    """Cross-view feature enhancer: maps (N, D, S, S) of the face and of the body -> one map (N, D, S, S).

    Each view asks and the other answers, by single-head bottleneck attention (Srinivas et al. 2021) with one table of
    relative positions for both; then a norm over the whole map and an MLP for each place.
    """

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.scale = float(dim**-0.5)
        self.face = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.body = nn.Conv2d(dim, 3 * dim, 1, bias=False)
        self.positions = PosEmbedRel((side, side), dim, self.scale)
        self.norm = nn.LayerNorm([2 * dim, side, side])
        self.mlp = Mlp(2 * dim, 4 * dim, dim, use_conv=True)

    def forward(self, face: Tensor, body: Tensor) -> Tensor:
        """The joint map (N, D, S, S)."""
        face_query, face_key, face_value = self.face(face).flatten(2).transpose(1, 2).chunk(3, dim=2)
        body_query, body_key, body_value = self.body(body).flatten(2).transpose(1, 2).chunk(3, dim=2)
        views = [self._attend(face_query, body_key, body_value), self._attend(body_query, face_key, face_value)]
        joint = torch.cat(views, dim=2).transpose(1, 2)
        return self.mlp(self.norm(joint.reshape(-1, *self.norm.normalized_shape)))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        logits = self.scale * (query @ key.transpose(1, 2)) + self.positions(query)
        return logits.softmax(dim=2) @ value


class OutlookAttention(nn.Module):
    """Outlook attention (Yuan et al. 2022): maps (N, H, W, D) with even sides -> (N, H, W, D).

    Every second place of every second row, the mean of its 2 x 2 places, says how the 3 x 3 around it attend to each
    other. It is timm's layer of stride 2, parameter by parameter; fold is a sum of shifted maps, known to any runtime.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = float((dim // heads) ** -0.5)
        self.v = nn.Linear(dim, dim, bias=False)
        self.attn = nn.Linear(dim, heads * KERNEL**4)
        self.proj = nn.Linear(dim, dim)
        for linear in (self.v, self.attn, self.proj):
            nn.init.trunc_normal_(linear.weight, std=0.02)
        for bias in (self.attn.bias, self.proj.bias):
            nn.init.zeros_(bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, H, W, D)."""
        _, height, width, dim = maps.shape
        grid = (-1, height // 2, width // 2)
        centres = maps.reshape(-1, height // 2, 2, width // 2, 2, dim).mean(dim=(2, 4))
        weights = self.attn(centres).reshape(*grid, self.heads, KERNEL**2, KERNEL**2)
        values = self._around(self.v(maps)).reshape(*grid, KERNEL**2, self.heads, dim // self.heads).transpose(3, 4)
        said = (self.scale * weights).softmax(dim=5) @ values
        said = said.transpose(3, 4).reshape(*grid, KERNEL, KERNEL, dim)
        return self.proj(_gathered(_gathered(said, 1), 2))

    @staticmethod
    def _around(maps: Tensor) -> Tensor:
        """The 3 x 3 places around every second one, row by row, zero beyond the map: (N, H / 2, W / 2, 9, D)."""
        height, width = maps.shape[1:3]
        padded = F.pad(maps, (0, 0, 1, 0, 1, 0))
        places = [(y, x) for y in range(KERNEL) for x in range(KERNEL)]
        return torch.stack([padded[:, y : y + height - 1 : 2, x : x + width - 1 : 2] for y, x in places], dim=3)


def _gathered(said: Tensor, axis: int) -> Tensor:
    """What all centres say of each place, summed along an axis (1: rows, 2: columns), which doubles.

    said: (N, H, W, 3, ...): of the place before a centre, of its own, and of the one after it, which is also the place
    before the next centre.
    """
    before, own, after = said.unbind(3)
    of_next = before.narrow(axis, 1, before.shape[axis] - 1)
    after = after + F.pad(of_next, (0, 0) * (before.ndim - 1 - axis) + (0, 1))
    return torch.stack([own, after], dim=axis + 1).flatten(axis, axis + 1)


def _trunk(
    size: int, dims: tuple[int, int], depths: Sequence[int], heads: tuple[int, int], mlp_ratio: float, drop_path: float
) -> VOLO:
    """Timm's VOLO without its stem and classifiers, with our outlook attention; its state dict keeps timm's names."""
    later = len(depths) - 1
    trunk = VOLO(
        list(depths),
        img_size=size,
        num_classes=0,
        embed_dims=[dims[0]] + [dims[1]] * later,
        num_heads=[heads[0]] + [heads[1]] * later,
        downsamples=(True,) + (False,) * later,
        outlook_attention=(True,) + (False,) * later,
        mlp_ratio=mlp_ratio,
        drop_path_rate=drop_path,
        post_layers=("ca", "ca"),
        use_aux_head=False,
    )
    del trunk.patch_embed
    for outlooker in trunk.network[0].children():
        outlooker.attn = OutlookAttention(dims[0], heads[0])
    return trunk


def _check(size: int, dims: tuple[int, int], depths: Sequence[int], heads: tuple[int, int]) -> None:
    if size < 32 or size % 16:
        raise ValueError(f"MiVOLO's size is {size}; a multiple of 16 from 32 is needed")
    if len(depths) < 2 or min(depths) < 1:
        raise ValueError(f"MiVOLO's depths are {tuple(depths)}; two or more numbers from 1 are needed")
    if len(dims) != 2 or len(heads) != 2 or any(head < 1 or dim % head for dim, head in zip(dims, heads, strict=True)):
        raise ValueError(f"MiVOLO's dims are {dims} and its heads {heads}; two of each that divide are needed")
