"""The paper's training views: distributions by sampling, geometry in closed form, and what its profiles differ in."""

from __future__ import annotations

from typing import Any, get_args

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.data.augmentation.paper import (
    Bounded,
    Draws,
    Profile,
    Region,
    draw,
    drawn_view,
    paper_view,
    region_of,
    relit,
    squared,
)
from agewise.faces.align import Window, cut

PROFILES: tuple[Profile, ...] = get_args(Profile)
REGION: Region = (30, 22, 64, 64)
Points = NDArray[np.float64]


def levels(x: Points, y: Points) -> Points:
    """A smooth picture, known between its pixels too; x and y are continuous, from the frame's corner."""
    waves = [np.sin(x / 9 + y / 23), np.cos(x / 17 - y / 8), np.sin(x / 12) * np.cos(y / 14)]
    return 128 + 90 * np.stack(waves, axis=-1)


def smooth(height: int = 110, width: int = 130) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width] + 0.5
    return np.asarray(np.round(levels(columns, rows)), dtype=np.uint8)


def disc(x: int, y: int, height: int = 110, width: int = 110) -> NDArray[np.uint8]:
    """A white disc around the corner-based point (x, y), on black."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside = (columns - x) ** 2 + (rows - y) ** 2 < 8**2
    return np.repeat(255 * inside[:, :, None], 3, axis=2).astype(np.uint8)


def place(image: NDArray[np.uint8]) -> Points:
    """Where an image's light has its centre: x, y, corner-based."""
    mass = image[..., 0].astype(float)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(columns * mass).sum(), (rows * mass).sum()]) / mass.sum()


@pytest.fixture(scope="module")
def drawn() -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    many = [draw(rng) for _ in range(20_000)]
    names = ("angle", "skew", "shift", "shrink", "contrast", "brightness", "flip")
    return {name: np.array([getattr(one, name) for one in many], dtype=np.float64) for name in names}


@pytest.mark.parametrize(
    ("name", "low", "high", "mean", "error"),
    [
        ("angle", -10, 10, 0, 0.15),
        ("skew", 0, 0.1, 0.0391, 0.0008),  # E|clipped normal| of std 0.05
        ("shift", -0.054, 0.036, -0.009, 0.0007),
        ("shrink", -0.0675, 0.1125, 0.0225, 0.0014),
        ("contrast", 0.5, 1.5, 1, 0.008),
        ("brightness", -48, 48, 0, 0.7),
    ],
)
def test_draws_keep_to_their_bounds_and_mean(
    drawn: dict[str, Any], name: str, low: float, high: float, mean: float, error: float
) -> None:
    values = drawn[name]
    assert values.min() == pytest.approx(low, abs=1e-6 if name != "skew" else 1e-4)
    assert values.max() == pytest.approx(high, abs=1e-9)
    at_bound = np.isclose(values, high, rtol=0, atol=1e-9) | (np.isclose(values, low, rtol=0, atol=1e-9) & (low != 0))
    assert at_bound.mean() == pytest.approx(0.0455, abs=0.006)  # clipped, so P(|z| > 2); redrawn it would be 0
    assert np.allclose(values.mean(axis=0), mean, atol=error)


def test_pairs_are_drawn_apart_and_half_of_the_views_are_mirrored(drawn: dict[str, Any]) -> None:
    for name in ("skew", "shift", "shrink"):
        assert abs(np.corrcoef(drawn[name].T)[0, 1]) < 0.03
    assert drawn["flip"].mean() == pytest.approx(0.5, abs=0.015)


class Told(np.random.Generator):
    """A Generator whose draws are known: each normal is one std above its mean, each uniform 0.6; it counts them."""

    def __init__(self, z: float = 1.0) -> None:
        super().__init__(np.random.PCG64(0))
        self.z, self.asked = z, list[str]()

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:  # noqa: ARG002
        self.asked.append("normal")
        return loc + self.z * scale

    def random(self, *_given: Any, **_named: Any) -> Any:
        self.asked.append("uniform")
        return 0.6


def test_what_is_drawn_is_known_from_the_generator() -> None:
    rng = Told()
    assert draw(rng) == Draws(5.0, (0.05, 0.05), (0.0135, 0.0135), (0.0675, 0.0675), 1.25, 24.0, flip=False)
    assert rng.asked == ["normal"] * 9 + ["uniform"]
    far = draw(Told(-7.0))  # far below: clipped first, then made positive
    assert (far.angle, far.skew, far.brightness) == (-10.0, (0.1, 0.1), -48.0)
    assert Bounded(0.0, 3.0, positive=True).draw(Told(-1.0)) == 3.0


