"""The students are as large as the literature says: counted layer by layer, on no memory at all."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from agewise.model.backbone import Backbone, BackboneSettings
from agewise.model.sizes import count, size_of
from agewise.model.students import STUDENTS

# torchvision's and timm's own documentation, with the classifier of 1,000 classes
DOCUMENTED = {
    "vgg-16": 138_357_544,
    "se-resnet-50": 28_088_024,
    "densenet-121": 7_978_856,
    "mobilenetv3-large": 5_483_032,
    "mobilenetv3-small": 2_542_856,
}
# multiply-adds at 224 pixels of the same, in units of 1e9; SE-ResNet-50's of Hu et al. 2018
OPERATIONS = {
    "vgg-16": 15.47,
    "se-resnet-50": 3.87,
    "densenet-121": 2.83,
    "mobilenetv3-large": 0.217,
    "mobilenetv3-small": 0.057,
}
WIDTHS = {
    "vgg-16": 4096,
    "se-resnet-50": 2048,
    "densenet-121": 1024,
    "mobilenetv3-large": 1280,
    "mobilenetv3-small": 1024,
}


def test_the_five_of_the_paper() -> None:
    assert set(STUDENTS) == set(DOCUMENTED)
    assert {name: student.size for name, student in STUDENTS.items()} == {
        **dict.fromkeys(DOCUMENTED, 224),
        "mobilenetv3-small": 96,
    }


@pytest.mark.parametrize("name", STUDENTS)
def test_sizes_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        size = size_of(name)
    student = STUDENTS[name]
    assert (size.name, size.pixels) == (name, 224)
    assert size.parameters == DOCUMENTED[name]
    assert size.parameters == pytest.approx(student.parameters, rel=0.02)
    assert size.operations == pytest.approx(student.operations, rel=0.02)
    assert size.operations == pytest.approx(1e9 * OPERATIONS[name], rel=0.02)
    assert student.source in size.says


def test_the_smallest_is_counted_at_its_own_input_too() -> None:
    """Operations go with the area, but for squeezes and the classifier, so to about (96 / 224)^2 of 56 M."""
    with torch.device("meta"):
        size = size_of("mobilenetv3-small")
    told = re.search(r"; ([\d.]+) M at 96 px", size.says)
    assert told is not None
    fixed = 576 * 1024 + 1024 * 1000  # fully connected layers, whatever the input
    expected = (56e6 - fixed) * (96 / 224) ** 2 + fixed
    assert 1e6 * float(told[1]) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", STUDENTS)
def test_features_are_as_wide_as_the_layer_before_the_classifier(name: str) -> None:
    side = STUDENTS[name].size
    with torch.device("meta"), torch.no_grad():
        backbone = Backbone(BackboneSettings(name=name), side, pretrained=False).eval()
        features = backbone(torch.zeros(1, side, side, 3, dtype=torch.uint8))["age"]
    assert features.shape == (1, backbone.features) == (1, WIDTHS[name])
    classifier = 1000 * (WIDTHS[name] + 1)
    assert sum(value.numel() for value in backbone.parameters()) == DOCUMENTED[name] - classifier


def test_operations_are_multiply_adds() -> None:
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(800, 5)
    network = nn.Sequential(*layers)
    parameters, operations = count(network, torch.zeros(1, 3, 10, 10))
    assert parameters == (3 * 8 * 9 + 8) + 2 * 8 + (800 * 5 + 5)
    assert operations == 10 * 10 * 3 * 8 * 9 + 800 * 5


def test_another_network_is_counted_without_a_classifier() -> None:
    with torch.device("meta"):
        assert size_of("resnet18").parameters == 11_689_512 - 513 * 1000
        assert size_of("mivolo_tiny").pixels == 32
        assert "Qin et al. 2023" in size_of("swinface_tiny").says
