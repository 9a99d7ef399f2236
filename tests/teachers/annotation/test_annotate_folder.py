"""Annotation into a folder: parts that are a manifest together, resumed after a kill, refused to others."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.data.crops import parts
from agewise.data.dataset import Faces
from agewise.data.manifest import (
    ManifestError,
    distributions,
    fingerprint,
    metadata,
    numbers,
    open_manifest,
    read_manifest,
)
from agewise.data.stored import open_pictures
from agewise.evaluation.evaluate import evaluate
from agewise.evaluation.predictions import predict_manifest
from agewise.faces.align import Window
from agewise.teachers.annotation.annotate import annotate, annotate_folder
from agewise.teachers.annotation.annotated import Annotated
from agewise.teachers.ensemble import Ensemble
from agewise.teachers.votes import FORMS, read_votes

Write = Callable[..., Path]
BAD = {"bytes": b"no picture", "path": None}


def bright(crops: NDArray[np.uint8]) -> AgeDistribution:
    """A teacher that knows how the faces of `faces_of` are made."""
    return AgeDistribution.gaussian(((crops.mean(axis=(1, 2, 3)) - 40) / 1.6).clip(0, 100), 3.0)


def older(crops: NDArray[np.uint8]) -> AgeDistribution:
    return AgeDistribution.gaussian((bright(crops).mean + 10).clip(0, 100), 3.0)


class Dead(BaseException):
    """What kill -9 does, as far as one process can do it to itself."""


class Killed:
    """A teacher whose process dies at its n-th call."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        self.calls -= 1
        if self.calls < 0:
            raise Dead
        return bright(crops)


@pytest.fixture
def source(tmp_path: Path, faces_of: Write) -> Path:
    """25 faces, of which two cannot be read, with paths as VMAGE has them, and one without a path."""
    good = read_manifest(faces_of(tmp_path / "all.parquet", range(25), side=8))["image"].to_pylist()
    named = [{**image, "path": f"n000002/{row:04d}_01.jpg"} for row, image in enumerate(good)]
    images = [
        BAD if row in (3, 20) else {**image, "path": None} if row == 7 else image for row, image in enumerate(named)
    ]
    return faces_of(tmp_path / "faces.parquet", range(25), image=images)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def done(source: Path, folder: Path | str, teacher: Any = bright, **options: Any) -> Annotated:
    return annotate_folder(source, teacher, folder, **{"identity": "t", "rows": 10, "batch": 4, **options})


def test_the_folder_has_every_face_once_and_says_what_it_is(tmp_path: Path, source: Path) -> None:
    steps: list[tuple[int, int]] = []
    found = done(source, tmp_path / "out", progress=lambda *step: steps.append(step))
    assert (found.faces, found.left_out, sum(found.reasons.values())) == (23, 2, 2)
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == ((0, 25), (25, 25))
    names = ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert [*contents(tmp_path / "out")] == [*names, "rejects.csv", "run.json", "vmage.csv"]
    made = read_manifest(tmp_path / "out")
    kept = [float(age) for age in range(25) if age not in (3, 20)]
    assert made["age"].to_pylist() == kept
    ages = distributions(made).mean
    assert ages == pytest.approx(kept, abs=2.5)
    assert numbers(made, "age_teacher") == pytest.approx(ages, abs=6e-4)
    assert made["agreement"].null_count == 23
    said = json.loads((tmp_path / "out" / "run.json").read_text())
    assert said["parts"] == [9, 10, 4]
    assert said["plan"] == {"manifest": fingerprint(source), "teacher": "t", "rows": 10}
    rejects = (tmp_path / "out" / "rejects.csv").read_text().splitlines()
    assert rejects[0] == "row,picture,reason"
    assert [line.partition("not an image file")[0] for line in rejects[1:]] == ['3,,"', '20,,"']


def test_the_ages_are_in_vmages_own_form(tmp_path: Path, source: Path) -> None:
    done(source, tmp_path / "out")
    lines = (tmp_path / "out" / "vmage.csv").read_text().splitlines()
    made = read_manifest(tmp_path / "out")
    assert len(lines) == 23
    assert lines[0] == f"n000002/0000_01.jpg,{distributions(made).mean[0]:.3f}"
    assert lines[6].startswith("row 7,")  # row 3 is not there, and row 7 has no path
    ages = [float(line.rpartition(",")[2]) for line in lines]
    assert ages == pytest.approx(numbers(made, "age_teacher"), abs=1e-9)
    assert all(len(line.rpartition(".")[2]) == 3 for line in lines)


