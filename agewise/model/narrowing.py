"""A network made narrower: of each layer's filters the strongest stay, with what they have learned (Li et al. 2017)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from agewise.data.settings import SettingsError

BLOCK = 16
"""Channels are kept in blocks of so many, in which processors compute."""


@torch.no_grad()
def narrow(network: nn.Module, share: float) -> Tensor:
    """Keeps that share of the filters of each convolution, up to whole blocks; returns which of the features stay (D,).

    A filter's strength is the sum of its absolute weights, times what the batch norm after it makes of them. For
    networks of one path, such as MobileNetV1 and VGG: what is kept of a layer decides what the next one takes.
    Raises SettingsError for another network.
    """
    whole = copy.deepcopy(network)
    try:
        kept = _narrowed(network, share)
        right = len(kept) > 0 and _same(whole, network, kept)
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError):  # other channels or sizes
        right = False
    if not right:
        name = type(network).__name__
        raise SettingsError(f"backbone.width: {name} has more than one path; all its filters must stay")
    for told in ("num_features", "head_hidden_size"):  # how timm says how many features there are
        if hasattr(network, told):
            setattr(network, told, len(kept[-1]))
    return kept[-1]


def _layers(network: nn.Module) -> list[nn.Conv2d | nn.BatchNorm2d]:
    return [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.BatchNorm2d)]


def _narrowed(network: nn.Module, share: float) -> list[Tensor]:
    """Which filters stay of each layer, taking as channels those that stay of the one before it."""
    layers, all_kept = _layers(network), []
    kept = torch.arange(3)  # colours
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.BatchNorm2d):
            _take_norm(layer, kept)
        elif layer.groups > 1:
            _take(layer, kept, kept)
        else:
            chosen = _strongest(layer, following, share)
            _take(layer, kept, chosen)
            kept = chosen
        all_kept.append(kept)
    return all_kept


def _strongest(layer: nn.Conv2d, following: nn.Module | None, share: float) -> Tensor:
    strength = layer.weight.abs().sum(dim=(1, 2, 3))
    if isinstance(following, nn.BatchNorm2d):
        assert following.running_var is not None
        strength = strength * (following.weight / torch.sqrt(following.running_var + following.eps)).abs()
    count = min(layer.out_channels, -(-max(1, round(share * layer.out_channels)) // BLOCK) * BLOCK)
    return strength.argsort(descending=True, stable=True)[:count].sort().values


def _take(layer: nn.Conv2d, inward: Tensor, outward: Tensor) -> None:
    weight = layer.weight[outward]
    if layer.groups > 1:
        layer.groups = layer.in_channels = len(inward)
    else:
        weight = weight[:, inward]
        layer.in_channels = len(inward)
    layer.weight, layer.out_channels = nn.Parameter(weight.clone()), len(outward)
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias[outward].clone())


def _take_norm(norm: nn.BatchNorm2d, kept: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.weight, norm.bias = nn.Parameter(norm.weight[kept].clone()), nn.Parameter(norm.bias[kept].clone())
    norm.running_mean, norm.running_var = norm.running_mean[kept].clone(), norm.running_var[kept].clone()
    norm.num_features = len(kept)


def _same(whole: nn.Module, narrowed: nn.Module, kept: list[Tensor]) -> bool:
    """Whether the narrowed network answers as the whole one does once all that was left out says nothing."""
    for layer, stays in zip(_layers(whole), kept, strict=True):
        for told in (layer.weight, layer.bias):
            if told is not None:
                silent = torch.ones(len(told), dtype=torch.bool)
                silent[stays] = False
                told[silent] = 0.0
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before, after = whole.eval()(pixels)[:, kept[-1]], copy.deepcopy(narrowed).eval()(pixels)
    largest = float(before.abs().max())  # of random weights, answers may be as small as 1e-9
    return largest > 0 and bool(torch.allclose(before, after, rtol=0.0, atol=1e-3 * largest))
