"""Each kind of finding on manifests in which it was planted, and none where it was not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy import stats

from agewise.data.audit.audit import Audit, audit, find_audit
from agewise.data.audit.balance import cramers_v
from agewise.data.audit.findings import Finding
from agewise.data.audit.label_checks import binomial_tail, heaps_of, holes_of, missing_groups, whipple
from agewise.data.audit.twins import local_contrast
from agewise.data.manifest import IMAGE, ManifestError, fingerprint, read_manifest, write_manifest
from agewise.faces.image import encode_jpeg, read_photo

Write = Callable[..., Path]


def clouds(seed: int, count: int, side: int = 80) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    made = [
        cv2.resize(rng.normal(128, 60, (11, 11, 3)), (side, side), interpolation=cv2.INTER_CUBIC) for _ in range(count)
    ]
    return [one.clip(0, 255).astype(np.uint8) for one in made]


def files(pictures: list[NDArray[np.uint8]]) -> list[bytes]:
    return [encode_jpeg(one) for one in pictures]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a manifest of pictures, given as the bytes of their files; keywords are columns."""

    def make(name: str, images: list[bytes | None], **columns: Any) -> Path:
        image = pa.array([{"bytes": data, "path": None} for data in images], IMAGE)
        return write_manifest(pa.table({"image": image, **columns}), tmp_path / f"{name}.parquet")

    return make


def of_kind(found: Audit, kind: str) -> list[Finding]:
    return [finding for finding in found.findings if finding.kind == kind]


def only(found: Audit, kind: str) -> Finding:
    (finding,) = of_kind(found, kind)
    return finding


def test_nothing_is_found_where_nothing_is(write: Write) -> None:
    train = write("train", files(clouds(1, 20)), age=np.arange(20.0), subject=[f"a{n}" for n in range(20)])
    test = write("test", files(clouds(2, 10)), age=np.arange(10.0), subject=[f"b{n}" for n in range(10)])
    found = audit([train, test])
    assert found.findings == ()
    assert not found.leaks
    assert found.sides == {"train": 20, "test": 10}
    assert [(one.name, one.rows, one.sha256) for one in found.manifests] == [
        (str(path), rows, fingerprint(path)) for path, rows in ((train, 20), (test, 10))
    ]


def copied(kind: str, data: bytes) -> bytes:
    pixels = read_photo(data).pixels
    match kind:
        case "file":
            return data
        case "pixels":
            return data + b"\0 a comment that no decoder reads"
        case "quality":
            return encode_jpeg(pixels, 60)
        case "half":
            return encode_jpeg(cv2.resize(pixels, (40, 40), interpolation=cv2.INTER_AREA))
        case "mirror":
            return encode_jpeg(np.ascontiguousarray(pixels[:, ::-1]))
        case _:
            return encode_jpeg(np.ascontiguousarray(pixels[3:, 1:77]))


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("file", "file"),
        ("pixels", "pixels"),
        ("quality", "near"),
        ("half", "near"),
        ("mirror", "near"),
        ("crop", "near"),
    ],
)
def test_a_copy_on_the_other_side_is_a_leak(write: Write, kind: str, how: str) -> None:
    pictures = files(clouds(1, 30))
    train = write("train", pictures, age=[20.0] * 30)
    test = write("test", [*files(clouds(2, 9)), copied(kind, pictures[17])], age=[20.0] * 9 + [33.0])
    found = audit([train, test])
    leak = only(found, f"{how} across sides")
    assert found.leaks
    assert (leak.severity, leak.count, leak.rows) == ("leak", 1, (((str(train), 17), (str(test), 9)),))
    (pair,) = found.twins
    assert (pair.a, pair.b, pair.how, pair.mirrored, pair.differs) == (17, 39, how, kind == "mirror", ("age",))
    assert pair.similarity == pytest.approx(1, abs=0 if how != "near" else 0.15)
    assert found.shared == (("train", "test", 1, 30), ("test", "train", 1, 10))
    assert only(found, "unequal labels").count == 1


def test_copies_on_one_side_are_no_leak(write: Write) -> None:
    pictures = files(clouds(1, 6))
    again = [encode_jpeg(read_photo(pictures[1]).pixels, 70), pictures[2], pictures[2]]
    found = audit([write("train", [*pictures, *again], age=[30.0] * 9, sex=["F"] * 7 + ["M", None])])
    assert not found.leaks
    assert [(pair.a, pair.b, pair.how, pair.differs) for pair in found.twins] == [
        (2, 7, "file", ("sex",)),
        (2, 8, "file", ()),
        (1, 6, "near", ()),
    ]
    assert only(found, "file within a side").count == 2
    assert only(found, "near within a side").severity == "warning"
    assert found.shared == ()


