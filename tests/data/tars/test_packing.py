"""Tar shards: a manifest comes back as it was, others' are read where they have an age, damage is told."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agewise.ages import AgeDistribution
from agewise.data.manifest import IMAGE, ManifestError, metadata, probs_column, read_manifest, write_manifest
from agewise.data.tars import samples
from agewise.data.tars.packing import pack
from agewise.data.tars.unpacking import unpack
from agewise.faces.image import encode_jpeg

JPEG = encode_jpeg(np.full((8, 8, 3), 90, np.uint8))
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
SAID = {"step": "annotate", "frame": "aligned", "size": 40}


def jpeg(row: int) -> bytes:
    return JPEG + bytes([row % 256])


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Every kind of column, with nulls, and values that a careless way through text would change."""
    count = 25
    rng = np.random.default_rng(0)
    some = [row % 3 != 0 for row in range(count)]
    probs = probs_column(AgeDistribution(rng.random((count, 101))))
    bodies = [{"bytes": PNG, "path": None} if one else None for one in some]
    table = pa.table(
        {
            "image": pa.array([{"bytes": jpeg(row), "path": f"a b/é{row}.jpg"} for row in range(count)], IMAGE),
            "age": pa.array([0.1 + 0.2 + row if one else None for row, one in enumerate(some)], pa.float64()),
            "age_low": pa.array([None if one else 3 for one in some], pa.int8()),
            "age_high": pa.array([None if one else 9 for one in some], pa.int8()),
            "age_probs": probs,
            "box": pa.array(rng.normal(size=(count, 4)).tolist(), pa.list_(pa.float64(), 4)),
            "score": rng.random(count).astype(np.float32),
            "subject": pa.array([None if one else 'a"\n\\ ü' for one in some], pa.large_string()),
            "votes": pa.array([2**60 + row for row in range(count)], pa.int64()),
            "smiles": some,
            "sex": pa.array(["M", "F", None, "F", "M"] * 5).dictionary_encode(),
            "empty": pa.nulls(count),
            "tags": pa.array([["a", None]] * count, pa.list_(pa.string())),
            "body": pa.array(bodies, IMAGE),
        }
    )
    return write_manifest(table, tmp_path / "faces.parquet", SAID)


