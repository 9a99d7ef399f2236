"""SwinFace: sizes of the paper layer by layer, timm as the reference of the trunk, hand-computed attention, export."""

from __future__ import annotations

from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from agewise.model.swinface import CONFIGURATIONS, ChannelGate, LevelAttention, SwinFace, split


def tiny(*groups: str, **changes: Any) -> SwinFace:
    torch.manual_seed(0)
    return SwinFace(groups or ("age", "sex"), **{**CONFIGURATIONS["swinface_tiny"], **changes})


def noise(model: SwinFace, count: int = 2) -> Tensor:
    return torch.rand(count, 3, model.size, model.size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def parameters(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


@pytest.fixture(scope="module")
def paper() -> SwinFace:
    return SwinFace(["age"], **CONFIGURATIONS["swinface_t"]).eval()


@torch.no_grad()
def test_every_layer_of_the_paper_has_its_size(paper: SwinFace) -> None:
    pixels = noise(paper, 1)
    assert paper.trunk.patch_embed(pixels).shape == (1, 56, 56, 96)
    levels = paper.levels(pixels)
    assert [tuple(level.shape) for level in levels] == [
        (1, 192, 28, 28),
        (1, 384, 14, 14),
        (1, 768, 7, 7),
        (1, 768, 7, 7),
    ]
    assert sum(level.shape[1] for level in levels) == sum(paper.channels) == 2112
    attend = paper.groups["age"]
    assert isinstance(attend, LevelAttention)
    seen: dict[str, tuple[int, ...]] = {}
    hooks = [
        attend.get_submodule(name).register_forward_pre_hook(
            lambda _, given, name=name: seen.update({name: tuple(given[0].shape)})
        )
        for name in ("gate", "norm", "mix")
    ]
    features = paper(pixels)
    for hook in hooks:
        hook.remove()
    assert seen == {"gate": (1, 512, 7, 7), "norm": (1, 512), "mix": (1, 512)}
    assert {name: tuple(values.shape) for name, values in features.items()} == {"age": (1, 512)}
    assert paper.num_features == 512


def test_the_trunk_is_swin_tiny_but_for_the_smaller_patch(paper: SwinFace) -> None:
    # 224 px in patches of 4 and 112 px in patches of 2 are both 56 x 56 tokens, so the tables of relative positions
    # are the same; a patch of 2 has (16 - 4) * 3 fewer weights for each of the 96 channels
    reference = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0)
    assert parameters(reference) - parameters(paper.trunk) == 96 * 3 * (4 * 4 - 2 * 2)
    shapes = {name: value.shape for name, value in reference.named_parameters()}
    ours = {name: value.shape for name, value in paper.trunk.named_parameters()}
    assert shapes.keys() == ours.keys()
    assert [name for name in shapes if shapes[name] != ours[name]] == ["patch_embed.proj.weight"]


def test_a_group_has_the_parameters_of_its_layers(paper: SwinFace) -> None:
    convolutions = sum(
        9 * wide * narrow + narrow for wide, narrow in zip((192, 384, 768, 768), split(512), strict=True)
    )
    assert parameters(paper.groups) == convolutions + 2 * 512 * 32 + 2 * 512 + 2 * (512 * 512 + 512)


@torch.no_grad()
def test_levels_are_timms_stages_taken_after_the_merges() -> None:
    model = tiny().eval()
    pixels = noise(model)
    final, stages = model.trunk.forward_intermediates(pixels)
    levels = model.levels(pixels)
    for level, stage, following in zip(levels, stages, model.trunk.layers[1:], strict=False):
        merged = following.get_submodule("downsample")(stage.permute(0, 2, 3, 1))
        torch.testing.assert_close(level, merged.permute(0, 3, 1, 2))
    torch.testing.assert_close(levels[3], final.permute(0, 3, 1, 2))


@torch.no_grad()
def test_finer_levels_are_averaged_to_the_last_ones_side() -> None:
    model = tiny("age").eval()
    given: list[Tensor] = []
    model.groups["age"].register_forward_pre_hook(lambda _, inputs: given.extend(inputs[0]))
    pixels = noise(model)
    model(pixels)
    for pooled, level in zip(given, model.levels(pixels), strict=True):
        assert pooled.shape[2:] == (2, 2)
        torch.testing.assert_close(pooled, functional.adaptive_avg_pool2d(level, 2))


@pytest.mark.parametrize(
    ("features", "parts"), [(512, [47, 93, 186, 186]), (16, [1, 3, 6, 6]), (256, [24, 46, 93, 93])]
)
def test_levels_share_the_features_in_proportion(features: int, parts: list[int]) -> None:
    assert split(features) == parts
    assert all(sum(split(any_number)) == any_number and min(split(any_number)) > 0 for any_number in range(16, 600))


@torch.no_grad()
def test_the_gate_by_hand() -> None:
    gate = ChannelGate(2, reduction=2)
    gate.narrow.weight.copy_(torch.tensor([[1.0, -1.0]]))
    gate.widen.weight.copy_(torch.tensor([[1.0], [-2.0]]))
    ramp, ones = torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.ones(2, 2)
    # means 1.5 and 1 leave 0.5, maxima 3 and 1 leave 2: together 2.5, widened to 2.5 and -5
    first = torch.stack([ramp * (1 / (1 + exp(-2.5))), ones * (1 / (1 + exp(5.0)))])
    # the other way round both are negative and ReLU leaves 0, so that both channels are halved
    second = torch.stack([ones, ramp]) / 2
    out = gate(torch.stack([torch.stack([ramp, ones]), torch.stack([ones, ramp])]))
    torch.testing.assert_close(out, torch.stack([first, second]))


def test_the_gate_narrows_by_sixteen_and_never_to_nothing() -> None:
    assert ChannelGate(512).narrow.weight.shape == (32, 512)
    assert ChannelGate(8).narrow.weight.shape == (1, 8)


@torch.no_grad()
def test_attention_to_levels_by_hand() -> None:
    attend = LevelAttention((2, 2, 2, 2), features=16).eval()
    for part in attend.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.weight.zero_()
            if part.bias is not None:
                part.bias.zero_()
    for level, part in enumerate(attend.reduce):  # each level's first channel sees its own input 0, in the middle
        assert isinstance(part, nn.Conv2d)
        part.weight[0, 0, 1, 1] = level + 1.0
    attend.norm.running_mean = torch.full((16,), -0.25)
    attend.norm.running_var = torch.full((16,), 4.0 - attend.norm.eps)
    attend.mix[0].weight.copy_(torch.eye(16))
    attend.mix[3].weight.copy_(torch.eye(16) * 2)
    levels = [torch.zeros(1, 2, 3, 3) for _ in range(4)]
    for level, place in zip(levels, ((0, 0), (1, 2), (2, 2), (0, 1)), strict=True):
        level[0, 0, place[0], place[1]] = 3.0
    levels[2].fill_(-3.0)
    # the gate is sigmoid(0) = 1/2, so the maxima are 1.5, 3, -4.5 (0 after ReLU) and 6, wherever they are
    maxima = torch.zeros(16)
    maxima[np.cumsum([0, *split(16)])[:4]] = torch.tensor([1.5, 3.0, 0.0, 6.0])
    expected = (maxima + 0.25) / 2.0 * 2
    torch.testing.assert_close(attend(levels)[0], expected)


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS.keys() - {"swinface_t"}))  # the fixture `paper`, above
def test_every_configuration_answers_for_every_group(name: str) -> None:
    model = SwinFace(["age", "sex", "expression"], **CONFIGURATIONS[name]).eval()
    with torch.no_grad():
        features = model(noise(model))
    assert list(features) == ["age", "sex", "expression"]
    for values in features.values():
        assert values.shape == (2, model.num_features)
        assert values.isfinite().all()
        assert (values[0] - values[1]).abs().max() > 1e-4
    assert (features["age"] - features["sex"]).abs().max() > 1e-3