def test_the_split_column_tells_the_sides(write: Write) -> None:
    pictures = files(clouds(1, 8))
    split = ["train", "train", "test", "test", None, None, "train", "test"]
    one = write("one", [*pictures[:7], pictures[0]], split=split)
    two = write("two", [pictures[1], pictures[3], pictures[7]], split=["train"] * 3)
    found = audit([one, two])
    assert found.sides == {"train": 6, "test": 3, "one": 2}
    (leak,) = [finding for finding in found.findings if finding.severity == "leak"]
    assert leak.count == 2  # rows 0 and 7 of one; row 3 of one and 1 of two; row 1 and 0 of two are both in train
    assert only(found, "file within a side").count == 1


def test_three_sides_of_one_picture_are_counted_once_a_row(write: Write) -> None:
    picture = files(clouds(1, 1)) * 4
    found = audit([write("all", picture, split=["train", "valid", "test", "test"])])
    assert len(found.twins) == 3
    assert ("test", "valid", 2, 2) in found.shared
    assert len(found.shared) == 6


def test_subjects_on_two_sides_are_a_leak(write: Write) -> None:
    train = write("train", files(clouds(1, 4)), subject=["ann", "bob", "bob", None])
    test = write("test", files(clouds(2, 3)), subject=["bob", "eve", "ann"])
    found = audit([train, test])
    leak = only(found, "subjects across sides")
    assert (leak.severity, leak.count) == ("leak", 2)
    assert set(leak.rows) == {((str(train), 0), (str(test), 2)), ((str(train), 1), (str(test), 0))}
    assert only(found, "no subjects").count == 1


def test_rows_without_subjects_are_said(write: Write) -> None:
    assert "no row names its subject" in only(audit([write("a", files(clouds(1, 2)))]), "no subjects").message


def test_labels_that_cannot_be_are_named_and_not_counted_as_ages(write: Write) -> None:
    age = pa.array([200.0, 30.0, None, -1.0, float("nan"), 30.0])
    found = audit([write("a", files(clouds(1, 6)), age=age, age_low=[0.0, 0, 0, 0, 0, 9.0], age_high=[3.0] * 6)])
    finding = only(found, "impossible labels")
    assert finding.count == 4
    assert sorted(case[0][1] for case in finding.rows) == [0, 3, 4, 5]
    assert "row 0: age is 200; 0..122 years or null is allowed" in finding.message
    assert found.ages["a"].sum() == 1
    assert only(found, "no age").count == 4


def test_pictures_that_are_poor(write: Write) -> None:
    flat = encode_jpeg(np.full((50, 50, 3), 90, np.uint8))
    tiny = files(clouds(3, 1, side=20))
    images = [*files(clouds(1, 2)), flat, encode_jpeg(np.full((50, 50, 3), 91, np.uint8)), *tiny, b"no picture", None]
    found = audit([write("a", images)])
    assert only(found, "unreadable").count == 2
    assert "no image in the row (1)" in only(found, "unreadable").message
    assert [case[0][1] for case in only(found, "flat").rows] == [2, 3]
    assert [case[0][1] for case in only(found, "tiny").rows] == [4]
    assert found.twins == ()  # two flat pictures are not near to each other


def test_the_box_in_the_photo_is_the_size_of_a_face(write: Write) -> None:
    boxes = pa.array([[0.0, 0.0, 31.0, 90.0], [0.0, 0.0, 32.0, 32.0]], pa.list_(pa.float64(), 4))
    found = audit([write("a", files(clouds(1, 2)), box=boxes)])
    assert [case[0][1] for case in only(found, "tiny").rows] == [0]


def test_a_picture_may_lie_beside_the_manifest(tmp_path: Path) -> None:
    data = files(clouds(1, 1))[0]
    (tmp_path / "one.jpg").write_bytes(data)
    image = pa.array([{"bytes": None, "path": "one.jpg"}, {"bytes": data, "path": None}, {"path": "gone.jpg"}], IMAGE)
    found = audit([write_manifest(pa.table({"image": image}), tmp_path / "a.parquet")])
    assert [(pair.a, pair.b, pair.how) for pair in found.twins] == [(0, 1, "file")]
    assert "cannot be opened" in only(found, "unreadable").message


