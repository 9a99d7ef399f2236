"""Predictions and cells on a real Ray cluster of two nodes: byte for byte those of one machine, after kill -9 too.

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
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agewise.ages import AgeDistribution
from agewise.apps.cli import main
from agewise.data.manifest import read_manifest
from agewise.evaluation.predictions import predict_manifest, predict_manifest_on_ray
from agewise.evaluation.robustness.cells import predict_cells
from agewise.teachers.annotation import cluster as module
from agewise.teachers.annotation import connecting
from agewise.teachers.annotation.cluster import opened_as
from agewise.teachers.annotation.connecting import ClusterError

pytest.importorskip("ray")

Write = Callable[..., Path]
ROOT = Path(__file__).parents[2]
BAD = {"bytes": b"no picture", "path": None}
FACES = 2400
"""Three parts of predictions."""
WALK: dict[str, Any] = {"name": "t", "kinds": ["pixelate", "contrast_minus"], "limit": 5, "batch": 3}
"""Eleven cells of five faces."""

DRIVER = """
import json, os, sys, time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from agewise.ages import AgeDistribution
from agewise.apps.cli import main
from agewise.evaluation.predictions import predict_manifest_on_ray
from agewise.evaluation.robustness.cells import predict_cells
from agewise.teachers.annotation.cluster import opened_as

def opened(pids, pause):
    open(os.path.join(pids, str(os.getpid())), "w").close()
    def predictor(crops):
        time.sleep(pause)
        return AgeDistribution.gaussian(((crops.mean(axis=(1, 2, 3)) - 40) / 1.6).clip(0, 100), 3.0)
    return SimpleNamespace(predictor=predictor, name="t")

if __name__ == "__main__":
    import ray
    address = json.loads(sys.argv[1])["address"]
    ray.init(address=address, log_to_driver=False)
    for job in map(json.loads, sys.argv[1:]):
        model = partial(opened_as, "t", partial(opened, job["pids"], job["pause"]))
        manifest, out = Path(job["source"]), Path(job["out"])
        where = {"address": address, "workers": job["workers"]}
        if job["does"] == "predictions":
            predict_manifest_on_ray(model, manifest, out, name="t", **where)
        elif job["does"] == "cells":
            predict_cells(model, manifest, out, **job["walk"], **where)
        else:
            sys.argv[1:] = [*job["words"], "--ray", address, "--workers", "1"]
            try:
                main()
            except SystemExit as left:
                assert not left.code, left.code
        print("done", flush=True)
"""


def bright(crops: NDArray[np.uint8]) -> AgeDistribution:
    return AgeDistribution.gaussian(((crops.mean(axis=(1, 2, 3)) - 40) / 1.6).clip(0, 100), 3.0)


class Killed:
    """Bright, and a kill at the call after so many."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, crops: NDArray[np.uint8]) -> AgeDistribution:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return bright(crops)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, faces_of: Write) -> Path:
    """2400 faces, of which two cannot be read."""
    folder, ages = tmp_path_factory.mktemp("many"), [float(row % 80) for row in range(FACES)]
    images = read_manifest(faces_of(folder / "all.parquet", range(80), side=8))["image"].to_pylist() * 30
    images[3] = images[2300] = BAD
    return faces_of(folder / "faces.parquet", ages, side=8, image=images)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, faces_of: Write) -> Path:
    return faces_of(tmp_path_factory.mktemp("few") / "faces.parquet", range(5, 75, 7), sex=["F", "M"] * 5)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory, few: Path) -> dict[str, bytes]:
    """The cells that one machine makes in one go."""
    return contents(predict_cells(lambda: bright, few, tmp_path_factory.mktemp("walked"), **WALK))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


