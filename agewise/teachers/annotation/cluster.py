"""The same plan on many machines: Ray Data hands the parts to workers that hold the networks and write what they did.

A part is a file that is complete or absent, and what is there is not done again. So nothing depends on Ray for a face
to come once: a worker that dies is replaced and its part goes to another, and a call after the driver's death goes on.
Annotation works so, and so do predictions and the cells of `agewise robustness`: each is a `Job`.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from agewise.ages import Predictor
from agewise.data.shards import PART_ROWS
from agewise.teachers.annotation.annotated import Annotated, Folder
from agewise.teachers.annotation.answers import answered_parts
from agewise.teachers.annotation.connecting import ClusterError, check_address, connected, line_of
from agewise.teachers.annotation.plan import Run, make_plan, runs_of, shares_of

Progress = Callable[[int, int], None]


class Job(Protocol):
    """Parts of something, of which any process makes any; it can be sent to other machines."""

    def left(self) -> int:
        """How much is not there yet, in what progress counts."""
        ...

    def count(self, share: Run) -> int:
        """How much is in a share: the parts from a first one to the one after the last."""
        ...

    def do(self, predictor: Predictor, share: Run) -> None:
        """Makes the parts of a share that are not there, each at once. A ValueError or OSError is the user's line."""
        ...


class Opened(Protocol):
    """A teacher or model, and the name that is only its own."""

    @property
    def predictor(self) -> Predictor: ...
    @property
    def name(self) -> str: ...


def annotate_on_ray(
    manifest: Path | str,
    open_teacher: Callable[[], Opened],
    folder: Path | str,
    *,
    identity: str,
    address: str,
    workers: int = 0,
    cores: int = 1,
    batch: int = 50,
    votes: str | None = None,
    rows: int = PART_ROWS,
    progress: Progress = lambda _done, _total: None,
) -> Annotated:
    """The folder that `annotate_folder` writes, made by the workers of a Ray cluster; either finishes the other's.

    open_teacher: is called in every worker, on its machine, and must give the teacher that `identity` names.
    address: "local" (a cluster of this machine for this call), "auto" (the one that runs here), host:port, or
        ray://host:port. Every machine must reach manifest, folder and teacher by the same names.
    workers: 0 is as many as the cluster has cores for. cores: of each worker.

    Raises:
        ClusterError: Ray is not installed, does not answer, or its workers cannot work.
        ManifestError: as of `annotate_folder`; what a worker says arrives as its one line.
    """
    check_address(address)
    plan = make_plan(manifest, identity, batch=batch, votes=votes, rows=rows)
    place = Folder(folder, plan)
    missing = place.begin()
    done = plan.total - plan.rows_of(missing)
    progress(done, plan.total)
    known = partial(opened_as, identity, open_teacher, "teacher")
    for count in work_on_ray(_Annotation(place), shares_of(plan, missing), known, address, workers, cores):
        done += count
        progress(done, plan.total)
    return place.finish()


def work_on_ray(
    job: Job, shares: Sequence[Run], open_predictor: Callable[[], Predictor], address: str, workers: int, cores: int
) -> Iterator[int]:
    """Does all shares of a job on a cluster, in whatever order, and tells the count of each that is done.

    open_predictor: is called in every worker. address, workers, cores: as of `annotate_on_ray`. Without a share,
    nothing is started. Raises ClusterError where the workers fail, or what they made is not here.
    """
    if not shares:
        return
    with connected(address, workers * cores):
        work = _worked_there if address.startswith("ray://") else _worked
        yield from work((job, open_predictor), shares, workers, cores)
    if left := job.left():
        raise ClusterError(f"--ray {address}: all is done, but {left} are not here: do the machines share the files?")


def opened_as(name: str, open_it: Callable[[], Opened], what: str = "model") -> Predictor:
    """The predictor that has this name. Raises ClusterError where it has another, as of another file on a machine."""
    opened = open_it()
    if opened.name != name:
        raise ClusterError(f"the {what} is {opened.name} on {socket.gethostname()}; it is {name} where this began")
    return opened.predictor


@dataclass(frozen=True, slots=True)
class _Annotation:
    """The parts of an annotation's folder."""

    folder: Folder

    def left(self) -> int:
        return self.folder.plan.rows_of(self.folder.missing())

    def count(self, share: Run) -> int:
        return self.folder.plan.rows_of(range(*share))

    def do(self, predictor: Predictor, share: Run) -> None:
        missing = [part for part in range(*share) if not self.folder.has(part)]
        for part in answered_parts(self.folder.plan, predictor, runs_of(missing)):
            self.folder.write(part)


class Worker:
    """An actor: it holds a predictor and does the shares of a job that it is given."""

    def __init__(self, job: Job, open_predictor: Callable[[], Predictor]) -> None:
        self.job = job
        self.predictor: Predictor | None = None
        self.failed = ""
        try:
            self.predictor = open_predictor()
        except (ValueError, OSError) as error:
            self.failed = line_of(error)

    def __call__(self, shares: dict[str, Any]) -> dict[str, list[Any]]:
        """How much each share (from part `begin` to `end`, excluded) is, and what went wrong, if anything."""
        runs = [(int(begin), int(end)) for begin, end in zip(shares["begin"], shares["end"], strict=True)]
        return {"count": [self.job.count(run) for run in runs], "error": [self._do(run) for run in runs]}

    def _do(self, run: Run) -> str:
        if self.predictor is None:
            return self.failed
        try:
            self.job.do(self.predictor, run)
        except (ValueError, OSError) as error:
            return line_of(error)
        return ""


def _worked(worker: tuple[Any, ...], shares: Sequence[Run], workers: int, cores: int) -> Iterator[int]:
    """Does all shares, in whatever order, and tells the count of each that is done."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext, from_items
    from ray.exceptions import RayError

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # of Ray
    there = int(resources.get("CPU", 0)) // cores
    if there < 1:
        raise ClusterError(f"no machine of the cluster has {cores} cores for a worker; --threads says how many it gets")
    DataContext.get_current().enable_progress_bars = False  # `progress` shows what there is to see
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    items = [{"begin": begin, "end": end} for begin, end in shares]
    done = from_items(items, override_num_blocks=len(items)).map_batches(
        Worker,
        fn_constructor_args=worker,
        batch_size=1,
        num_cpus=cores,
        compute=ActorPoolStrategy(size=min(workers or there, len(items))),
    )
    try:
        for row in done.iter_rows():
            if row["error"]:
                raise ClusterError(row["error"])
            yield int(row["count"])
    except RayError as error:
        cause = getattr(error, "cause", None) or error
        raise ClusterError(f"Ray: {type(cause).__name__}: {line_of(cause)}") from error


def _worked_there(worker: tuple[Any, ...], shares: Sequence[Run], workers: int, cores: int) -> Iterator[int]:
    """The same through Ray's client, which Ray Data does not know: the whole of it runs as a task of the cluster."""
    import ray
    from ray.exceptions import RayError

    job: Job = worker[0]
    left = job.left()
    task = ray.remote(num_cpus=0, max_retries=0)(_all).remote(worker, shares, workers, cores)
    try:
        while not ray.wait([task], timeout=1.0)[0]:  # the files say how far it is
            now = job.left()
            left, done = now, left - now
            if done:
                yield done
        ray.get(task)
    except RayError as error:
        cause = getattr(error, "cause", None) or error
        raise ClusterError(line_of(cause)) from error
    yield left


def _all(worker: tuple[Any, ...], shares: Sequence[Run], workers: int, cores: int) -> None:
    for _ in _worked(worker, shares, workers, cores):
        pass