def test_a_path_with_a_comma_is_quoted_as_the_released_reader_wants(tmp_path: Path, faces_of: Write) -> None:
    image = read_manifest(faces_of(tmp_path / "one.parquet", [30], side=8))["image"].to_pylist()[0]
    done(faces_of(tmp_path / "faces.parquet", [30], image=[{**image, "path": "a, b/c.jpg"}]), tmp_path / "out")
    assert (tmp_path / "out" / "vmage.csv").read_text().startswith("|a, b/c.jpg|,")


def test_a_part_alone_is_a_manifest_and_the_folder_reads_as_one_file_does(tmp_path: Path, source: Path) -> None:
    done(source, tmp_path / "out")
    annotate(source, bright, tmp_path / "one.parquet", identity="t", batch=4)
    folder, one = open_manifest(tmp_path / "out"), open_manifest(tmp_path / "one.parquet")
    assert folder.metadata.num_rows == one.metadata.num_rows == 23
    assert folder.read().drop_columns("age_teacher").equals(one.read())
    assert sum(map(len, folder.iter_batches(4, columns=["age"]))) == 23
    assert [len(folder.read_row_group(group)) for group in range(folder.num_row_groups)] == [9, 10, 4]
    assert [folder.metadata.row_group(group).num_rows for group in range(3)] == [9, 10, 4]
    assert [len(part) for part in parts(tmp_path / "out", rows=8)] == [8, 8, 7]
    assert metadata(tmp_path / "out") == metadata(tmp_path / "out" / "part-00001.parquet")
    assert read_manifest(tmp_path / "out" / "part-00001.parquet")["age"].to_pylist() == [
        float(n) for n in range(10, 20)
    ]
    whole = fingerprint(tmp_path / "out")
    (tmp_path / "out" / "part-00002.parquet").write_bytes((tmp_path / "out" / "part-00002.parquet").read_bytes() + b"x")
    assert fingerprint(tmp_path / "out") != whole


def test_the_next_steps_take_the_folder(tmp_path: Path, source: Path) -> None:
    done(source, tmp_path / "out")
    faces = Faces(tmp_path / "out", Window(0.5, 0.5, 1.0), 8)
    assert len(faces) == 23
    assert faces[3]["target"].numpy() @ np.arange(101) == pytest.approx(4, abs=2.5)
    pictures = open_pictures(tmp_path / "out", held=0)  # from the file that large manifests get
    assert [pictures[row] for row in range(23)] == [
        image["bytes"] for image in read_manifest(tmp_path / "out")["image"].to_pylist()
    ]
    predict_manifest(bright, tmp_path / "out", tmp_path / "p.parquet", name="b")
    assert evaluate(tmp_path / "p.parquet", resamples=20).overall.n == 23
    again = done(tmp_path / "out", tmp_path / "again", rows=7)
    assert again.faces == 23


@pytest.mark.parametrize("calls", [0, 2, 3, 5, 6])
def test_a_resumed_folder_is_the_whole_one(tmp_path: Path, source: Path, calls: int) -> None:
    expected = done(source, tmp_path / "whole")
    with pytest.raises(Dead):
        done(source, tmp_path / "out", Killed(calls))
    with pytest.raises(ManifestError, match="out: not finished; call agewise annotate again"):
        open_manifest(tmp_path / "out")
    assert done(source, tmp_path / "out") == expected
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert done(source, tmp_path / "out", Killed(0)) == expected  # the teacher is not asked again


SLOW = """
import sys, time
from pathlib import Path
from agewise.ages import AgeDistribution
from agewise.teachers.annotation.annotate import annotate_folder
def slow(crops):
    time.sleep(0.15)
    return AgeDistribution.gaussian(((crops.mean(axis=(1, 2, 3)) - 40) / 1.6).clip(0, 100), 3.0)
annotate_folder(sys.argv[1], slow, sys.argv[2], identity="t", batch=4, rows=10)
"""