def test_the_small_one_is_small() -> None:
    assert 1e6 < parameters(SwinFace(["age"], **CONFIGURATIONS["swinface_small"])) < 3e6


def test_identity_sees_the_last_map_alone_and_keeps_signs() -> None:
    model = tiny("age", identity="subject").eval()
    pixels = noise(model)
    features = model(pixels)
    assert list(features) == ["age", "subject"]
    mean = model.levels(pixels)[-1].mean(dim=(2, 3))
    torch.testing.assert_close(features["subject"], model.embedding(mean))
    assert features["subject"].min() < 0 <= features["age"].min()


def test_a_groups_loss_moves_the_trunk_and_its_own_layers_alone() -> None:
    model = tiny("age", "sex", identity="subject", dropout=0.0, drop_path=0.1).train()
    model(noise(model, 4))["age"].square().sum().backward()
    moved = {name for name, value in model.named_parameters() if value.grad is not None}
    assert moved == {name for name, _ in model.named_parameters() if not name.startswith(("groups.sex.", "embedding."))}


def test_gradients_are_finite_in_bfloat16() -> None:
    model = tiny("age", "sex", identity="subject", drop_path=0.1).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = model(noise(model, 8))
        loss = torch.stack([values.float().square().mean() for values in features.values()]).sum()
    assert features["age"].dtype == torch.bfloat16
    loss.backward()
    for name, value in model.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name


