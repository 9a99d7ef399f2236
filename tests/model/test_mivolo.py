"""MiVOLO: its layers' shapes, its parts against independent ones, missing views, half precision and its ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models import volo
from torch import Tensor, nn

from agewise.faces.bodies import letterbox
from agewise.model.mivolo import CONFIGURATIONS, Enhancer, MiVOLO, OutlookAttention

TINY = CONFIGURATIONS["mivolo_tiny"]


def tiny(**changes: Any) -> MiVOLO:
    torch.manual_seed(0)
    model = MiVOLO(**{**TINY, **changes}).eval()
    with torch.no_grad():  # at their first values, attention is nearly even and hides mistakes
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 or "token" in name or "pos_embed" in name:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    return model


def views(count: int = 2, size: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    face, body = torch.randn(2, count, 3, size, size, generator=generator).unbind(0)
    return face, body


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_papers_network_layer_by_layer() -> None:
    with torch.device("meta"):
        model = MiVOLO(**CONFIGURATIONS["mivolo_d1"])
        image = torch.empty(2, 3, 224, 224)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda _m, _i, out, name=name: shapes.update({name: tuple(out.shape)}))
    model(image, image)
    for view in ("face", "body"):
        assert shapes[f"{view}.conv.0"] == shapes[f"{view}.conv.8"] == (2, 64, 112, 112)
        assert shapes[view] == (2, 192, 28, 28)
    assert shapes["enhancer.positions"] == (2, 784, 784)
    assert shapes["enhancer.norm"] == (2, 384, 28, 28)
    assert shapes["enhancer.mlp.fc1"] == (2, 768, 28, 28)
    assert shapes["enhancer"] == (2, 192, 28, 28)
    assert shapes["trunk.network.0.3"] == (2, 28, 28, 192)
    assert [shapes[f"trunk.network.{stage}"] for stage in (1, 2, 3, 4)] == [(2, 14, 14, 384)] * 4
    assert [len(model.trunk.network[stage]) for stage in (0, 2, 3, 4)] == [4, 4, 8, 2]
    assert shapes["trunk.post_network.1"] == shapes["trunk.norm"] == shapes[""] == (2, 197, 384)
    assert shapes["trunk.network.2.0.mlp.fc1"][-1] == 3 * 384
    assert model.num_features == 384


def test_the_papers_trunk_takes_timms_volo_d1() -> None:
    with torch.device("meta"):
        model = MiVOLO(**CONFIGURATIONS["mivolo_d1"])
        network = timm.create_model("volo_d1_224", pretrained=False)
    theirs = {name: value.shape for name, value in network.state_dict().items()}
    ours = {name: value.shape for name, value in model.trunk.state_dict().items()}
    assert ours.items() <= theirs.items()
    assert {name.split(".")[0] for name in theirs.keys() - ours.keys()} == {"patch_embed", "head", "aux_head"}
    heads = parameters(network.head) + parameters(network.aux_head)
    assert parameters(model.trunk) == parameters(network) - parameters(network.patch_embed) - heads == 25_581_720
    assert parameters(model.face) == parameters(model.body) == parameters(network.patch_embed)


@pytest.mark.parametrize(("name", "least", "most"), [("mivolo_small", 1e6, 2e6), ("mivolo_tiny", 1e4, 1e5)])
def test_the_small_networks_are_small(name: str, least: float, most: float) -> None:
    model = MiVOLO(**CONFIGURATIONS[name]).eval()
    size = CONFIGURATIONS[name]["size"]
    assert least < parameters(model) < most
    with torch.inference_mode():
        assert model(*views(1, size)).shape == (1, 1 + (size // 16) ** 2, model.num_features)


def test_the_trunk_answers_as_timms_volo() -> None:
    model = tiny(depths=(2, 1, 1))
    theirs = volo.VOLO(
        [2, 1, 1], img_size=32, num_classes=0, embed_dims=[16, 32, 32], num_heads=[2, 4, 4], use_aux_head=False
    ).eval()
    missing = theirs.load_state_dict(model.trunk.state_dict(), strict=False)
    assert {name.split(".")[0] for name in missing.missing_keys} == {"patch_embed"}
    assert missing.unexpected_keys == []
    theirs.patch_embed = nn.Identity()
    with torch.inference_mode():
        mixed = model.enhancer(*(stem(view) for stem, view in zip((model.face, model.body), views(), strict=True)))
        torch.testing.assert_close(model(*views()), theirs.forward_features(mixed), atol=1e-5, rtol=1e-5)


def outlooked(layer: OutlookAttention, maps: Tensor) -> Tensor:
    """Outlook attention as the paper has it (Yuan et al. 2022, algorithm 1), with unfold and fold, of stride 2."""
    count, height, width, dim = maps.shape
    values = F.unfold(layer.v(maps).permute(0, 3, 1, 2), 3, padding=1, stride=2)
    values = values.reshape(count, layer.heads, dim // layer.heads, 9, height * width // 4).permute(0, 1, 4, 3, 2)
    centres = F.avg_pool2d(maps.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    weights = layer.attn(centres).reshape(count, height * width // 4, layer.heads, 9, 9).permute(0, 2, 1, 3, 4)
    mixed = (weights / (dim // layer.heads) ** 0.5).softmax(dim=-1) @ values
    mixed = mixed.permute(0, 1, 4, 3, 2).reshape(count, dim * 9, height * width // 4)
    return layer.proj(F.fold(mixed, (height, width), 3, padding=1, stride=2).permute(0, 2, 3, 1))


@pytest.mark.parametrize("shape", [(2, 6, 8), (1, 2, 2), (3, 2, 4)], ids=str)
def test_outlook_attention_is_that_of_the_paper_and_of_timm(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    layer, timms = OutlookAttention(12, 3).double(), volo.OutlookAttention(12, 3, stride=2).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    timms.load_state_dict(layer.state_dict())
    maps = torch.randn(*shape, 12, dtype=torch.float64, requires_grad=True)
    towards = torch.randn(*shape, 12, dtype=torch.float64)
    given = layer(maps)
    slope = torch.autograd.grad((given * towards).sum(), maps)[0]
    for expected in (outlooked(layer, maps), timms(maps)):
        torch.testing.assert_close(given, expected, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(slope, torch.autograd.grad((expected * towards).sum(), maps)[0])


def test_each_view_asks_and_the_other_answers() -> None:
    """The enhancer, place by place in NumPy, up to its norm."""
    torch.manual_seed(0)
    enhancer = Enhancer(4, 3).double()
    for parameter in enhancer.parameters():
        nn.init.normal_(parameter)
    maps = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    seen: list[Tensor] = []
    enhancer.norm.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    enhancer(maps[:1], maps[1:])
    rows, columns = (table.detach().numpy() for table in (enhancer.positions.height_rel, enhancer.positions.width_rel))
    weights = [layer.weight.detach().numpy()[:, :, 0, 0].reshape(3, 4, 4) for layer in (enhancer.face, enhancer.body)]
    (face, body), expected = maps.numpy(), np.empty((8, 3, 3))
    for first, asks, asked, query, answers in (
        (0, face, body, weights[0][0], weights[1]),
        (4, body, face, weights[1][0], weights[0]),
    ):
        for y, x in np.ndindex(3, 3):
            q = query @ asks[:, y, x]
            logits = [
                q @ answers[1] @ asked[:, v, u] / 2 + q @ rows[v - y + 2] + q @ columns[u - x + 2]
                for v, u in np.ndindex(3, 3)
            ]
            share = np.exp(logits - np.max(logits))
            values = np.stack([answers[2] @ asked[:, v, u] for v, u in np.ndindex(3, 3)])
            expected[first : first + 4, y, x] = share @ values / share.sum()
    np.testing.assert_allclose(seen[0][0].detach().numpy(), expected, atol=1e-10)


def normalised(image: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    return (pixels - torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)) / 58.0


def test_a_missing_view_gives_finite_and_other_tokens() -> None:
    model = tiny()
    rng = np.random.default_rng(0)
    face, body = (normalised(letterbox(rng.integers(0, 256, (50, 30, 3), dtype=np.uint8), 32)) for _ in range(2))
    black = normalised(letterbox(None, 32))
    with torch.inference_mode():
        answers = [model(face, body), model(face, black), model(black, body), model(black, black), model(body, face)]
    for index, tokens in enumerate(answers):
        assert tokens.isfinite().all()
        assert all((tokens - other).abs().max() > 1e-2 for other in answers[:index])


def test_faces_of_a_batch_do_not_meet() -> None:
    model = tiny()
    face, body = views(3)
    with torch.inference_mode():
        together = model(face, body)
        alone = torch.cat([model(face[i : i + 1], body[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("autocast", [True, False])
def test_gradients_are_finite_in_bfloat16(autocast: bool) -> None:
    model = tiny(drop_path=0.1).train()
    face, body = views(4)
    if not autocast:
        model, face, body = model.bfloat16(), face.bfloat16(), body.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        tokens = model(face, body)
    tokens.float().square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or "norm2.bias" in name, name


def test_the_onnx_file_answers_as_the_network_for_any_batch(tmp_path: Path) -> None:
    model = tiny()
    path = tmp_path / "tiny.onnx"
    torch.onnx.export(
        model,
        views(2),
        path,
        input_names=["face", "body"],
        output_names=["tokens"],
        dynamic_shapes={"face": {0: torch.export.Dim("N", min=1, max=4096)}, "body": {0: torch.export.Dim.DYNAMIC}},
        opset_version=18,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert not {"Col2Im", "ATen"} & {node.op_type for node in onnx.load(path).graph.node}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        face, body = views(count)
        with torch.inference_mode():
            expected = model(face, body).numpy()
        given = session.run(["tokens"], {"face": face.numpy(), "body": body.numpy()})[0]
        np.testing.assert_allclose(given, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": 40}, "size is 40; a multiple of 16"),
        ({"size": 16}, "size is 16; a multiple of 16 from 32"),
        ({"depths": (2,)}, r"depths are \(2,\); two or more"),
        ({"depths": (2, 0)}, r"depths are \(2, 0\)"),
        ({"heads": (3, 4)}, r"dims are \(16, 32\) and its heads \(3, 4\)"),
        ({"heads": (2,)}, "two of each"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MiVOLO(**{**TINY, **changes})


def test_images_of_another_size_are_refused() -> None:
    face, body = views()
    with pytest.raises(ValueError, match=r"body: images are \(2, 3, 32, 16\); \(N, 3, 32, 32\) is needed"):
        tiny()(face, body[..., :16])