class Jobs:
    """Drivers of what is made in a folder."""

    def __init__(self, folder: Path, address: str) -> None:
        self.pids, self.script = folder / "pids", folder / "driver.py"
        self.pids.mkdir()
        self.script.write_text(DRIVER)
        self.job = {"address": address, "pids": str(self.pids), "pause": 0, "workers": 1, "walk": WALK}

    def start(self, *jobs: dict[str, Any]) -> subprocess.Popen[str]:
        texts = [json.dumps({**self.job, **job}, default=str) for job in jobs]
        pipe, where = subprocess.PIPE, {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen([sys.executable, self.script, *texts], stdout=pipe, stderr=pipe, text=True, env=where)

    def kill_a_worker(self) -> None:
        os.kill(int(next(self.pids.iterdir()).name), signal.SIGKILL)


def wait(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    while len(list(folder.glob("[!.]*.parquet"))) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.fixture
def jobs(tmp_path: Path, cluster: str) -> Jobs:
    return Jobs(tmp_path, cluster)


def test_what_ray_began_is_finished_without_it(jobs: Jobs, few: Path, walked: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with jobs.start({"does": "cells", "source": few, "out": folder, "pause": 0.15, "workers": 2}) as process:
        wait(process, folder / "cells", 3)
        process.kill()
        jobs.kill_a_worker()
    early = {path: path.stat().st_mtime_ns for path in (folder / "cells").glob("*.parquet")}
    assert 3 <= len(early) < 11
    cells = predict_cells(lambda: bright, few, folder, **WALK)
    assert contents(cells) == walked
    assert early == {path: path.stat().st_mtime_ns for path in early}
    assert [path.name for path in folder.iterdir()] == ["cells"]  # no picture stays


def test_what_began_without_ray_is_finished_by_it_though_a_worker_dies(
    jobs: Jobs, many: Path, few: Path, walked: dict[str, bytes], tmp_path: Path, tiny_model: Callable[..., Path]
) -> None:
    whole, begun, model = tmp_path / "whole.parquet", tmp_path / "begun.parquet", tiny_model(32)
    predict_manifest(bright, many, whole, name="t")
    with pytest.raises(KeyboardInterrupt):
        predict_manifest(Killed(20), many, begun, name="t")
    with pytest.raises(KeyboardInterrupt):
        predict_cells(lambda: Killed(9), few, tmp_path / "out", **WALK)
    here, words = tmp_path / "here", ["evaluate", model, few, "-o"]
    work: tuple[dict[str, Any], ...] = (
        {"does": "predictions", "source": many, "out": begun, "pause": 0.1, "workers": 2},
        {"does": "cells", "source": few, "out": tmp_path / "out"},
        {"does": "words", "source": few, "out": here, "words": [*words, tmp_path / "there"]},
    )
    parts = tmp_path / "begun.parquet.parts"
    kept = (parts / "000000.parquet").stat().st_ino
    with jobs.start(*work) as process:
        while len(list(jobs.pids.iterdir())) < 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        jobs.kill_a_worker()
        assert (parts / "000000.parquet").stat().st_ino == kept  # not made again
        assert not begun.exists()
        out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    said = [line for line in out.splitlines() if line == "done"]
    assert said == ["done"] * 3
    assert begun.read_bytes() == whole.read_bytes()
    assert not parts.exists()
    assert contents(tmp_path / "out" / "cells") == walked
    assert called(*words, here) == 0
    assert contents(here) == contents(tmp_path / "there") != {}


def called(*words: object) -> int:
    sys.argv[1:] = map(str, words)
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.fixture(autouse=True)
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test calls the command with is gone after it."""
    monkeypatch.setattr(sys, "argv", ["agewise"])


def unused() -> Any:
    raise AssertionError("no model is needed to see that")


@pytest.mark.parametrize("verb", ["evaluate", "robustness"])
def test_an_address_that_does_not_answer_is_one_line_and_leaves_nothing(
    verb: str, few: Path, tmp_path: Path, tiny_model: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    assert called(verb, tiny_model(32), few, "--ray", "127.0.0.1:1", "-o", tmp_path / "out") == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--ray 127.0.0.1:1: no cluster answers there" in err
    assert called("evaluate", "base", few, "--protocol", "lfw-plus", "--ray", "local") == 2
    assert "--ray is not for a protocol" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_name_is_not_asked() -> None:
    opened = SimpleNamespace(predictor=bright, name="u")
    assert opened_as("u", lambda: opened) is bright
    with pytest.raises(ClusterError, match=f"the model is u on {socket.gethostname()}; it is t where this began"):
        opened_as("t", lambda: opened)


def test_a_cluster_that_answers_and_lets_nobody_in_is_one_line(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of `ray start` (2.60) does without its token."""

    def refused(**_given: object) -> None:
        raise ConnectionError("Failed to connect")

    monkeypatch.setattr(connecting, "_greeted", lambda _connection: None)
    monkeypatch.setattr("ray.init", refused)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ClusterError, match=rf"--ray {address}: Failed to connect; .* \(RAY_AUTH_TOKEN\)\?"):
            predict_cells(unused, few, tmp_path / "out", address=address, **WALK)


def test_without_ray_the_extra_is_named(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(ClusterError, match=r"pip install 'agewise\[ray\]'"):
        predict_manifest_on_ray(unused, few, tmp_path / "p.parquet", name="t", address="local")
    with pytest.raises(ClusterError, match=r"pip install 'agewise\[ray\]'"):
        predict_cells(unused, few, tmp_path / "out", address="local", **WALK)


def test_files_that_only_a_worker_sees_are_no_result(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker on a machine with a disk of its own says that all is done."""
    monkeypatch.setattr(module, "connected", lambda _address, _cores: nullcontext())
    monkeypatch.setattr(module, "_worked", lambda _worker, shares, _workers, _cores: iter([1] * len(shares)))
    with pytest.raises(ClusterError, match="--ray local: all is done, but 11 are not here"):
        predict_cells(unused, few, tmp_path / "out", address="local", workers=0, **WALK)
    with pytest.raises(ClusterError, match="but 10 are not here"):
        predict_manifest_on_ray(unused, few, tmp_path / "p.parquet", name="t", address="local")
    assert not (tmp_path / "p.parquet").exists()


def test_what_is_there_needs_neither_cluster_nor_model(few: Path, tmp_path: Path) -> None:
    done = predict_manifest(bright, few, tmp_path / "p.parquet", name="t")
    assert predict_manifest_on_ray(unused, few, done, name="t", address="local") == done
    cells = predict_cells(lambda: bright, few, tmp_path / "out", **WALK)
    assert predict_cells(unused, few, tmp_path / "out", address="local", workers=0, **WALK) == cells
