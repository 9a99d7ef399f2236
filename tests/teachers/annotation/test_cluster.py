"""Annotation on a real Ray cluster of two nodes: whole after kill -9 of a worker, of the driver and of both.

The cluster and its drivers run in processes of their own, as they do elsewhere; what they are is written here.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.data.manifest import ManifestError, read_manifest, write_manifest
from agewise.teachers.annotation.annotate import annotate_folder
from agewise.teachers.annotation.cluster import annotate_on_ray
from agewise.teachers.annotation.connecting import ClusterError
from agewise.teachers.annotation.plan import make_plan, runs_of, shares_of

pytest.importorskip("ray")

Write = Callable[..., Path]
ROOT = Path(__file__).parents[3]
BAD = {"bytes": b"no picture", "path": None}
ROWS, FACES = 10, 83

DRIVER = """
import json, os, sys, time
from functools import partial
from types import SimpleNamespace
from agewise.ages import AgeDistribution
from agewise.teachers.annotation.cluster import annotate_on_ray

def opened(name, pids, pause, sick):
    open(os.path.join(pids, str(os.getpid())), "w").close()
    def teacher(crops):
        time.sleep(pause)
        ages = AgeDistribution.gaussian(((crops.mean(axis=(1, 2, 3)) - 40) / 1.6).clip(0, 100), 3.0)
        if sick:
            ages.probs[ages.mean > 60] = float("nan")
        return ages
    return SimpleNamespace(predictor=teacher, name=name)

if __name__ == "__main__":
    if len(sys.argv) > 2:
        import ray
        ray.init(address=json.loads(sys.argv[1])["address"], log_to_driver=False)
    for job in sys.argv[1:]:
        said = json.loads(job)
        make = partial(opened, said["name"], said["pids"], said["pause"], said["sick"])
        try:
            done = annotate_on_ray(said["source"], make, said["out"], identity="t", address=said["address"],
                                   workers=said["workers"], batch=4, rows=10)
            print(done.faces, done.left_out, flush=True)
        except ValueError as error:
            print(type(error).__name__, error, flush=True)
"""


def bright(crops: NDArray[np.uint8]) -> AgeDistribution:
    return AgeDistribution.gaussian(((crops.mean(axis=(1, 2, 3)) - 40) / 1.6).clip(0, 100), 3.0)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, faces_of: Write) -> Path:
    """83 faces, of which two cannot be read."""
    folder = tmp_path_factory.mktemp("faces")
    good = read_manifest(faces_of(folder / "all.parquet", range(FACES), side=8))["image"].to_pylist()
    images = [BAD if row in (3, 50) else image for row, image in enumerate(good)]
    return faces_of(folder / "faces.parquet", range(FACES), image=images)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, source: Path) -> dict[str, bytes]:
    """What one machine writes in one go."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    annotate_folder(source, bright, folder, identity="t", rows=ROWS, batch=4)
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class Jobs:
    """Drivers of annotations in a folder."""

    def __init__(self, folder: Path, source: Path, address: str) -> None:
        self.folder, self.pids = folder, folder / "pids"
        self.pids.mkdir()
        (folder / "driver.py").write_text(DRIVER)
        self.job = {"source": str(source), "address": address, "pids": str(self.pids)}
        self.job |= {"name": "t", "sick": False, "workers": 2}

    def start(self, *jobs: dict[str, Any]) -> subprocess.Popen[str]:
        texts = [json.dumps({**self.job, "out": str(self.folder / "out"), "pause": 0, **job}) for job in jobs]
        pipe, where = subprocess.PIPE, {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(self.folder / "driver.py"), *texts]
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=where)

    def finish(self, *jobs: dict[str, Any]) -> list[str]:
        """What the driver says of each job."""
        with self.start(*jobs) as process:
            said, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        return [line for line in said.splitlines() if "(raylet)" not in line]  # Ray tells when it ends workers

    def wait_for_parts(self, process: subprocess.Popen[str], count: int) -> None:
        while len(list((self.folder / "out").glob("part-*.parquet"))) < count:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)

    def kill_a_worker(self) -> None:
        os.kill(int(next(self.pids.iterdir()).name), signal.SIGKILL)


