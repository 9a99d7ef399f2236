"""Faces followed over frames: who is who, what is kept of each, and when a track is over."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.deployment.fuse import weight
from agewise.deployment.track import PAUSE, Follower, FrameDetector, Seen
from agewise.faces.align import TEMPLATE
from agewise.faces.detect import Detector
from agewise.faces.face import Face
from agewise.faces.image import read_photo
from agewise.faces.quality import Rules, quality

pytest.importorskip("edgefirst.tracker", reason="faces are followed with agewise[video]")
FPS = 30.0
PIXELS = np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)


def face_at(x: float, y: float, side: float = 80.0, score: float = 0.9) -> Face:
    return Face((x - side / 2, y - side / 2, x + side / 2, y + side / 2), score, (TEMPLATE - 0.5) * side * 2 + (x, y))


class Script:
    """In place of an Estimator: the faces of each frame as they are told, and ages by their size."""

    def __init__(self, frames: Sequence[Sequence[Face]], abstain: Rules | None = None) -> None:
        self.frames = iter(frames)
        self.abstain = abstain
        self.model = self

    def detector(self, _: NDArray[np.uint8]) -> list[Face]:
        return list(next(self.frames))

    def of_faces(self, _: NDArray[np.uint8], faces: Sequence[Face]) -> AgeDistribution:
        return AgeDistribution.gaussian([min(99.0, face.size / 2) for face in faces], 5.0)


def follow(frames: Sequence[Sequence[Face]], every: int = 1, **options: object) -> tuple[list[list[Seen]], Follower]:
    follower = Follower(Script(frames, **options))  # type: ignore[arg-type]  # what it needs of an Estimator
    return [follower(PIXELS, n * every, n * every / FPS) for n in range(len(frames))], follower


def numbers(seen: Sequence[Sequence[Seen]]) -> list[set[int]]:
    """The tracks of each face, told apart by its size: the first of those in the order of sizes, and so on."""
    sizes = sorted({round(one.face.size) for frame in seen for one in frame})
    return [{one.track for frame in seen for one in frame if round(one.face.size) == size} for size in sizes]


@pytest.mark.parametrize("every", [1, 3, 5])
def test_two_who_cross_stay_who_they_are(every: int) -> None:
    """The one behind is not seen while they overlap."""
    frames = []
    for n in range(0, 200, every):
        front, behind = face_at(60 + 2.5 * n, 170, 90.0), face_at(560 - 2.5 * n, 150, 80.0)
        hidden = abs(front.box[0] - behind.box[0]) < 45
        frames.append([front] if hidden else [front, behind])
    assert numbers(follow(frames, every)[0]) in ([{2}, {1}], [{1}, {2}])


def test_a_fast_face_keeps_its_number() -> None:
    """600 pixels a second, of a face of 70."""
    frames = [[face_at(320 + 250 * np.sin(n / 12), 180, 70.0)] for n in range(150)]
    assert numbers(follow(frames)[0]) == [{1}]


def test_a_face_that_comes_nearer_keeps_its_number() -> None:
    seen, _ = follow([[face_at(320, 180, 40 + 1.5 * n)] for n in range(150)])
    assert {one.track for frame in seen for one in frame} == {1}


def test_a_face_that_returns_soon_is_the_same_and_later_a_new_one() -> None:
    there = [[face_at(200, 120)]]
    seen, follower = follow([*there * 30, *[[]] * 20, *there * 10])
    assert numbers(seen) == [{1}]
    assert [track.frames for track in follower.over()] == [40]
    away = int(FPS * PAUSE) + 5
    seen, follower = follow([*there * 30, *[[]] * away, *there * 10])
    assert numbers(seen) == [{1, 2}]
    assert [(track.number, track.first, track.last) for track in follower.over()] == [
        (1, 0, 29),
        (2, 30 + away, 39 + away),
    ]


def test_a_track_is_told_once_when_it_is_over_and_then_forgotten() -> None:
    _, follower = follow([[face_at(200, 120), face_at(400, 120)], [face_at(200, 120)]])
    assert follower.over(1 / FPS) == []
    assert [track.number for track in follower.over(PAUSE + 0.02)] == [2]
    assert [track.number for track in follower.over()] == [1]
    assert follower.over() == []


def test_a_doubtful_face_goes_on_with_a_track_and_begins_none() -> None:
    doubtful, clear = face_at(320, 180, score=0.6), face_at(320, 180, score=0.85)
    seen, follower = follow([[doubtful], [clear], [doubtful], [doubtful]])
    assert [[one.track for one in frame] for frame in seen] == [[], [1], [1], [1]]
    assert [(track.first, track.frames) for track in follower.over()] == [(1, 3)]


def test_frames_are_searched_as_photos_are_but_for_the_borders(astronaut: Path) -> None:
    photo = read_photo(astronaut).pixels
    (found,), (same,) = FrameDetector(threads=1)(photo), Detector(threads=1)(photo)
    assert found.box == same.box
    assert FrameDetector(threads=1, smallest=found.size / 0.7)(photo) == []
    frames, photos = FrameDetector(threads=1), Detector(threads=1)
    looks = {frames: 0, photos: 0}
    for detector in looks:
        scan = detector._scan

        def counted(*arguments: object, detector: Detector = detector, scan: object = scan) -> object:
            looks[detector] += 1
            return scan(*arguments)  # type: ignore[operator]  # the detector's own

        detector._scan = counted  # type: ignore[method-assign, assignment]  # to count its calls
        assert detector(np.full((48, 64, 3), 128, np.uint8)) == []
    assert looks[frames] == looks[photos] / 3


def test_no_faces_are_no_tracks() -> None:
    seen, follower = follow([[]] * 5)
    assert seen == [[]] * 5
    assert follower.over() == []


def test_the_age_shown_settles() -> None:
    """Sizes and so ages jump from frame to frame; the flicker of both is what numpy says."""
    sizes = 80 + 16 * np.random.default_rng(1).normal(size=120)
    seen, follower = follow([[face_at(320, 180, side)] for side in sizes])
    (track,) = follower.over()
    alone, shown = ([getattr(one, name).mean for (one,) in seen] for name in ("alone", "age"))
    assert track.flicker_alone == pytest.approx(np.std(alone))
    assert track.flicker == pytest.approx(np.std(shown))
    assert track.flicker < 0.3 * track.flicker_alone
    assert np.std(shown[60:]) < 0.05 * np.std(alone[60:])
    last = seen[-1][0].age
    assert last == track.age
    assert last is not None
    assert last.std < 5.0 < seen[0][0].alone.std + 0.01
    assert (track.first, track.last, track.frames) == (0, 119, 120)


def test_frames_count_by_their_quality() -> None:
    """The age is nearer to what the clear frames said."""
    seen, _ = follow([[face_at(320, 180, 90.0)], [face_at(320, 180, 70.0)]])
    (first,), (second,) = seen
    assert second.weight == weight(quality(PIXELS, second.face)) < first.weight
    assert second.age is not None
    share = np.array([first.weight, second.weight]) / (first.weight + second.weight)
    assert second.age.mean == pytest.approx(share @ [45.0, 35.0], abs=0.1)


def test_what_rules_abstain_from_is_followed_but_not_counted() -> None:
    faces = [[face_at(320, 180, side)] for side in (60.0, 100.0, 60.0)]
    seen, follower = follow(faces, abstain=Rules(size=80.0, sharpness=0.0))
    (first,), (second,), (third,) = seen
    assert (first.age, first.weight, first.reason) == (None, 0.0, "too small: 60 px")
    assert second.reason is None
    assert second.age is not None
    assert (third.age, third.reason, third.track) == (second.age, "too small: 60 px", 1)
    (track,) = follower.over()
    assert (track.frames, track.age, track.flicker) == (3, second.age, 0.0)
    assert [track.age for track in follow(faces, abstain=Rules(size=300.0))[1].over()] == [None]


def test_without_the_library_it_says_which_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edgefirst.tracker", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        Follower(Script([]))  # type: ignore[arg-type]  # what it needs of an Estimator
    assert caught.value.name == "edgefirst_tracker"