def test_onnx_answers_as_torch_in_any_batch(tmp_path: Path) -> None:
    model = tiny("age", identity="subject").eval()
    path = tmp_path / "swinface.onnx"
    torch.onnx.export(
        model,
        (noise(model),),
        path,
        input_names=["pixels"],
        output_names=["age", "subject"],
        dynamic_shapes={"pixels": {0: torch.export.Dim("N", min=1, max=4096)}},
        opset_version=18,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        pixels = noise(model, count)
        with torch.inference_mode():
            expected = model(pixels)
        for name, values in zip(expected, session.run(None, {"pixels": pixels.numpy()}), strict=True):
            np.testing.assert_allclose(values, expected[name].numpy(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": []}, r"groups is \[\]; a list of one or more names is needed"),
        ({"groups": "age"}, r"groups is 'age'; a list"),
        ({"groups": ["age", "age"]}, "groups are age, age; every name may stand once"),
        ({"groups": ["age", "sex"], "identity": "sex"}, "groups are age, sex, sex; every name may stand once"),
        ({"groups": ["hair.dark"]}, "a group is named 'hair.dark'; a word of letters"),
        ({"groups": ["type"]}, "a group is named 'type'; .* not a word of torch's"),
        ({"size": 100}, r"size is 100; a multiple of 8 \* patch = 16 is needed"),
        ({"size": 0}, "size is 0; a multiple"),
        ({"size": 112, "patch": 4}, r"size is 112; a multiple of 8 \* patch = 32 is needed"),
        ({"size": 48, "window": 8}, "stage 2 has 12 x 12 tokens; a window of 8 does not divide them"),
        ({"window": 1}, "patch is 2 and window is 1; 1 and 2 are the least"),
        ({"patch": 0}, "patch is 0 and window is 4; 1 and 2 are the least"),
        ({"depths": (2, 2, 2)}, r"depths is \(2, 2, 2\); 4 whole numbers above 0 are needed"),
        ({"heads": (1, 2, 0, 4)}, r"heads is \(1, 2, 0, 4\); 4 whole numbers above 0 are needed"),
        ({"heads": (1, 3, 2, 4)}, "stage 2 has 16 channels; 3 heads do not divide them"),
        ({"width": 0}, "width is 0; 1 or more is needed"),
        ({"features": 15}, "features is 15; 16 or more are needed"),
        ({"dropout": 1.0}, "dropout is 1; 0 or more and less than 1 is allowed"),
        ({"drop_path": -0.1}, "drop_path is -0.1; 0 or more and less than 1 is allowed"),
    ],
)
def test_arguments_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SwinFace(**{"groups": ["age"], **CONFIGURATIONS["swinface_tiny"], **changes})


def test_pixels_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"pixels have shape \(2, 3, 48, 48\); \(N, 3, 32, 32\) is needed"):
        tiny()(torch.zeros(2, 3, 48, 48))