def test_kill_9_costs_a_part_at_the_most(tmp_path: Path, source: Path) -> None:
    done(source, tmp_path / "whole")
    with subprocess.Popen([sys.executable, "-c", SLOW, str(source), str(tmp_path / "out")]) as process:
        while not (tmp_path / "out" / "part-00000.parquet").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "out" / "part-00002.parquet").exists()
    before = (tmp_path / "out" / "part-00000.parquet").stat().st_mtime_ns
    done(source, tmp_path / "out")
    assert (tmp_path / "out" / "part-00000.parquet").stat().st_mtime_ns == before
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_another_plan_is_refused_and_nothing_lost(tmp_path: Path, source: Path, faces_of: Write) -> None:
    done(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    other = faces_of(tmp_path / "other.parquet", range(25), side=8)
    for options, differs in (({"identity": "u"}, "teacher"), ({"rows": 9}, "rows")):
        with pytest.raises(ManifestError, match=f"out was begun with another {differs}; delete it"):
            done(source, tmp_path / "out", **options)
    with pytest.raises(ManifestError, match="begun with another manifest; delete it"):
        done(other, tmp_path / "out")
    with pytest.raises(ManifestError, match="begun with another votes"):
        done(source, tmp_path / "out", Ensemble([bright, older]), votes="float16")
    assert contents(tmp_path / "out") == before


def test_a_teacher_that_failed_at_once_may_be_mended(tmp_path: Path, source: Path) -> None:
    def broken(crops: NDArray[np.uint8]) -> AgeDistribution:
        raise ValueError(f"the network fails on {crops.shape}")

    with pytest.raises(ManifestError, match="row 0: the teacher fails: the network fails on"):
        done(source, tmp_path / "out", broken, identity="broken")
    assert done(source, tmp_path / "out").faces == 23  # no part was there, so another teacher may begin


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda out: out.write_text("x"), "a file; an annotation is a folder of parts"),
        (lambda out: (out.mkdir(), (out / "mine.txt").write_text("x")), "holds mine.txt, not an annotation"),
        (lambda out: (out.mkdir(), (out / "run.json").write_text("{}")), "its run.json is of another step"),
        (lambda out: (out.mkdir(), (out / "run.json").write_text("x")), "run.json: not JSON"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path: Path, source: Path, make: Any, wanted: str) -> None:
    make(tmp_path / "out")
    with pytest.raises(ManifestError, match=wanted):
        done(source, tmp_path / "out")


def test_parts_that_were_changed_are_seen(tmp_path: Path, source: Path) -> None:
    done(source, tmp_path / "out")
    whole, part = contents(tmp_path / "out"), tmp_path / "out" / "part-00001.parquet"
    part.unlink()
    with pytest.raises(ManifestError, match=r"part-00001\.parquet is gone, and 1 of 3 parts in all"):
        open_manifest(tmp_path / "out")
    done(source, tmp_path / "out")
    assert contents(tmp_path / "out") == whole
    part.write_bytes(b"PAR1")
    with pytest.raises(ManifestError, match=r"part-00001\.parquet: not a Parquet file"):
        read_manifest(tmp_path / "out")
    part.write_bytes(whole["part-00002.parquet"])
    with pytest.raises(ManifestError, match=r"part-00001\.parquet: 4 rows; 10 were written"):
        read_manifest(tmp_path / "out")
    (tmp_path / "out" / "vmage.csv").unlink()
    with pytest.raises(ManifestError, match=r"part-00001\.parquet: not a part of this annotation; delete it"):
        done(source, tmp_path / "out")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_teacher_without_numbers_is_named_with_its_row(tmp_path: Path, source: Path, bad: float) -> None:
    def sick(crops: NDArray[np.uint8]) -> AgeDistribution:
        ages = bright(crops)
        ages.probs[np.abs(ages.mean - 13) < 0.5] = bad  # not seen by AgeDistribution, which has checked before
        return ages

    with pytest.raises(ManifestError, match=r"row 1[234]: the teacher fails: it gave a value that is no number"):
        done(source, tmp_path / "out", sick)
    assert (tmp_path / "out" / "part-00000.parquet").exists()


def test_what_is_no_distribution_is_named(tmp_path: Path, source: Path) -> None:
    with pytest.raises(ManifestError, match="row 0: the teacher fails: it gave a float; one distribution a face"):
        done(source, tmp_path / "out", lambda crops: float(crops.mean()))


@pytest.mark.parametrize("form", [*FORMS])
def test_an_ensembles_votes_and_agreement_are_kept(tmp_path: Path, source: Path, form: str) -> None:
    found = done(source, tmp_path / "out", Ensemble([bright, older]), votes=form)
    made = read_manifest(tmp_path / "out")
    assert numbers(made, "agreement") == pytest.approx(5, abs=1)
    votes = AgeDistribution(read_votes(made["votes"])[:, 0]).mean
    assert votes == pytest.approx(distributions(made).mean - 5, abs=1)
    assert found.votes_bytes is not None
    assert 10 < found.votes_bytes < 1000
    assert json.loads((tmp_path / "out" / "run.json").read_text())["plan"]["votes"] == form


