"""A network by name -> features: timm's, the paper's students, MiVOLO or SwinFace; weights from timm or a file."""

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
from agewise.model import mivolo, swinface
from agewise.model.mivolo import MiVOLO
from agewise.model.narrowing import narrow
from agewise.model.students import STUDENTS
from agewise.model.swinface import SwinFace


class BackboneSettings(Settings):
    """Which network, where its weights come from, and the pixels it wants."""

    name: str = Field(description="of a student of the paper, mivolo_*, swinface_*, or any name that timm knows")
    weights: str | None = Field(default=None, description="a safetensors file, or `timm` to fetch timm's own")
    options: dict[str, str | int | float | bool] = Field(default={}, description="arguments of the network's making")
    width: float = Field(default=1.0, gt=0, le=1, description="share of each layer's filters, the strongest, that stay")
    colours: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    scale: tuple[float, float, float] = (58.395, 57.12, 57.375)
    reopen_norms: bool = Field(default=False, description="re-estimate batch norms that the file has folded away")


class Backbone(nn.Module):
    """uint8 RGB crops (N, S, S, 3) -> features (N, D) of each group of tasks: pixel normalisation and a network.

    MiVOLO takes pairs of a face and a body (N, 2, S, S, 3) too, and gives tokens (N, 1 + T, D).
    """

    def __init__(
        self,
        settings: BackboneSettings,
        size: int = 224,
        groups: tuple[str, ...] = ("age",),
        identity: str | None = None,
        pretrained: bool = True,
    ) -> None:
        """identity: one more group, of the task that tells people apart."""
        super().__init__()
        self.network = build(settings, size, groups, identity, pretrained)
        self.groups = groups if identity is None else (*groups, identity)
        self.features = _width(self.network)
        self.tokens = isinstance(self.network, MiVOLO)
        self.reverse = settings.colours == "BGR"
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.tensor(settings.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(settings.scale).view(1, 3, 1, 1), persistent=False)

    def forward(self, crops: Tensor) -> dict[str, Tensor]:
        """Features of crops by group; one tensor for all of them unless the network tells them apart."""
        if self.tokens:
            face, body = crops.unbind(dim=1) if crops.ndim == 5 else (crops, torch.zeros_like(crops))
            found = self.network(self._pixels(face), self._pixels(body))
        else:
            found = self.network(self._pixels(crops))
        return found if isinstance(found, dict) else dict.fromkeys(self.groups, found)

    def _pixels(self, crops: Tensor) -> Tensor:
        pixels = crops.permute(0, 3, 1, 2).float()
        if self.reverse:
            pixels = pixels.flip(1)
        return (pixels - self.mean) / self.scale


def build(
    settings: BackboneSettings,
    size: int = 224,
    groups: tuple[str, ...] = ("age",),
    identity: str | None = None,
    pretrained: bool = True,
) -> nn.Module:
    """The network without its classifier. Raises SettingsError: unknown name, or weights that do not fit it."""
    options: dict[str, Any] = dict(settings.options)
    if settings.name in swinface.CONFIGURATIONS:
        options = {"groups": groups, "identity": identity, **options}
    fetch = pretrained and settings.weights == "timm"
    try:
        network = _made(settings.name, size, options, fetch)
    except TypeError as error:
        raise SettingsError(f"backbone.options: {settings.name} does not take {settings.options}: {error}") from error
    except SettingsError:
        raise
    except (RuntimeError, ValueError) as error:
        raise SettingsError(f"backbone: {settings.name}: {error}") from error
    if pretrained and settings.weights and not fetch:
        load_weights(network, Path(settings.weights))
    if settings.width < 1:
        narrow(network, settings.width)
    return network


def _made(name: str, size: int, options: dict[str, Any], fetch: bool) -> nn.Module:
    if fetch and (name in mivolo.CONFIGURATIONS or name in swinface.CONFIGURATIONS):
        raise SettingsError(f"backbone.weights: timm has none of {name}; name a safetensors file, or none")
    if name in mivolo.CONFIGURATIONS:
        return MiVOLO(**{**mivolo.CONFIGURATIONS[name], "size": size, **options})
    if name in swinface.CONFIGURATIONS:
        return SwinFace(**{**swinface.CONFIGURATIONS[name], "size": size, **options})
    student = STUDENTS.get(name)
    known = student.timm if student else name
    if not timm.is_model(known):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:6] or timm.list_models("mobilenet*")[:6]
        own = [*STUDENTS, *mivolo.CONFIGURATIONS, *swinface.CONFIGURATIONS]
        raise SettingsError(f"no backbone {name!r}; there are {', '.join(own)}, and timm's, such as {', '.join(near)}")
    network: nn.Module = timm.create_model(known, pretrained=fetch, num_classes=0, **options)
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
