"""The five students by the paper's names, with the published sizes that a test holds them to (Greco et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Student:
    """A network of the paper: its timm name and input, and what the literature says of it with 1,000 classes."""

    timm: str
    size: int
    parameters: float
    operations: float
    source: str


STUDENTS: dict[str, Student] = {
    "vgg-16": Student("vgg16", 224, 138.36e6, 15.47e9, "Simonyan and Zisserman 2015"),
    "se-resnet-50": Student("legacy_seresnet50", 224, 28.09e6, 3.87e9, "Hu et al. 2018"),
    "densenet-121": Student("densenet121", 224, 7.98e6, 2.87e9, "Huang et al. 2017"),
    "mobilenetv3-large": Student("mobilenetv3_large_100", 224, 5.48e6, 219e6, "Howard et al. 2019"),
    "mobilenetv3-small": Student("mobilenetv3_small_100", 96, 2.54e6, 56e6, "Howard et al. 2019"),
}
"""Operations are multiply-adds of one 224 x 224 image; the paper runs MobileNetV3-Small on 96 x 96."""