def test_both_profiles_draw_the_same() -> None:
    one, two = np.random.default_rng(3), np.random.default_rng(3)
    views = [paper_view(smooth(), REGION, 48, "paper", one), paper_view(smooth(), (-9, 0, 50, 80), 20, "released", two)]
    assert one.bit_generator.state == two.bit_generator.state
    assert [view.shape for view in views] == [(48, 48, 3), (20, 20, 3)]
    assert views[0].dtype == views[1].dtype == np.uint8


@pytest.mark.parametrize("profile", PROFILES)
def test_a_view_depends_on_its_seed_only_and_leaves_the_frame_alone(profile: Profile) -> None:
    frame = smooth()
    first, again, other = (paper_view(frame, REGION, 40, profile, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 2
    assert np.array_equal(frame, smooth())


def test_without_any_change_a_view_is_its_region() -> None:
    frame = smooth()
    assert np.array_equal(drawn_view(frame, REGION, 64, "paper", Draws()), frame[22:86, 30:94])
    # released: the skew's matrix moves the frame by a pixel, and the crop loses its last row and column
    assert np.array_equal(drawn_view(frame, REGION, 63, "released", Draws()), frame[21:84, 29:92])


def test_a_window_of_a_stored_crop_is_what_evaluation_cuts() -> None:
    crop = smooth(130, 130)
    window = Window(0.5, 0.54, 0.8)
    made = drawn_view(crop, region_of(window, len(crop)), 56, "paper", Draws())
    assert np.array_equal(made, cut(crop[None], window, 56)[0])


GEOMETRY = {
    "rotation": Draws(angle=10.0),
    "skew": Draws(skew=(0.1, 0.03)),
    "jitter": Draws(shift=(-0.054, 0.036), shrink=(0.1125, -0.0675)),
    "all": Draws(angle=-7.3, skew=(0.04, 0.08), shift=(0.02, -0.03), shrink=(0.05, 0.01), flip=True),
}


def mapped(points: Points, region: Region, draws: Draws, released: bool) -> Points:
    """Closed form: where in the frame a point of the turned and skewed frame comes from, both corner-based."""
    centre = np.array([region[0] + region[2] / 2, region[1] + region[3] / 2])
    angle = np.deg2rad(draws.angle)  # anticlockwise, y pointing down
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    skew = np.array([[1, draws.skew[0]], [draws.skew[1], 1]])
    if released:  # in OpenCV's coordinates, and the skew about their origin
        points = (points - 0.5 - 1) @ np.linalg.inv(skew).T
        return (points - centre) @ np.linalg.inv(turn).T + centre + 0.5
    return (points - centre) @ np.linalg.inv(skew @ turn).T + centre


def squared_by_hand(region: Region, draws: Draws, released: bool) -> tuple[float, float, float]:
    x, y, width, height = region
    box = [x + draws.shift[0] * height, y + draws.shift[1] * height]
    box += [width - draws.shrink[0] * height, height - draws.shrink[1] * height]
    if released:
        box = [int(value) for value in box]
    side = max(box[2:])
    grown = [box[0] - (side - box[2]) / 2, box[1] - (side - box[3]) / 2]
    return (np.ceil(grown[0]), np.ceil(grown[1]), side - 1) if released else (grown[0], grown[1], side)


def test_a_quarter_turn_is_exact() -> None:
    frame, turn = smooth(), Draws(angle=90.0)
    assert np.array_equal(drawn_view(frame, REGION, 64, "paper", turn), np.rot90(frame[22:86, 30:94]))
    # released: about the pixel (62, 54) and not between pixels, then a pixel right and down, then 63 x 63
    assert np.array_equal(drawn_view(frame, REGION, 63, "released", turn), np.rot90(frame[21:84, 33:96]))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", GEOMETRY)
def test_the_geometry_is_the_closed_form(name: str, profile: Profile) -> None:
    draws, released, region = GEOMETRY[name], profile == "released", (43, 38, 40, 55)
    left, top, side = squared_by_hand(region, draws, released)
    size = round(side) if released else 53  # a released view of its own size is not resized
    rows, columns = (np.mgrid[:size, :size] + 0.5) * side / size
    from_there = mapped(np.stack([left + columns, top + rows], axis=-1).reshape(-1, 2), region, draws, released)
    expected = levels(from_there[:, 0], from_there[:, 1]).reshape(size, size, 3)
    made = drawn_view(smooth(130, 130), region, size, profile, draws).astype(float)
    off = np.abs(made - (expected[:, ::-1] if draws.flip else expected))
    assert off.max() < 2.5  # levels: two bilinear samplings of waves, and rounding
    assert off.mean() < 0.7


def step_by_step(frame: NDArray[np.uint8], region: Region, size: int, draws: Draws) -> NDArray[np.uint8]:
    """The paper profile with one sampling a step, as its text lists them."""
    cx, cy = region[0] + region[2] / 2 - 0.5, region[1] + region[3] / 2 - 0.5  # OpenCV's pixels
    whole = (frame.shape[1], frame.shape[0])
    turned = cv2.warpAffine(frame, cv2.getRotationMatrix2D((cx, cy), draws.angle, 1.0), whole)
    right, down = draws.skew
    skewed = cv2.warpAffine(turned, np.array([[1, right, -right * cy], [down, 1, -down * cx]]), whole)
    left, top, side = squared_by_hand(region, draws, released=False)
    shift = np.array([[1, 0, -left], [0, 1, -top]])
    crop = cv2.warpAffine(skewed, shift, (round(side), round(side)))
    lit = relit(np.asarray(crop, dtype=np.uint8), draws.contrast, draws.brightness)
    flipped = lit[:, ::-1] if draws.flip else lit
    return np.asarray(cv2.resize(flipped, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


@pytest.mark.parametrize("size", [24, 48, 100])
def test_sampling_once_is_the_steps_one_by_one(size: int) -> None:
    frame, region, rng = smooth(200, 210), (50, 45, 100, 100), np.random.default_rng(8)
    for _ in range(8):
        drawn = draw(rng)
        side = 100 * (1 - min(drawn.shrink))
        shrink = 1 - round(side) / 100  # a whole side, which the steps can crop
        draws = Draws(drawn.angle, drawn.skew, drawn.shift, (shrink, shrink), drawn.contrast, drawn.brightness)
        once = drawn_view(frame, region, size, "paper", draws).astype(int)
        off = np.abs(once - step_by_step(frame, region, size, draws))[1:-1, 1:-1]
        assert off.mean() < 1.0  # levels; 0.4 to 0.65 was seen
        assert off.max() <= 5


@pytest.mark.parametrize("profile", PROFILES)
def test_a_flip_is_a_mirror(profile: Profile) -> None:
    plain, flipped = (drawn_view(smooth(), REGION, 50, profile, Draws(angle=4.0, flip=flip)) for flip in (False, True))
    assert np.array_equal(flipped, plain[:, ::-1])
    assert not np.array_equal(flipped, plain)


def test_light_is_about_128_clipped_and_truncated() -> None:
    pixels = np.array([[[0, 100, 255], [127, 128, 201]]], dtype=np.uint8)
    assert relit(pixels, 1.25, 10.9).tolist() == [[[0, 103, 255], [137, 138, 230]]]  # 103.9, 137.65, 138.9, 230.15
    assert relit(pixels, 0.5, -48.0).tolist() == [[[16, 66, 143], [79, 80, 116]]]  # 143.5, 79.5, 116.5
    assert np.array_equal(relit(pixels, 1.0, 0.0), pixels)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_black_beyond_the_frame_is_relit_too(profile: Profile) -> None:
    frame = np.full((60, 60, 3), 200, dtype=np.uint8)
    made = drawn_view(frame, (40, 40, 40, 40), 40, profile, Draws(contrast=0.5, brightness=20.0))
    assert (made[30:, 30:] == 84).all()  # (0 - 128) / 2 + 128 + 20
    assert (made[2:15, 2:15] == 184).all()


def test_only_the_released_skew_moves_the_face_right_and_down() -> None:
    frame, draws = disc(55, 60), Draws(skew=(0.1, 0.06))
    region = (23, 28, 64, 64)  # around the disc
    paper = drawn_view(frame, region, 64, "paper", draws)
    released = drawn_view(frame, region, 63, "released", draws)
    assert place(paper) == pytest.approx([32, 32], abs=0.1)
    moved = np.array([1 + 0.1 * 59.5, 1 + 0.06 * 54.5])  # x + s0 y + 1, y + s1 x + 1
    assert place(released) - 32 == pytest.approx(moved, abs=0.1)


@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60)])
def test_only_the_released_code_loses_a_part_of_an_oblong_frame(height: int, width: int) -> None:
    frame = np.full((height, width, 3), 180, dtype=np.uint8)
    region = (0, 0, width, height)
    paper = drawn_view(frame, region, 100, "paper", Draws())
    released = drawn_view(frame, region, 100, "released", Draws())
    assert (paper > 0).any(axis=2).mean() == pytest.approx(0.6, abs=0.02)  # black beyond it only
    assert (released > 0).any(axis=2).mean() == pytest.approx(0.36, abs=0.03)  # its 60 x 60 square
    part = drawn_view(frame, (width - 50, height - 50, 40, 40), 39, "released", Draws())  # in the frame, so 39 x 39
    lit = part.any(axis=2).sum(axis=0 if height > width else 1)
    assert lit.tolist() == [11] * 39  # pixels 50 to 60: the skew's matrix moves the cut square by one


def test_a_crop_in_the_frame_loses_a_row_and_a_column_and_one_beyond_it_does_not() -> None:
    frame = smooth(50, 50)
    moved = np.zeros_like(frame)
    moved[1:, 1:] = frame[:-1, :-1]  # by the skew's matrix
    assert np.array_equal(drawn_view(frame, (10, 10, 40, 40), 39, "released", Draws()), moved[10:49, 10:49])
    beyond = drawn_view(frame, (11, 10, 40, 40), 40, "released", Draws())
    assert np.array_equal(beyond[:, :39], moved[10:, 11:])
    assert not beyond[:, 39].any()
    corner = drawn_view(frame, (-5, -6, 20, 20), 20, "released", Draws())
    assert np.array_equal(corner[6:, 5:], moved[:14, :15])
    assert not drawn_view(frame, (-39.5, 0, 40, 40), 40, "released", Draws(shift=(-0.054, 0.0))).any()


def test_the_square_of_a_box() -> None:
    assert squared((10, 20, 30, 51), "paper") == pytest.approx((-0.5, 20, 51, 51))
    assert squared((10, 20, 30, 51), "released") == (0, 20, 51, 51)
    assert squared((10, 20, 51, 30), "released") == (10, 10, 51, 51)


def test_only_the_released_code_truncates_its_region() -> None:
    whole, parts, draws = (30, 22, 64, 64), (30.9, 22.7, 64.6, 64.8), Draws(angle=8.0)
    views = {(profile, r): drawn_view(smooth(), r, 63, profile, draws) for profile in PROFILES for r in (whole, parts)}
    assert np.array_equal(views["released", whole], views["released", parts])
    assert np.abs(views["paper", whole].astype(int) - views["paper", parts]).mean() > 2


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("side", [3, 3.9, 4])
def test_the_smallest_region_still_makes_a_view(profile: Profile, side: float) -> None:
    for z in (-3.0, 0.0, 3.0):
        assert paper_view(smooth(), (20.5, 20.5, side, side), 8, profile, Told(z)).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"region": (130, 5, 20, 20)}, "outside the frame of 130x110"),
        ({"region": (5, -20, 20, 20)}, "outside the frame"),
        ({"region": (5, 5, 0, 20)}, "at least 3 pixels"),
        ({"region": (5, 5, 20, -4)}, "at least 3 pixels"),
        ({"region": (5, float("nan"), 20, 20)}, "finite"),
        ({"profile": "published"}, "'published'; there are paper, released"),
        ({"size": 0}, "0 pixels; at least 1"),
        ({"frame": smooth().astype(np.float32)}, r"float32 \(110, 130, 3\); uint8"),
        ({"frame": smooth()[..., 0]}, r"uint8 \(H, W, 3\) is needed"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(change: dict[str, Any], match: str) -> None:
    given: dict[str, Any] = {"frame": smooth(), "region": REGION, "size": 32, "profile": "paper", **change}
    with pytest.raises(ValueError, match=match) as error:
        paper_view(**given, rng=np.random.default_rng(0))
    assert "\n" not in str(error.value)
