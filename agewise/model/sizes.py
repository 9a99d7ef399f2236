"""How large a network is: parameters and multiply-adds, counted as the literature counts them."""

from __future__ import annotations

from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from agewise.model import mivolo, swinface
from agewise.model.backbone import Backbone, BackboneSettings
from agewise.model.students import STUDENTS

CLASSES = 1000
"""Of the classifier that the published sizes of the students include."""


@dataclass(frozen=True, slots=True)
class Size:
    """A network's name, input in pixels, parameters, multiply-adds of one input, and what there is to say of it."""

    name: str
    pixels: int
    parameters: int
    operations: int
    says: str


def count(network: nn.Module, *inputs: Tensor) -> tuple[int, int]:
    """Parameters, and multiply-adds of convolutions and matrix products; norms and activations do not count."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network.eval()(*inputs)
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2


def size_of(name: str) -> Size:
    """A student with its classifier at 224 pixels, as it was published; or another backbone without, at its own."""
    student = STUDENTS.get(name)
    if student is not None:
        network: nn.Module = timm.create_model(student.timm, num_classes=CLASSES)
        parameters, operations = count(network, torch.zeros(1, 3, 224, 224))
        says = f"published {student.parameters / 1e6:.2f} M and {student.operations / 1e6:.0f} M ({student.source})"
        if student.size != 224:
            there = count(network, torch.zeros(1, 3, student.size, student.size))[1]
            says += f"; {there / 1e6:.1f} M at {student.size} px"
        return Size(name, 224, parameters, operations, says)
    own = {**mivolo.CONFIGURATIONS, **swinface.CONFIGURATIONS}.get(name)
    if own is not None:
        paper = "Kuprashevich and Tolstykh 2023" if name in mivolo.CONFIGURATIONS else "Qin et al. 2023"
        pixels = int(own.get("size", 112))
        says = f"without a head ({paper})"
    else:
        known = timm.get_pretrained_cfg(name)
        pixels = int(known.input_size[-1]) if known else 224
        says = "of timm, without a classifier"
    backbone = Backbone(BackboneSettings(name=name), pixels, pretrained=False)
    return Size(name, pixels, *count(backbone, torch.zeros(1, pixels, pixels, 3, dtype=torch.uint8)), says)
