"""ONNX models: what loads, what is refused and why, and that an age depends on the face alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.deployment import runtime
from agewise.deployment.runtime import BATCH, ModelError, OnnxModel, _overflows, load
from agewise.faces.align import Window, align, cut, square
from agewise.faces.face import Face
from agewise.model.calibration.axis import Spread
from agewise.model.calibration.calibration import Calibration, as_metadata

Write = Callable[..., Path]


def crops_of(count: int, side: int = 32) -> NDArray[np.uint8]:
    """Crops of one colour each, so that no resampling changes what the tiny model sees."""
    colours = np.random.default_rng(1).integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
    return np.broadcast_to(colours, (count, side, side, 3)).copy()


def photo_and_faces() -> tuple[NDArray[np.uint8], list[Face]]:
    y, x = np.mgrid[0:300, 0:400]
    pixels = np.stack([x * 255 // 399, y * 255 // 299, (x + y) * 255 // 698], axis=2).astype(np.uint8)
    points = np.array([[120.0, 100], [160, 96], [142, 120], [126, 142], [158, 138]])
    faces = [
        Face((90.0, 60.0, 190.0, 160.0), 0.9, points),
        Face((250.0, 120.0, 350.0, 220.0), 0.8, points + np.array([160, 60])),
    ]
    return pixels, faces


def test_what_a_model_says_of_itself(tiny_model: Write) -> None:
    model = load(tiny_model(48, window=[0.5, 0.52, 0.8], recipe={"seed": 3}))
    assert (model.name, model.size, model.frame, model.window) == ("tiny", 48, "aligned", Window(0.5, 0.52, 0.8))
    assert (model.licence, model.margin, model.info["recipe"]) == ("CC0-1.0", 0.0, {"seed": 3})


def test_probabilities_are_the_softmax_of_the_mean_colour(tiny_model: Write) -> None:
    crops = crops_of(3)
    logits = crops.mean(axis=(1, 2)) @ (0.02 * np.random.default_rng(0).normal(size=(3, 101)))
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(OnnxModel(tiny_model())(crops).probs, expected, atol=1e-6)


@pytest.mark.parametrize("count", [1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 5])
def test_an_age_does_not_depend_on_its_batch(tiny_model: Write, count: int) -> None:
    model, crops = OnnxModel(tiny_model()), crops_of(2 * BATCH + 5)
    together = model(crops[:count]).probs
    alone = np.concatenate([model(crop[None]).probs for crop in crops[:count]])
    np.testing.assert_allclose(together, alone, atol=1e-7)
    np.testing.assert_allclose(model(crops[:count][::-1]).probs[::-1], together, atol=1e-7)


def test_the_window_is_cut_from_larger_crops(tiny_model: Write) -> None:
    window = Window(0.5, 0.5, 0.5)
    crops = crops_of(2, 128)
    crops[:, :32] = 0
    crops[:, -32:] = 255
    model = OnnxModel(tiny_model(window=[window.x, window.y, window.side]))
    whole = OnnxModel(tiny_model())
    np.testing.assert_allclose(model(crops).probs, whole(cut(crops, window, 32)).probs)
    np.testing.assert_allclose(model(crops).probs, whole(crops[:, 48:80, 48:80]).probs, atol=1e-7)


@pytest.mark.parametrize("frame", ["aligned", "square"])
def test_faces_of_a_photo_are_warped_to_the_models_window(tiny_model: Write, frame: str) -> None:
    pixels, faces = photo_and_faces()
    window = Window(0.45, 0.55, 0.7)
    said = {"frame": frame, "window": [window.x, window.y, window.side], "margin": 0.1 if frame == "square" else 0.0}
    model = OnnxModel(tiny_model(**said))
    ages = model.of_faces(pixels, faces)
    assert len(ages) == 2
    assert not np.allclose(ages.probs[0], ages.probs[1], atol=1e-4)
    frames = [square(pixels, f, 256, 0.1) if frame == "square" else align(pixels, f, 256) for f in faces]
    np.testing.assert_allclose(ages.probs, model(np.stack(frames)).probs, atol=2e-3)


def test_many_faces_of_one_photo_keep_their_order(tiny_model: Write) -> None:
    pixels, faces = photo_and_faces()
    model = OnnxModel(tiny_model())
    ages = model.of_faces(pixels, faces * 40)
    np.testing.assert_allclose(ages.probs, np.tile(model.of_faces(pixels, faces).probs, (40, 1)), atol=1e-7)


def test_no_face_gives_no_age_without_running(tiny_model: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    model = OnnxModel(tiny_model())
    monkeypatch.setattr(model, "_session", None)
    assert len(model.of_faces(np.zeros((9, 9, 3), np.uint8), [])) == 0
    assert model(np.empty((0, 32, 32, 3), np.uint8)).probs.shape == (0, 101)


@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 32, 40, 3), (1, 32, 32, 4), (1, 3, 32, 32)])
def test_crops_of_another_shape_are_refused(tiny_model: Write, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(N, H, H, 3\) is needed"):
        OnnxModel(tiny_model())(np.zeros(shape, np.uint8))


def test_float_crops_are_refused(tiny_model: Write) -> None:
    with pytest.raises(ValueError, match="crops are float64"):
        OnnxModel(tiny_model())(np.zeros((1, 32, 32, 3)))  # type: ignore[arg-type]  # what is tested


def test_a_missing_model_names_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base.onnx").touch()
    (tmp_path / "large.onnx").touch()
    monkeypatch.setattr(runtime, "MODELS", tmp_path)
    with pytest.raises(ModelError, match=r"^smal: no such model.*\(base, large\)$"):
        OnnxModel("smal")
    with pytest.raises(ModelError, match="no such model"):
        OnnxModel(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="no such model"):
        OnnxModel(tmp_path)


def test_bundled_models_load_by_name_and_by_default(
    tiny_model: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "base.onnx").write_bytes(tiny_model(name="the base").read_bytes())
    monkeypatch.setattr(runtime, "MODELS", folder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.onnx").write_text("a file of this name in the user's folder is not the default model")
    assert load().name == load("base").name == "the base"


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x08\x12\x04tiny" * 9])
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        OnnxModel(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_network_is_refused(tiny_model: Write, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(tiny_model().read_bytes()[:400])
    with pytest.raises(ModelError, match=r"cut\.onnx: not an ONNX file, or a damaged one"):
        OnnxModel(path)


def changed(source: Path, target: Path, change: Callable[[Any], None]) -> Path:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(source)
    change(model)
    onnx.save(model, target)
    return target


def test_a_foreign_network_is_refused(tiny_model: Write, tmp_path: Path) -> None:
    path = changed(tiny_model(), tmp_path / "m.onnx", lambda model: model.ClearField("metadata_props"))
    with pytest.raises(ModelError, match="without agewise's metadata"):
        OnnxModel(path)


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"format": "1"}', "{}"])
def test_damaged_metadata_is_refused(tiny_model: Write, tmp_path: Path, text: str) -> None:
    def change(model: Any) -> None:
        model.metadata_props[0].value = text

    with pytest.raises(ModelError, match="metadata"):
        OnnxModel(changed(tiny_model(), tmp_path / "m.onnx", change))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"format": 3}, "format 3; this agewise reads up to 2"),
        ({"frame": "round"}, "aligned and square are allowed"),
        ({"window": [0.5, 0.5, 9.0]}, "side is 9"),
        ({"window": [0.5, 0.5]}, "metadata is wrong"),
        ({"window": [float("nan"), 0.5, 1.0]}, "centre is nan"),
        ({"window": None}, "metadata is wrong"),
        ({"margin": -1.0}, "0..2 is allowed"),
        ({"calibration": None}, "metadata is wrong: the calibration is wrong"),
        ({"calibration": {"temperature": 1.0}}, "metadata is wrong: the calibration has no 'ages'"),
        ({"size": 64}, r"its inputs are \[\('crops', 'tensor\(uint8\)', \('N', 32, 32, 3\)\)\]"),
    ],
)
def test_a_wrong_contract_is_refused(tiny_model: Write, said: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        OnnxModel(tiny_model(**said))


def test_missing_metadata_is_named(tiny_model: Write, tmp_path: Path) -> None:
    def change(model: Any) -> None:
        model.metadata_props[0].value = '{"format": 1, "name": "x", "frame": "aligned"}'

    with pytest.raises(ModelError, match="no 'window'"):
        OnnxModel(changed(tiny_model(), tmp_path / "m.onnx", change))


@pytest.mark.parametrize("port", ["crops", "probs"])
def test_other_inputs_or_outputs_are_refused(tiny_model: Write, tmp_path: Path, port: str) -> None:
    def change(model: Any) -> None:
        for node in model.graph.node:
            for names in (node.input, node.output):
                names[:] = ["other" if name == port else name for name in names]
        (model.graph.input if port == "crops" else model.graph.output)[0].name = "other"

    with pytest.raises(ModelError, match=r"puts are.*is needed"):
        OnnxModel(changed(tiny_model(), tmp_path / "m.onnx", change))


def test_a_network_that_returns_nan_is_an_error(tiny_model: Write) -> None:
    with pytest.raises(ModelError, match="output is no distribution: age probabilities must be finite"):
        OnnxModel(tiny_model(scale=np.nan))(crops_of(2))


@pytest.mark.parametrize("threads", [-1, 257, 10**14])
def test_threads_that_cannot_be_are_refused(tiny_model: Write, threads: int) -> None:
    with pytest.raises(ModelError, match=f"threads is {threads}; 0 .* to 256 is allowed"):
        OnnxModel(tiny_model(), threads=threads)


def test_a_calibration_in_the_file_is_applied_to_every_answer(tiny_model: Write) -> None:
    calibration = Calibration(1.5, None, Spread((0.9,), (50.0,), ((0.5,),)))
    plain = OnnxModel(tiny_model())
    model = OnnxModel(tiny_model(format=2, calibration=as_metadata(calibration)))
    crops = crops_of(BATCH + 3)
    assert (plain.calibration, model.calibration) == (None, calibration)
    np.testing.assert_allclose(model(crops).probs, calibration(plain(crops)).probs, atol=1e-12)
    assert np.abs(model(crops).std - plain(crops).std).min() > 1
    pixels, faces = photo_and_faces()
    expected = calibration(plain.of_faces(pixels, faces)).probs
    np.testing.assert_allclose(model.of_faces(pixels, faces).probs, expected, atol=1e-12)


def test_a_plain_model_is_one_that_earlier_versions_read(tiny_model: Write) -> None:
    assert OnnxModel(tiny_model(format=1)).calibration is None
    assert (runtime.PLAIN_FORMAT, runtime.FORMAT) == (1, 2)


def test_views_and_their_ages_are_those_of_the_faces(tiny_model: Write) -> None:
    pixels, faces = photo_and_faces()
    model = OnnxModel(tiny_model(window=[0.45, 0.55, 0.7]))
    views = model.views(pixels, faces)
    assert (views.shape, views.dtype) == ((2, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(views[1], align(pixels, faces[1], 32, Window(0.45, 0.55, 0.7)))
    np.testing.assert_array_equal(model.of_views(views).probs, model.of_faces(pixels, faces).probs)
    assert model.views(pixels, []).shape == (0, 32, 32, 3)


@pytest.mark.parametrize("count", [1, BATCH, 2 * BATCH + 5])
def test_an_age_does_not_depend_on_the_views_beside_it(tiny_model: Write, count: int) -> None:
    model, views = OnnxModel(tiny_model()), crops_of(2 * BATCH + 5)
    alone = np.concatenate([model.of_views(view[None]).probs for view in views[:count]])
    np.testing.assert_allclose(model.of_views(views[:count]).probs, alone, atol=1e-7)


@pytest.mark.parametrize(
    ("machine", "flags", "exact"),
    [
        ("x86_64", "flags : avx2 fma", "1"),
        ("x86_64", "flags : avx2 avx512_vnni", "0"),
        ("AMD64", None, "1"),  # Windows does not say
        ("arm64", None, "0"),
    ],
)
def test_int8_takes_the_exact_way_where_the_fast_one_overflows(
    machine: str, flags: str | None, exact: str, tiny_model: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "cpuinfo"
    if flags is not None:
        said.write_text(flags)
    opened = open
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(
        "builtins.open", lambda name, *a, **k: opened(said if name == "/proc/cpuinfo" else name, *a, **k)
    )
    _overflows.cache_clear()
    try:
        options = OnnxModel(tiny_model())._session.get_session_options()
    finally:
        _overflows.cache_clear()
    assert options.get_session_config_entry("session.x64quantprecision") == exact