def test_heaps_are_those_that_were_heaped() -> None:
    faces = np.random.default_rng(0).poisson(200, 123)
    faces[90:] = 0
    assert heaps_of(faces) == {}
    faces[[0, 26, 50]] = [400, 420, 390]
    assert list(heaps_of(faces)) == [0, 26, 50]
    assert heaps_of(faces)[26] == pytest.approx(420 / faces[[24, 25, 27, 28]].mean())


def test_few_faces_are_no_heap() -> None:
    faces = np.zeros(123, np.int64)
    faces[[20, 21, 22, 23, 24]] = [2, 2, 6, 2, 2]
    assert heaps_of(faces) == {}
    assert list(heaps_of(faces * 40)) == [22]


def test_whipples_index_of_even_ages_and_of_rounded_ones() -> None:
    even = np.full(123, 50)
    assert whipple(even)[0] == 100
    rounded = np.zeros(123, np.int64)
    rounded[25:61:5] = 10
    assert whipple(rounded)[0] == 500
    assert whipple(rounded)[1] == pytest.approx(0.2**80)
    assert whipple(np.zeros(123, np.int64)) == (100.0, 1.0)


@pytest.mark.parametrize(("least", "total", "share"), [(0, 9, 0.2), (3, 10, 0.2), (10, 10, 0.5), (300, 1000, 0.25)])
def test_the_binomial_tail_is_scipys(least: int, total: int, share: float) -> None:
    assert binomial_tail(least, total, share) == pytest.approx(stats.binom.sf(least - 1, total, share), rel=1e-9)


def test_holes_are_what_should_be_there() -> None:
    full = np.zeros(123, np.int64)
    full[10:60] = 100
    gap = full.copy()
    gap[[30, 31, 45]] = 0
    assert [(a, b) for a, b, _ in holes_of(gap, full)] == [(30, 31), (45, 45)]
    assert [(a, b) for a, b, _ in holes_of(gap, np.zeros_like(full))] == [(30, 31), (45, 45)]  # by the ages around
    short = full.copy()
    short[50:] = 0
    assert [(a, b) for a, b, _ in holes_of(short, full)] == [(50, 59)]
    assert holes_of(short, np.zeros_like(full)) == []
    assert holes_of((full > 0).astype(np.int64), full) == []
    assert holes_of(np.zeros_like(full), full) == []


def test_age_groups_that_only_others_have() -> None:
    train = {(0.0, 2.0): 500, (3.0, 9.0): 500, (10.0, 19.0): 3}
    (finding,) = missing_groups({"train": train, "test": {(0.0, 2.0): 100}})
    assert finding.message == "test has no face of the age groups 3-9"


def test_the_manifests_labels_reach_the_checks(write: Write) -> None:
    picture = files(clouds(1, 1)) * 400
    age = np.repeat([20.0, 21.0, 22.0, 23.0, 25.0, 26.0, 27.0], [40, 40, 40, 40, 160, 40, 40])
    found = audit([write("a", picture, age=age)])
    assert only(found, "heaps").message == "a has heaps, by times their neighbours, at 25 years (5.3 x)"
    assert "no face of 24 years" in only(found, "holes").message
    assert only(found, "digits").count == 160


def test_groups_out_of_balance(write: Write) -> None:
    images: list[bytes | None] = files(clouds(1, 1)) * 500
    train = write("train", images, sex=["F"] * 460 + ["M"] * 40, age=[20.0] * 460 + [60.0] * 40)
    test = write("test", images, sex=["F"] * 20 + ["M"] * 480, age=[20.0, 60.0] * 250)
    messages = [finding.message for finding in of_kind(audit([train, test]), "balance")]
    assert any("sex in train: F has 460 faces, 12 times those of M" in message for message in messages)
    assert any("sex in test: fewer than 30 faces are of F (20)" in message for message in messages)
    assert any("sex and age go together in train" in message for message in messages)
    assert not any("sex and age go together in test" in message for message in messages)
    assert any("sex is not shared evenly between train, test" in message for message in messages)


def test_cramers_v_of_independent_and_of_equal_columns() -> None:
    assert cramers_v(np.array([[30, 60], [50, 100]])) == 0
    assert cramers_v(np.array([[500, 0], [0, 500]])) == pytest.approx(1, abs=1e-3)
    assert cramers_v(np.array([[5, 3]])) == 0
    table = np.array([[9000, 4000, 100], [3000, 7000, 5000]])
    expected = stats.contingency.association(table, method="cramer", correction=False)
    assert cramers_v(table) == pytest.approx(expected, abs=1e-3)  # the correction fades with the size