def tar(path: Path, files: dict[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            content = data if isinstance(data, bytes) else b""
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def said(**values: Any) -> bytes:
    return json.dumps(values).encode()


def ages(path: Path) -> list[float | None]:
    return list(read_manifest(path)["age"].to_pylist())


def test_a_manifest_comes_back_as_it_was(manifest: Path, tmp_path: Path) -> None:
    packed = pack(manifest, tmp_path / "tars", rows=10)
    assert (packed.shards, packed.rows, packed.rejects) == (3, 25, [])
    back = tmp_path / "back.parquet"
    read = unpack([tmp_path / "tars"], back)
    assert (read.shards, read.rows, read.rejects, read.remarks) == (3, 25, [], [])
    given, found = read_manifest(manifest), read_manifest(back)
    assert found.schema.equals(given.schema)
    assert found.equals(given)
    assert metadata(back) == metadata(manifest) == {"schema": 1, **SAID}


def test_shards_are_what_webdataset_calls_samples(manifest: Path, tmp_path: Path) -> None:
    pack(manifest, tmp_path / "tars", "train", rows=10)
    names = sorted(path.name for path in (tmp_path / "tars").iterdir())
    shards = [f"train-00000{n}.tar" for n in range(3)]
    assert names == [*shards, "train.json", "train.rejects.csv"]
    listed = subprocess.run(["tar", "tf", tmp_path / "tars" / shards[2]], capture_output=True, text=True, check=True)
    assert listed.stdout.split()[:5] == [f"00000002{n}" for n in ("0.jpg", "0.body.png", "0.json", "1.jpg", "1.json")]
    with tarfile.open(tmp_path / "tars" / shards[0]) as archive:
        assert archive.extractfile("000000004.jpg").read() == jpeg(4)  # type: ignore[union-attr]
        row = json.load(archive.extractfile("000000004.json"))  # type: ignore[arg-type]
    assert row["age"] == 0.1 + 0.2 + 4
    assert row["image"] == {"path": "a b/é4.jpg"}
    assert row["subject"] is None


def test_the_same_manifest_gives_the_same_bytes(manifest: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        pack(manifest, tmp_path / folder, rows=7)
    first, second = (sorted((tmp_path / folder).iterdir()) for folder in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_shards_end_by_size_too(manifest: Path, tmp_path: Path) -> None:
    one = pack(manifest, tmp_path / "one", most=1)
    assert (one.shards, one.rows) == (25, 25)  # a face larger than a shard has one of its own
    some = pack(manifest, tmp_path / "some", most=20_000)
    assert 2 <= some.shards <= 10
    for shard in (tmp_path / "some").glob("*.tar"):
        with tarfile.open(shard) as archive:
            assert sum(member.size for member in archive) <= 20_000


def test_pictures_beside_the_manifest_are_put_in_and_the_rest_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.txt").write_bytes(b"no picture")
    images: list[Any] = [{"bytes": None, "path": "a.png"}, {"bytes": None, "path": "absent.jpg"}, None]
    images += [{"bytes": None, "path": "b.txt"}, {"bytes": None, "path": None}, {"bytes": JPEG, "path": None}]
    table = pa.table({"image": pa.array(images, IMAGE), "age": [1.0, 2.0, 3.0, 4.0, 5.0, 150.0]})
    packed = pack(write_manifest(table, tmp_path / "m.parquet"), tmp_path / "tars")
    assert (packed.rows, [name for name, _ in packed.rejects]) == (1, [f"row {n}" for n in range(1, 6)])
    assert [reason for _, reason in packed.rejects] == [
        "image is not there: absent.jpg",
        "no image in the row",
        "image is no JPEG, PNG, WebP, BMP, TIFF or GIF file",
        "image is not there: neither bytes nor a path",
        "age is 150; 0..122 years or null is allowed",
    ]
    assert (tmp_path / "tars" / "m.rejects.csv").read_text().count("\n") == 6
    unpack([tmp_path / "tars"], tmp_path / "back.parquet")
    assert read_manifest(tmp_path / "back.parquet")["image"].to_pylist() == [{"bytes": PNG, "path": "a.png"}]


def test_what_cannot_be_packed_leaves_nothing(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pa.array([None], IMAGE)
    binary = write_manifest(pa.table({"image": images, "raw": pa.array([b""])}), tmp_path / "binary.parquet")
    none = write_manifest(pa.table({"image": images}), tmp_path / "none.parquet")
    unsaid = tmp_path / "unsaid.parquet"
    pq.write_table(read_manifest(manifest).replace_schema_metadata({b"agewise": b"{"}), unsaid)
    for source, options, says in [
        (binary, {}, "column raw is binary; pictures, text, numbers"),
        (none, {}, "no row could be packed, most for: no image in the row"),
        (manifest, {"name": "../x"}, r"shards cannot be named '../x'; letters"),
        (manifest, {"name": "x y"}, "shards cannot be named 'x y'"),
        (manifest, {"rows": 0}, "shards of 0 faces"),
        (unsaid, {}, "its metadata agewise is not JSON"),
        (tmp_path / "absent.parquet", {}, "no such manifest"),
    ]:
        with pytest.raises(ManifestError, match=says):
            pack(source, tmp_path / "tars", **options)
        assert not list((tmp_path / "tars").glob("*"))

    def broken(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("agewise.data.tars.packing.write_rejects", broken)
    with pytest.raises(KeyboardInterrupt):
        pack(manifest, tmp_path / "tars", rows=10)
    assert not list((tmp_path / "tars").glob("*"))


def test_shards_that_are_there_are_kept(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tars"
    pack(manifest, folder)
    (folder / "faces.json").unlink()  # as a kill leaves it
    before = (folder / "faces-000000.tar").read_bytes()
    with pytest.raises(ManifestError, match=r"faces-000000\.tar exists; delete faces\*, or give another"):
        pack(manifest, folder)
    assert (folder / "faces-000000.tar").read_bytes() == before
    assert pack(manifest, folder, "other").rows == 25
    with pytest.raises(ManifestError, match=r"faces\.parquet exists; delete it"):
        unpack([folder], manifest)


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.95])
def test_a_truncated_shard_is_one_line(manifest: Path, tmp_path: Path, keep: float) -> None:
    pack(manifest, tmp_path / "tars")
    shard = tmp_path / "tars" / "faces-000000.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ManifestError, match=r"^.*faces-000000\.tar: a damaged or truncated tar, after \d+ files .*$"):
        unpack([tmp_path / "tars"], tmp_path / "back.parquet")
    assert not list(tmp_path.glob("back*"))


def test_a_tar_cut_between_two_files_or_with_a_spoilt_header_is_found(tmp_path: Path) -> None:
    files = {f"{n}.{suffix}": data for n in range(4) for suffix, data in [("jpg", JPEG), ("txt", b"30")]}
    whole = tar(tmp_path / "a.tar", dict(files)).read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        place = archive.getmember("2.jpg").offset
    spoilt = whole[:place] + bytes(range(256)) * 2 + whole[place + 512 :]
    for name, data in [("cut.tar", whole[:place]), ("spoilt.tar", spoilt)]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ManifestError, match=f"{name}: a damaged or truncated tar, after 4 files .it has no end."):
            unpack([tmp_path / name], tmp_path / "back.parquet")


def test_missing_and_foreign_shards_are_told(manifest: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "tars", tmp_path / "back.parquet"
    pack(manifest, folder, rows=10)
    middle = folder / "faces-000001.tar"
    data = middle.read_bytes()
    middle.unlink()
    with pytest.raises(ManifestError, match=r"faces-000001\.tar is missing \(1 of 3 shards\)"):
        unpack([folder], out)
    assert unpack([folder / "faces-000002.tar"], tmp_path / "some.parquet").rows == 5  # one that is asked for by name
    middle.write_bytes((folder / "faces-000002.tar").read_bytes())
    with pytest.raises(ManifestError, match=r"faces-000001\.tar: 5 samples; its index says 10"):
        unpack([folder], out)
    middle.write_bytes(data)
    tar(folder / "faces-000007.tar", {"1.jpg": JPEG})
    with pytest.raises(ManifestError, match=r"faces-000007\.tar: .*faces\.json knows no such shard"):
        unpack([folder], out)
    (folder / "faces-000007.tar").unlink()
    tar(folder / "other.tar", {"1.jpg": JPEG})
    with pytest.raises(ManifestError, match=r"tars of several sets \(.*faces\.json and .*other\.json\)"):
        unpack([folder], out)
    (folder / "other.tar").unlink()
    index = json.loads((folder / "faces.json").read_text())
    for change in ({"schema": "??"}, {"schema": ""}, {"shards": 3}, {"said": None}):
        (folder / "faces.json").write_text(json.dumps({**index, **change}))
        with pytest.raises(ManifestError, match=r"^.*faces\.json: a damaged index of tar shards [^\n]*$"):
            unpack([folder], out)
    assert not out.exists()


def test_samples_that_were_changed_by_hand_are_rejects(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tars"
    pack(manifest, folder, rows=10)
    files: dict[str, bytes | tarfile.TarInfo] = {
        "0.jpg": JPEG, "0.json": said(age=3, image={"path": None}),
        "1.jpg": JPEG,
        "2.json": said(age=3, image={"path": "/etc/passwd"}),
        "3.jpg": JPEG, "3.json": said(age="three", image={}),
        "4.jpg": JPEG, "4.json": said(age=500, image={}),
        "5.jpg": JPEG, "5.json": said(years=5, image={}),
        "6.jpg": JPEG, "6.json": b"[" * 100_000,
        "7.jpg": JPEG, "7.json": said(image="x"),
        "8.jpg": JPEG, "8.json": b"[]",
        "9.jpg": b"", "9.json": said(age=3, image={"path": "/etc/passwd"}),
    }  # fmt: skip
    tar(folder / "faces-000001.tar", files)
    read = unpack([folder], tmp_path / "back.parquet")
    assert read.rows == 16
    found = {name.removeprefix("faces-000001.tar/"): reason for name, reason in read.rejects}
    assert found.keys() == {str(n) for n in range(1, 10)}
    assert found["1"] == "no json beside the picture"
    assert found["2"] == found["9"] == "no picture beside its json"
    assert found["3"].startswith("does not fit its columns: ")
    assert found["4"] == "age is 500; 0..122 years or null is allowed"
    assert found["5"] == "the index knows no column years"
    assert found["6"] == "its json cannot be read"
    assert found["7"] == "image in its json is 'x'"
    assert found["8"] == "its json is not an object"
    assert (tmp_path / "back.rejects.csv").read_text().count("\n") == 10


@pytest.mark.parametrize(
    ("files", "age", "from_"),
    [
        ({"json": said(age=31.5)}, 31.5, "age"),
        ({"json": said(Age=" 31,5 ", cls=3)}, 31.5, "Age"),
        ({"cls": b"31\n"}, 31.0, "cls"),
        ({"txt": b"31"}, 31.0, "txt"),
        ({"age": b"31", "txt": b"a woman"}, 31.0, "age"),
        ({"json": said(caption="a woman", label=7), "cls": b"31"}, 31.0, "cls"),
    ],
)
def test_tars_of_others_have_their_age_somewhere(
    tmp_path: Path, files: dict[str, bytes], age: float, from_: str
) -> None:
    source = tar(tmp_path / "x.tar", {"a/1.jpg": JPEG, **{f"a/1.{suffix}": data for suffix, data in files.items()}})
    read = unpack([source], tmp_path / "m.parquet")
    assert ages(tmp_path / "m.parquet") == [age]
    assert read.remarks[0] == f"ages from: {from_} (1)"
    row = read_manifest(tmp_path / "m.parquet").to_pylist()[0]
    assert row["image"] == {"bytes": JPEG, "path": "x.tar/a/1.jpg"}
    assert row["age_kind"] == "real"
    assert "frame" not in metadata(tmp_path / "m.parquet")  # not known to be face crops: for agewise prepare


def test_other_labels_of_others(tmp_path: Path) -> None:
    first = said(age="(25, 32)", gender="female", subject_id=7, part="val", deep={"a": 1}, other=2)
    source = tar(tmp_path / "x.tar", {"1.png": PNG, "1.json": first, "2.JPEG": JPEG, "2.json": said(label=4)})
    read = unpack([source], tmp_path / "m.parquet")
    row = read_manifest(tmp_path / "m.parquet").to_pylist()[0]
    assert (row["age"], row["age_low"], row["age_high"], row["age_kind"]) == (None, 25, 32, "group")
    assert (row["sex"], row["subject"], row["split"]) == ("F", "7", "valid")
    assert read.rejects == [("x.tar/2", "no age in its json, cls or txt")]
    assert "fields left out: " in read.remarks[1]
    assert "deep (1)" in read.remarks[1]
    named = unpack([source], tmp_path / "n.parquet", age="label", kind="apparent")
    assert ages(tmp_path / "n.parquet") == [4.0]
    assert named.rejects == [("x.tar/1", "no label in its json, cls or txt")]
    with pytest.raises(ValueError, match="kind is 'true'; real, apparent, group, estimated are allowed"):
        unpack([source], tmp_path / "k.parquet", kind="true")


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def folder_of(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    return member


def test_odd_names_and_values_are_rejects_and_nothing_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "LARGEST", 5 << 20)
    huge = tarfile.TarInfo("huge.jpg")
    files: dict[str, bytes | tarfile.TarInfo] = {
        "a": folder_of("a"),
        "../../out.jpg": JPEG, "../../out.txt": b"30",
        "/etc/out.jpg": JPEG,
        "link.jpg": link("link.jpg", "/etc/passwd"),
        "name": JPEG,
        "\udcff.jpg": JPEG,
        "__MACOSX/a.jpg": JPEG, ".b.jpg": JPEG,
        huge.name: bytes(6 << 20),
        "d.jpg": JPEG, "d.JPG": JPEG, "d.txt": b"30",
        "e.jpg": JPEG, "e.txt": b"thirty",
        "f.jpg": JPEG, "f.txt": b"-3",
        "g.jpg": JPEG, "g.json": said(age=True),
        "h.jpg": JPEG, "h.json": b'{"age": 1e999}',
        "i.jpg": JPEG, "i.json": b'{"age": 1' + b"0" * 400 + b"}",
        "j.txt": b"30",
        "k.jpg": JPEG, "k.txt": b"",
        "./l.jpg": JPEG, "./l.txt": b"44",
    }  # fmt: skip
    work = tmp_path / "work"
    work.mkdir()
    read = unpack([tar(tmp_path / "x.tar", files)], work / "m.parquet")
    assert ages(work / "m.parquet") == [30.0, 44.0]
    reasons = {name.removeprefix("x.tar/"): reason for name, reason in read.rejects}
    climbing = "the name leads out of the archive"
    assert reasons["../../out.jpg"] == reasons["../../out.txt"] == reasons["/etc/out.jpg"] == climbing
    assert reasons["link.jpg"] == "a link or device, not a file"
    assert reasons["name"] == "the file name has no suffix"
    assert reasons["?.jpg"] == "the file name is not Unicode"
    assert reasons["huge.jpg"] == "the file is larger than 5 MB"
    assert reasons["d.jpg"] == "the file is there twice"
    assert reasons["e"] == "age is 'thirty'; a number is needed"
    assert reasons["f"] == "age is -3; 0..122 years or null is allowed"
    assert reasons["g"] == "age is 'True'; a number is needed"
    assert reasons["h"] == "age is inf; 0..122 years or null is allowed"
    assert reasons["i"].startswith("age is '1000")
    assert reasons["j"] == "no picture in the sample"
    assert reasons["k"] == "the age is not known"
    assert len(reasons) == 15
    assert sorted(path.name for path in work.iterdir()) == ["m.parquet", "m.rejects.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["work", "x.tar"]


def test_compressed_tars_are_read_and_damage_in_them_is_found(tmp_path: Path) -> None:
    files = {f"{n}.{suffix}": data for n in range(50) for suffix, data in [("jpg", jpeg(n)), ("txt", b"30")]}
    plain = tar(tmp_path / "x.tar", dict(files)).read_bytes()
    packed = tmp_path / "y.tar.gz"
    packed.write_bytes(gzip.compress(plain))
    assert unpack([packed], tmp_path / "m.parquet").rows == 50
    data = packed.read_bytes()
    packed.write_bytes(data[: len(data) // 2])
    with pytest.raises(ManifestError, match=r"y\.tar\.gz: a damaged or truncated tar"):
        unpack([packed], tmp_path / "n.parquet")


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100, bytes(100)])
def test_what_is_no_tar(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(ManifestError, match=r"^.*x\.tar: not a tar [^\n]*$"):
        unpack([tmp_path / "x.tar"], tmp_path / "m.parquet")


def test_nothing_to_read(tmp_path: Path) -> None:
    out = tmp_path / "m.parquet"
    with pytest.raises(ManifestError, match="no tar in this folder"):
        unpack([tmp_path], out)
    with pytest.raises(ManifestError, match="no such tar or folder"):
        unpack([tmp_path / "absent"], out)
    tar(tmp_path / "x.tar", {"1.jpg": JPEG})
    with pytest.raises(ManifestError, match="not one sample could be used, most for: no age in its json, cls or txt"):
        unpack([tmp_path], out)
    tar(tmp_path / "x.tar", {})
    with pytest.raises(ManifestError, match=r"not one sample could be used$"):
        unpack([tmp_path], out)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


def test_large_pictures_end_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peek: Callable[[], int]) -> None:
    monkeypatch.setattr("agewise.data.tars.unpacking._HELD", 3000)
    files = {f"{n}.{suffix}": data for n in range(9) for suffix, data in [("jpg", JPEG + bytes(990)), ("txt", b"30")]}
    assert unpack([tar(tmp_path / "x.tar", dict(files))], tmp_path / "m.parquet").rows == 9
    assert 3 <= peek() <= 5


@pytest.fixture
def peek(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many parts were written."""
    from agewise.data.shards import Shards

    parts: list[int] = []
    original = Shards.write

    def write(self: Shards, index: int, *rest: Any) -> None:
        parts.append(index)
        original(self, index, *rest)

    monkeypatch.setattr(Shards, "write", write)
    return lambda: len(parts)
