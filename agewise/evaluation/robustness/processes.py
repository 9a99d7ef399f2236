"""A job on one machine, by several processes: what a Ray cluster does with it elsewhere (`cluster.work_on_ray`)."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import cv2

from agewise.ages import Predictor
from agewise.teachers.annotation.cluster import Job
from agewise.teachers.annotation.plan import Run

_WORKER: dict[str, Any] = {}
"""Of a worker process: how its predictor is opened, and the predictor."""


def work_here(
    job: Job, shares: Sequence[Run], open_predictor: Callable[[], Predictor], processes: int
) -> Iterator[int]:
    """Does all shares, in whatever order, and tells the count of each that is done.

    With several processes, job and `open_predictor` must pickle. Raises ChildProcessError where one of them is killed,
    and what a share raises.
    """
    if processes == 1:
        predictor = open_predictor()
        for share in shares:
            job.do(predictor, share)
            yield job.count(share)
        return
    spawned = multiprocessing.get_context("spawn")  # threads of ONNX Runtime and torch do not live through a fork
    with ProcessPoolExecutor(processes, spawned, _begin, (open_predictor,)) as pool:
        futures = {pool.submit(_work, job, share): job.count(share) for share in shares}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BrokenProcessPool as error:
            raise ChildProcessError("a worker was killed, perhaps for its memory; take fewer workers") from error
        finally:
            pool.shutdown(cancel_futures=True)


def opened_alone(open_predictor: Callable[[], Predictor]) -> Predictor:
    """The predictor of a process that has one core."""
    cv2.setNumThreads(1)
    return open_predictor()


def _begin(open_predictor: Callable[[], Predictor]) -> None:
    _WORKER["open"] = open_predictor


def _work(job: Job, share: Run) -> None:
    if "predictor" not in _WORKER:
        _WORKER["predictor"] = opened_alone(_WORKER["open"])
    job.do(_WORKER["predictor"], share)