def test_columns_that_are_no_groups_are_named(write: Write) -> None:
    a = write("a", files(clouds(1, 40)), file=[f"{n}.jpg" for n in range(40)], smile=[True, False] * 20)
    found = audit([a])
    assert found.skipped == ("file",)
    assert list(found.groups) == ["smile"]
    assert list(audit([a], groups=[]).groups) == []
    with pytest.raises(ManifestError, match="column file has 40 values; a group has 30"):
        audit([a], groups=["file"])
    with pytest.raises(ManifestError, match=r"no column sex in a\.parquet"):
        audit([a], groups=["sex"])


def test_another_embedding_decides_on_the_near_ones(write: Write) -> None:
    pictures = files(clouds(1, 5))
    a = write("a", pictures)
    b = write("b", [encode_jpeg(read_photo(pictures[0]).pixels, 60)])
    seen = []

    def opposite(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(crops.shape)
        return np.float32(1 - 2 * (len(seen) % 2)) * np.ones((len(crops), 3), np.float32)

    assert audit([a, b], embed=opposite).twins == ()
    assert set(seen) == {(1, 112, 112, 3)}
    assert audit([a, b], embed=opposite, similarity=-1).leaks
    with pytest.raises(ValueError, match=r"the embedding gives \(1,\); one vector a crop is needed"):
        audit([a, b], embed=lambda crops: np.zeros(len(crops), np.float32))


def test_what_all_pictures_share_is_no_evidence(write: Write) -> None:
    wall = clouds(9, 1)[0].astype(int)
    before_it = [(0.8 * wall + 0.2 * one).astype(np.uint8) for one in clouds(1, 80)]
    again = encode_jpeg(before_it[3], 70)
    found = audit([write("a", [*files(before_it), again])])
    assert [(pair.a, pair.b) for pair in found.twins] == [(3, 80)]
    plain = local_contrast(np.stack([cv2.resize(one, (112, 112)) for one in before_it[:2]]))
    assert np.corrcoef(plain)[0, 1] > 0.8  # without the mean, different pictures would be one


@pytest.mark.parametrize("similarity", [-1.5, 1.5, float("nan")])
def test_a_similarity_is_a_cosine(write: Write, similarity: float) -> None:
    with pytest.raises(ValueError, match="the similarity is"):
        audit([write("a", files(clouds(1, 2)))], similarity=similarity)


def test_manifests_that_cannot_be_audited(write: Write, tmp_path: Path) -> None:
    a = write("a", files(clouds(1, 2)))
    with pytest.raises(ManifestError, match="no manifest"):
        audit([])
    with pytest.raises(ManifestError, match="is given twice"):
        audit([a, tmp_path / "." / "a.parquet"])
    with pytest.raises(ManifestError, match="no such manifest"):
        audit([a, tmp_path / "b.parquet"])
    with pytest.raises(ManifestError, match="no row to audit"):
        audit([write("none", [])])
    with pytest.raises(ManifestError, match="no column image"):
        audit([write_manifest(pa.table({"age": [1.0]}), tmp_path / "c.parquet")])


def test_manifests_of_one_name_are_two_sides(write: Write, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    pictures = files(clouds(1, 2))
    found = audit([write("a", pictures), write("old/a", pictures)])
    assert list(found.sides) == [str(tmp_path / "a"), str(tmp_path / "old/a")]
    assert found.leaks


def test_the_newest_audit_of_a_manifest_is_found(write: Write, tmp_path: Path) -> None:
    a = write("a", files(clouds(1, 2)))
    said = {"step": "audit", "manifests": [{"sha256": fingerprint(a)}]}
    for seconds, name in enumerate(("first", "newest"), 1000):
        (tmp_path / f"{name}.json").write_text(json.dumps(said, indent=seconds % 2))
        os.utime(tmp_path / f"{name}.json", (seconds, seconds))
    for name, text in {"x": "[1", "y": '{"step": "audit"}', "z": '{"step": "audit", "manifests": 3}', "v": ""}.items():
        (tmp_path / f"{name}.json").write_text(text)
    assert find_audit(a) == tmp_path / "newest.json"
    write("a", files(clouds(2, 2)))
    assert find_audit(a) is None


def test_a_real_leak_between_the_parts_of_fairface(shared: Path, write: Write) -> None:
    train = read_manifest(shared / "fairface-train.parquet").slice(1900, 100)
    val = read_manifest(shared / "fairface-val.parquet").slice(1100, 100)
    paths = [
        write_manifest(part, write("a", []).with_name(name))
        for part, name in ((train, "t.parquet"), (val, "v.parquet"))
    ]
    found = audit(paths)
    assert [(pair.a, pair.b, pair.how, pair.differs) for pair in found.twins] == [(42, 108, "file", ("age",))]
