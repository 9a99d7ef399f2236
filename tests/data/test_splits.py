"""Splits: nobody in two parts, every face tested once, nobody moves; and what cannot be is refused in one line."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.model_selection import LeaveOneGroupOut

from agewise.ages import AgeDistribution
from agewise.data.manifest import IMAGE, ManifestError, metadata, probs_column, read_manifest, write_manifest
from agewise.data.splits import folds_of, official, split


def people(number: int, seed: int = 0, most: int = 4, prefix: str = "p") -> pa.Table:
    """A manifest of persons with 1..most faces each, of ages that differ by less than three years."""
    rng = np.random.default_rng(seed)
    faces = rng.integers(1, most + 1, number)
    first = rng.gamma(4, 8, number).clip(0, 90)
    subject = np.repeat([f"{prefix}{n}" for n in range(number)], faces)
    age = np.repeat(first, faces) + rng.uniform(0, 3, faces.sum())
    rows = rng.permutation(faces.sum())
    return pa.table({"age": age[rows], "subject": subject[rows], "sex": rng.choice(["F", "M"], faces.sum())})


def pictures(*images: tuple[bytes | None, str | None] | None, **columns: Any) -> pa.Table:
    given = [None if one is None else {"bytes": one[0], "path": one[1]} for one in images]
    return pa.table({"image": pa.array(given, IMAGE), **columns})


def parts(path: Path) -> dict[str, set[str]]:
    """The parts of each subject."""
    table = read_manifest(path, ["subject", "split"])
    found: dict[str, set[str]] = defaultdict(set)
    for subject, part in zip(table["subject"].to_pylist(), table["split"].to_pylist(), strict=True):
        found[subject].add(part)
    return found


def parted(table: pa.Table, folder: Path, *args: Any, **options: Any) -> dict[str, str]:
    """The one part of each subject; fails where one has two."""
    split(write_manifest(table, folder / "m.parquet"), folder / "s.parquet", *args, **options)
    found = parts(folder / "s.parquet")
    assert all(len(some) == 1 for some in found.values())
    return {subject: next(iter(some)) for subject, some in found.items()}


def groups(given: dict[str, str]) -> set[frozenset[str]]:
    """Who is together, whatever the parts are called."""
    return {frozenset(name for name in given if given[name] == part) for part in given.values()}


@pytest.mark.parametrize("even", [False, True])
def test_every_face_is_tested_once_and_nobody_is_on_both_sides(tmp_path: Path, even: bool) -> None:
    table = people(60)
    parted(table, tmp_path, folds=4, even=even)
    subject = np.array(table["subject"].to_pylist())
    tested = np.zeros(len(table), int)
    names = []
    for name, train, test in folds_of(tmp_path / "s.parquet"):
        names.append(name)
        tested[test] += 1
        assert sorted([*train, *test]) == list(range(len(table)))
        assert not set(subject[train]) & set(subject[test])
    assert names == ["0", "1", "2", "3"]
    assert (tested == 1).all()


@pytest.mark.parametrize("kind", ["folds", "holdout"])
def test_nobody_moves_when_others_come_go_or_are_sorted(tmp_path: Path, kind: str) -> None:
    old, new = people(80), people(50, seed=1, prefix="new")
    before = parted(old, tmp_path, kind)
    for table in (
        pa.concat_tables([old, new]),
        pa.concat_tables([new, old]),
        pa.concat_tables([old, new]).sort_by("age"),
        old.slice(40),
    ):
        after = parted(table, tmp_path, kind)
        assert {name: part for name, part in after.items() if name in before}.items() <= before.items()


def test_the_part_is_the_share_into_which_the_keyed_hash_falls(tmp_path: Path) -> None:
    given = parted(people(60), tmp_path, folds=5, seed=7)
    for name, part in given.items():
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=b"7").digest(), "big")
        assert part == str(key * 5 >> 64)


def test_the_seed_decides(tmp_path: Path) -> None:
    table = people(60)
    for even in (False, True):
        first = parted(table, tmp_path, seed=0, even=even)
        assert parted(table, tmp_path, seed=0, even=even) == first
        assert parted(table.sort_by("age"), tmp_path, seed=0, even=even) == first
        assert groups(parted(table, tmp_path, seed=1, even=even)) != groups(first)


def test_the_hash_fills_shares_as_chance_does(tmp_path: Path) -> None:
    shares = {"train": 0.6, "dev": 0.3, "test": 0.1}
    given = list(parted(people(3000, most=1), tmp_path, "holdout", shares=shares).values())
    for name, share in shares.items():
        assert abs(given.count(name) - 3000 * share) < 4 * np.sqrt(3000 * share * (1 - share))


def test_even_folds_have_the_same_faces_and_ages(tmp_path: Path) -> None:
    table = people(400)
    age = table["age"].to_numpy()

    def spread(even: bool) -> tuple[float, float, float]:
        parted(table, tmp_path, even=even)
        tests = [age[test] for _, _, test in folds_of(tmp_path / "s.parquet")]
        means = [test.mean() for test in tests]
        decades = np.array([np.bincount((test // 10).astype(int), minlength=10) for test in tests])
        return np.ptp([len(test) for test in tests]), np.ptp(means), np.ptp(decades, axis=0).max()

    faces, years, decade = spread(even=True)
    assert faces <= 8  # of about 200
    assert years < 0.5
    assert decade <= 8  # of about 50
    assert all(even < drawn for even, drawn in zip((faces, years, decade), spread(even=False), strict=True))


def test_even_shares_are_met_and_faces_of_one_age_are_shared_alike(tmp_path: Path) -> None:
    table = pa.table({"age": [5.0] * 100 + [45.0] * 50, "subject": [f"p{n}" for n in range(150)]})
    given = parted(table, tmp_path, "holdout", even=True)
    young = [given[f"p{n}"] for n in range(100)]
    assert [young.count(name) for name in ("train", "valid", "test")] == [80, 10, 10]
    assert [list(given.values()).count(name) for name in ("train", "valid", "test")] == [120, 15, 15]


def test_even_folds_know_groups_and_distributions_too(tmp_path: Path) -> None:
    told = probs_column(AgeDistribution.gaussian([25.0, 65.0] * 20, [3.0] * 40))
    none = pa.nulls(40, pa.float64())
    grouped = pa.array([20.0, 60.0] * 20), pa.array([29.0, 69.0] * 20)
    for columns in ({"age": none, "age_probs": told}, {"age_low": grouped[0], "age_high": grouped[1]}):
        given = parted(pa.table({"subject": [f"p{n}" for n in range(40)], **columns}), tmp_path, even=True)
        young = [given[f"p{n}"] for n in range(0, 40, 2)]
        assert [young.count(str(fold)) for fold in range(5)] == [4] * 5


def test_who_is_in_an_earlier_split_stays_and_the_new_ones_fill_up(tmp_path: Path) -> None:
    old, new = people(30), people(70, seed=1, prefix="new")
    before = parted(old, tmp_path, even=True)
    earlier = (tmp_path / "s.parquet").rename(tmp_path / "earlier.parquet")
    both = pa.concat_tables([new, old])
    assert not before.items() <= parted(both, tmp_path, even=True).items()  # the price of even without keep
    assert before.items() <= parted(both, tmp_path, even=True, keep=earlier).items()
    sizes = [len(test) for _, _, test in folds_of(tmp_path / "s.parquet")]
    assert max(sizes) - min(sizes) <= 4


def test_one_person_is_left_out_at_a_time(tmp_path: Path) -> None:
    table = people(12)
    path = write_manifest(table, tmp_path / "m.parquet")
    made = split(path, tmp_path / "s.parquet", "leave-one-out")
    assert (len(made.faces), made.persons, sum(made.faces.values())) == (12, 12, len(table))
    subject = np.array(table["subject"].to_pylist())
    wanted = LeaveOneGroupOut().split(subject, groups=subject)
    ours = {name: (train.tolist(), test.tolist()) for name, train, test in folds_of(tmp_path / "s.parquet")}
    assert ours == {subject[test[0]]: (train.tolist(), test.tolist()) for train, test in wanted}


def test_folds_come_in_the_order_of_numbers(tmp_path: Path) -> None:
    path = write_manifest(pa.table({"split": ["10", "9", "b", "a", "9"]}), tmp_path / "m.parquet")
    assert [name for name, _, _ in folds_of(path)] == ["9", "10", "a", "b"]


def test_a_face_without_subject_is_its_picture_and_copies_stay_together(tmp_path: Path) -> None:
    images = [(b"%d" % (n % 20), f"{n}.jpg") for n in range(60)] + [(None, "same.jpg"), (b"", "same.jpg")]
    table = pictures(*images, subject=pa.array(["anna"] * 2 + [""] + [None] * 59, pa.string()))
    path = write_manifest(table, tmp_path / "m.parquet")
    made = split(path, tmp_path / "s.parquet", folds=3)
    assert (made.persons, made.unnamed, sum(made.faces.values())) == (22, 60, 62)
    part = read_manifest(tmp_path / "s.parquet", ["split"])["split"].to_pylist()
    assert part[0] == part[1]
    assert part[60] == part[61]
    for n in range(2, 20):
        assert part[n] == part[n + 20] == part[n + 40]
    key = hashlib.blake2b(f"sha256:{hashlib.sha256(b'5').hexdigest()}".encode(), digest_size=8, key=b"0").digest()
    assert part[5] == str(int.from_bytes(key, "big") * 3 >> 64)


def test_everything_else_of_the_manifest_is_kept(tmp_path: Path) -> None:
    table = people(40).append_column("split", pa.nulls(len(people(40)), pa.string()))
    path = write_manifest(table, tmp_path / "m.parquet", {"step": "prepare", "frame": "aligned"})
    split(path, tmp_path / "deep" / "s.parquet", folds=2, seed=3)
    after = read_manifest(tmp_path / "deep" / "s.parquet")
    assert after.column_names == table.column_names
    assert after.drop_columns("split").equals(table.drop_columns("split"))
    said = metadata(tmp_path / "deep" / "s.parquet")
    assert (said["step"], said["frame"], said["split"]["kind"], said["split"]["seed"]) == (
        "prepare",
        "aligned",
        "folds",
        3,
    )


def test_a_manifest_is_read_in_pieces_and_pictures_only_for_those_without_subject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, unnamed = people(2000, most=1), people(1500, most=1)
    columns = {"age": named["age"], "subject": named["subject"], "split": ["x"] * 2000}
    table = pictures(*[(b"%d" % n, None) for n in range(2000)], **columns)
    alone = pictures(*[(b"a%d" % n, None) for n in range(1500)], age=unnamed["age"], split=["x"] * 1500)
    path = tmp_path / "m.parquet"
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.write_table(alone.append_column("subject", pa.nulls(1500, pa.string())).select(table.column_names))
    asked: list[tuple[int, bool]] = []
    real = pq.ParquetFile.iter_batches

    def spy(self: Any, batch_size: int = 65536, row_groups: Any = None, columns: Any = None) -> Any:
        asked.append((row_groups[0], "image" in columns))
        for batch in real(self, batch_size, row_groups=row_groups, columns=columns):
            assert len(batch) <= 1000
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    assert official(path)[0].persons == 3500
    assert asked == [(0, False), (1, True)]


def test_memory_does_not_grow_with_the_manifest(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)

    def most(groups: int) -> int:
        path = tmp_path / f"{groups}.parquet"
        images = [(noise.bytes(20_000), None) for _ in range(200)]
        with pq.ParquetWriter(path, pictures(*images).schema) as writer:
            for group in range(groups):
                writer.write_table(pictures(*[(b"%d" % group + data[2:], None) for data, _ in images]))
        code = (
            "import sys, pyarrow as pa; from pathlib import Path; from agewise.data.splits import split;"
            "split(Path(sys.argv[1]), Path(sys.argv[2]), even=True); print(pa.default_memory_pool().max_memory())"
        )
        words = [sys.executable, "-c", code, str(path), str(tmp_path / "s.parquet")]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    assert most(groups=16) < 1.2 * most(groups=4)


def test_official_parts_are_counted_and_leaks_named(tmp_path: Path) -> None:
    columns = {"subject": ["anna", "bob", "anna", None, None], "split": ["train", "train", "test", "train", "test"]}
    table = pictures((b"1", None), (b"2", None), (b"3", None), (b"4", None), (b"4", None), **columns)
    checked, leaks = official(write_manifest(table, tmp_path / "m.parquet"))
    copy = f"sha256:{hashlib.sha256(b'4').hexdigest()}"
    assert dict(checked.faces) == {"test": 2, "train": 3}
    assert (checked.persons, checked.unnamed) == (3, 2)
    assert leaks == {"anna": ["test", "train"], copy: ["test", "train"]}
    split(tmp_path / "m.parquet", tmp_path / "s.parquet", folds=2, even=True)
    assert official(tmp_path / "s.parquet")[1] == {}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"folds": 1}, "1 folds were asked for; at least 2"),
        ({"folds": 41}, "41 folds were asked for; it has only 40 persons"),
        ({"folds": 40}, "none of 40 persons falls into"),
        ({"kind": "random"}, "no kind of split 'random'; there are folds, leave-one-out, holdout, official"),
        ({"kind": "official"}, "checked, not made"),
        ({"kind": "holdout", "shares": {"train": 0.8, "test": 0.1}}, "sum to 1"),
        ({"kind": "holdout", "shares": {"train": 1.2, "test": -0.2}}, "above 0"),
        ({"kind": "holdout", "shares": {"": 0.5, "test": 0.5}}, "named shares"),
    ],
)
def test_what_cannot_be_split_so_is_refused(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    path = write_manifest(people(40), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=says) as caught:
        split(path, tmp_path / "s.parquet", **options)
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["m.parquet"]


def test_as_many_even_folds_as_persons_are_one_person_each(tmp_path: Path) -> None:
    given = parted(people(9), tmp_path, folds=9, even=True)
    assert sorted(given.values()) == [str(n) for n in range(9)]
    assert set(parted(people(3), tmp_path, "holdout", even=True).values()) == {"train", "valid", "test"}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (people(5).slice(0, 0), "no row to split"),
        (pa.table({"age": [3.0, 4.0]}), "row 0 has no subject and no image"),
        (pictures((b"a", None), None), "row 1 has no subject and no image"),
        (pa.table({"subject": ["a", "b"], "age": [3.0, 400.0]}), "row 1: age is 400"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path: Path, table: pa.Table, says: str) -> None:
    path = write_manifest(table, tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=says):
        split(path, tmp_path / "s.parquet", folds=2)


def test_leaving_one_out_needs_persons(tmp_path: Path) -> None:
    path = write_manifest(pictures((b"a", None), (b"b", None)), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match="needs a column subject"):
        split(path, tmp_path / "s.parquet", "leave-one-out")


def test_the_manifest_itself_is_never_overwritten(tmp_path: Path) -> None:
    path = write_manifest(people(20), tmp_path / "m.parquet")
    (tmp_path / "link.parquet").symlink_to(path)
    before = path.read_bytes()
    for target in (path, tmp_path / "link.parquet"):
        with pytest.raises(ManifestError, match="is the manifest that is read"):
            split(path, target, folds=2)
    assert path.read_bytes() == before


def test_a_split_that_fails_leaves_the_earlier_file_alone(tmp_path: Path) -> None:
    path = write_manifest(pictures((None, "a.jpg"), (None, "b.jpg")), tmp_path / "m.parquet")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "s.parquet").write_bytes(b"earlier")
    with pytest.raises(ManifestError, match=r"a\.jpg is beside .*; write the split into the same folder"):
        split(path, tmp_path / "deep" / "s.parquet", folds=2, even=True)
    assert [file.read_bytes() for file in (tmp_path / "deep").iterdir()] == [b"earlier"]
    split(path, tmp_path / "s.parquet", folds=2, even=True)


@pytest.mark.parametrize(
    ("earlier", "says"),
    [
        ({"subject": ["p0"], "split": ["test"]}, "its parts have 'test'; the new ones are 0, 1"),
        ({"subject": ["p0", "p0"], "split": ["0", "1"]}, "p0 is in 0 and in 1"),
        ({"subject": ["p0"]}, "no column split"),
    ],
)
def test_an_earlier_split_that_does_not_fit_is_refused(tmp_path: Path, earlier: Any, says: str) -> None:
    path = write_manifest(people(20), tmp_path / "m.parquet")
    keep = write_manifest(pa.table(earlier), tmp_path / "keep.parquet")
    with pytest.raises(ManifestError, match=says):
        split(path, tmp_path / "s.parquet", folds=2, keep=keep)


def test_what_are_no_folds_is_not_iterated(tmp_path: Path) -> None:
    path = write_manifest(people(20), tmp_path / "m.parquet")
    split(path, tmp_path / "s.parquet", "holdout", even=True)
    with pytest.raises(ManifestError, match="is a holdout, not folds"):
        next(folds_of(tmp_path / "s.parquet"))
    for column, says in ((["0", "0"], "at least 2 folds"), (["0", None], "1 rows have no split")):
        one = write_manifest(pa.table({"split": column}), tmp_path / "one.parquet")
        with pytest.raises(ManifestError, match=says):
            next(folds_of(one))


def test_official_parts_leave_nobody_out(tmp_path: Path) -> None:
    path = write_manifest(pa.table({"split": ["a", None], "subject": ["x", "y"]}), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match="row 1 has no split"):
        official(path)


def test_real_persons_are_in_one_fold_each(shared: Path, tmp_path: Path) -> None:
    source = shared / "portraits-studio.parquet"
    made = split(source, tmp_path / "s.parquet", even=True)
    assert made.persons == len(set(read_manifest(source, ["subject"])["subject"].to_pylist()))
    assert made.unnamed == 0
    assert max(made.faces.values()) - min(made.faces.values()) <= 2
    assert official(tmp_path / "s.parquet")[1] == {}
