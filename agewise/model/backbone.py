"""A timm network by name -> features, with weights from timm, from a local file, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import timm
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from agewise.data.settings import Settings, SettingsError


class BackboneSettings(Settings):
    """Which network, where its weights come from, and the pixels it wants."""

    name: str = Field(description="any name that timm knows, such as mobilenetv3_small_100")
    weights: str | None = Field(default=None, description="a safetensors file, or `timm` to fetch timm's own")
    options: dict[str, str | int | float | bool] = Field(default={}, description="arguments of timm.create_model")
    colours: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    scale: tuple[float, float, float] = (58.395, 57.12, 57.375)
    reopen_norms: bool = Field(default=False, description="re-estimate batch norms that the file has folded away")


class Backbone(nn.Module):
    """uint8 RGB crops (N, S, S, 3) -> features (N, D): pixel normalisation and a timm network."""

    def __init__(self, settings: BackboneSettings, pretrained: bool = True) -> None:
        super().__init__()
        self.network = build(settings, pretrained)
        self.features = _width(self.network)
        self.reverse = settings.colours == "BGR"
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.tensor(settings.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(settings.scale).view(1, 3, 1, 1), persistent=False)

    def forward(self, crops: Tensor) -> Tensor:
        """Features (N, D) of crops (N, S, S, 3)."""
        pixels = crops.permute(0, 3, 1, 2).float()
        if self.reverse:
            pixels = pixels.flip(1)
        return self.network((pixels - self.mean) / self.scale)


def build(settings: BackboneSettings, pretrained: bool) -> nn.Module:
    """The timm network without its classifier. Raises SettingsError: unknown name, or weights that do not fit it."""
    if not timm.is_model(settings.name):
        near = timm.list_models(f"*{settings.name.split('_')[0]}*")[:6] or timm.list_models("mobilenet*")[:6]
        raise SettingsError(f"timm has no backbone {settings.name!r}; it has {', '.join(near)} ...")
    fetch = pretrained and settings.weights == "timm"
    options: dict[str, Any] = dict(settings.options)
    try:
        network: nn.Module = timm.create_model(settings.name, pretrained=fetch, num_classes=0, **options)
    except TypeError as error:
        raise SettingsError(f"backbone.options: {settings.name} does not take {options}: {error}") from error
    except RuntimeError as error:
        raise SettingsError(f"backbone: {settings.name}: {error}") from error
    if pretrained and settings.weights and not fetch:
        load_weights(network, Path(settings.weights))
    return network


def _width(network: nn.Module) -> int:
    """Features a face: timm's num_features, or the width after a hidden head layer (MobileNetV3)."""
    return int(str(getattr(network, "head_hidden_size", None) or network.num_features))


def load_weights(network: nn.Module, path: Path) -> None:
    """Loads a safetensors file strictly, but for a classifier that the file may still hold."""
    if not path.is_file():
        raise SettingsError(f"backbone.weights: no file {path}")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise SettingsError(f"backbone.weights: {path} is not a safetensors file ({error})") from error
    expected = network.state_dict()
    kept = {name: value.to(torch.float32) for name, value in state.items() if name in expected}
    missing = sorted(expected.keys() - kept.keys())
    wrong = [name for name, value in kept.items() if value.shape != expected[name].shape]
    if missing or wrong:
        raise SettingsError(f"backbone.weights: {path} does not fit the network: {(missing + wrong)[0]} differs")
    network.load_state_dict(kept)


@torch.no_grad()
def reopen_norms(backbone: Backbone, crops: Tensor) -> None:
    """Gives batch norms that were folded into biases (identity statistics) the statistics of `crops` (N, S, S, 3).

    The network's outputs stay as they are; only then can it be trained with batch norms at work.
    """
    handles = [
        module.register_forward_pre_hook(_measure)
        for module in backbone.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    backbone.eval()
    backbone(crops)
    for handle in handles:
        handle.remove()


def _measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    offset = norm.bias - gain * norm.running_mean
    mean = inputs[0].mean(dim=(0, 2, 3))
    variance = inputs[0].var(dim=(0, 2, 3)).clamp_min(1e-4)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(gain * torch.sqrt(variance + norm.eps))
    norm.bias.copy_(offset + gain * mean)