def test_only_an_ensemble_has_votes(tmp_path: Path, source: Path) -> None:
    with pytest.raises(ManifestError, match="only an ensemble has votes to keep"):
        done(source, tmp_path / "out", votes="float16")
    with pytest.raises(ValueError, match="no form of votes 'float8'; there are quantised"):
        done(source, tmp_path / "out", Ensemble([bright]), votes="float8")


def test_a_full_disk_is_one_line_and_a_second_call_goes_on(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = done(source, tmp_path / "whole")
    real, calls = pq.write_table, []

    def full(table: Any, sink: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) > 1:
            sink.write(b"PAR1")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(table, sink, **options)

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="no space left; what is done is kept, and the same call goes on") as raised:
        done(source, tmp_path / "out")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path / "out"))
    assert [*contents(tmp_path / "out")] == ["part-00000.parquet", "run.json"]
    monkeypatch.undo()
    assert done(source, tmp_path / "out") == whole
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_pictures_beside_the_manifest_are_taken_along(tmp_path: Path, faces_of: Write) -> None:
    good = read_manifest(faces_of(tmp_path / "all.parquet", range(12), side=8))["image"].to_pylist()
    (tmp_path / "in" / "n1").mkdir(parents=True)
    for row, image in enumerate(good[:-1]):
        (tmp_path / "in" / "n1" / f"{row}.jpg").write_bytes(image["bytes"])
    images = [{"bytes": None, "path": f"n1/{row}.jpg"} for row in range(12)]
    source = faces_of(tmp_path / "in" / "faces.parquet", range(12), image=images)
    found = done(source, tmp_path / "elsewhere" / "out")
    assert (found.faces, found.reasons) == (11, {"cannot be opened: No such file or directory": 1})
    held = read_manifest(tmp_path / "elsewhere" / "out")["image"].to_pylist()
    assert held == [{"bytes": good[row]["bytes"], "path": f"n1/{row}.jpg"} for row in range(11)]


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_manifest_and_folder_may_lie_on_any_filesystem(tmp_path: Path, source: Path, kind: str) -> None:
    whole = done(source, tmp_path / "whole")
    if kind == "file":
        here, there = f"file://{source}", f"file://{tmp_path}/out"
    else:
        here, there = "memory://set/faces.parquet", "memory://set/out"
        fsspec.filesystem("memory").pipe("/set/faces.parquet", source.read_bytes())
    with pytest.raises(Dead):
        annotate_folder(here, Killed(4), there, identity="t", rows=10, batch=4)
    with pytest.raises(ManifestError, match="not finished"):
        open_manifest(there)
    assert annotate_folder(here, bright, there, identity="t", rows=10, batch=4) == whole
    assert read_manifest(there).equals(read_manifest(tmp_path / "whole"))
    assert fingerprint(there) == fingerprint(tmp_path / "whole")
    if kind == "memory":
        names = fsspec.filesystem("memory").ls("/set/out", detail=False)
        assert [name.rpartition("/")[2] for name in sorted(names)] == [*contents(tmp_path / "whole")]
        fsspec.filesystem("memory").rm("/set", recursive=True)


@pytest.mark.parametrize(
    ("uri", "wanted"), [("nowhere://x/faces.parquet", "nowhere"), ("file://host/x.parquet", "host")]
)
def test_a_uri_that_means_nothing_is_one_line(tmp_path: Path, uri: str, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted) as raised:
        annotate_folder(uri, bright, tmp_path / "out", identity="t")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_every_row_left_out_is_still_a_folder(tmp_path: Path, faces_of: Write) -> None:
    source = faces_of(tmp_path / "faces.parquet", range(12), image=[BAD] * 12)
    assert done(source, tmp_path / "out").faces == 0
    assert open_manifest(tmp_path / "out").metadata.num_rows == len(read_manifest(tmp_path / "out")) == 0
    some = faces_of(tmp_path / "some.parquet", range(12), side=8)
    images = [BAD if row < 10 else image for row, image in enumerate(read_manifest(some)["image"].to_pylist())]
    done(faces_of(tmp_path / "late.parquet", range(12), image=images), tmp_path / "late")
    assert read_manifest(tmp_path / "late")["age"].to_pylist() == [10.0, 11.0]
    assert len(Faces(tmp_path / "late", Window(0.5, 0.5, 1.0), 8)) == 2