@pytest.fixture
def jobs(tmp_path: Path, source: Path, cluster: str) -> Jobs:
    return Jobs(tmp_path, source, cluster)


def test_a_worker_killed_in_the_midst_is_replaced(jobs: Jobs, whole: dict[str, bytes], tmp_path: Path) -> None:
    with jobs.start({"pause": 0.15}) as process:
        jobs.wait_for_parts(process, 1)
        jobs.kill_a_worker()
        said, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert said.splitlines()[-1] == "81 2"  # before it, Ray tells that a worker died
    assert contents(tmp_path / "out") == whole
    assert len(list(jobs.pids.iterdir())) == 3  # two workers, and the one that came for the dead


def test_driver_and_worker_killed_and_called_again(jobs: Jobs, whole: dict[str, bytes], tmp_path: Path) -> None:
    with jobs.start({"pause": 0.3}) as process:
        jobs.wait_for_parts(process, 2)
        process.kill()
        jobs.kill_a_worker()
    with pytest.raises(ManifestError, match="not finished"):
        read_manifest(tmp_path / "out")
    early = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    assert 2 <= len(early) < 9
    assert jobs.finish({}) == ["81 2"]
    assert contents(tmp_path / "out") == whole
    assert early == {path: path.stat().st_mtime_ns for path in early}


def test_what_goes_wrong_in_a_worker_is_one_line(jobs: Jobs, tmp_path: Path) -> None:
    said = jobs.finish(
        {"sick": True, "workers": 1, "out": str(tmp_path / "sick")},
        {"name": "u", "workers": 1, "out": str(tmp_path / "other")},
        {"workers": 1, "out": f"file://{tmp_path}/uri"},
    )
    assert len(said) == 3
    assert said[0].startswith("ClusterError row")
    assert said[0].endswith("the teacher fails: it gave a value that is no number")
    assert said[1] == f"ClusterError the teacher is u on {socket.gethostname()}; it is t where this began"
    assert said[2] == "81 2"
    assert (tmp_path / "uri" / "vmage.csv").is_file()


def unused() -> Any:
    raise AssertionError("no teacher is needed to see that")


def test_an_address_that_does_not_answer_is_one_line_and_soon(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agewise.teachers.annotation.connecting.PATIENCE", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as other:  # it listens, but says nothing
        port = other.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(ClusterError, match=f"--ray 127.0.0.1:{port}: no cluster answers there"):
            annotate_on_ray(source, unused, tmp_path / "out", identity="t", address=f"127.0.0.1:{port}")
        assert time.monotonic() - began < 5
    with pytest.raises(ClusterError, match=r"no cluster answers there \(Connection refused\)"):
        annotate_on_ray(source, unused, tmp_path / "out", identity="t", address=f"ray://127.0.0.1:{port}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["here", "host:port", "127.0.0.1", "http://127.0.0.1:80", "127.0.0.1:99999"])
def test_what_is_no_address_is_one_line(tmp_path: Path, source: Path, address: str) -> None:
    with pytest.raises(ClusterError, match="auto, local, host:port or ray://host:port is needed"):
        annotate_on_ray(source, unused, tmp_path / "out", identity="t", address=address)


def test_without_ray_the_extra_is_named(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(ClusterError, match=r"pip install 'agewise\[ray\]'"):
        annotate_on_ray(source, unused, tmp_path / "out", identity="t", address="local")


def test_parts_of_one_large_row_group_stay_together(tmp_path: Path, faces_of: Write) -> None:
    table = read_manifest(faces_of(tmp_path / "small.parquet", [float(n % 90) for n in range(250)], side=4))
    several = make_plan(write_manifest(table, tmp_path / "s.parquet", {"frame": "aligned"}), "t", rows=10)
    assert several.parts == 25
    assert shares_of(several, range(25)) == [(0, 25)]  # written as one row group
    assert shares_of(several, [0, 1, 2, 9, 20]) == [(0, 3), (9, 10), (20, 21)]
    few = make_plan(tmp_path / "s.parquet", "t", rows=50)
    assert shares_of(few, range(5)) == [(part, part + 1) for part in range(5)]
    assert runs_of(range(5)) == [(0, 5)]
