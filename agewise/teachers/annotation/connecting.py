"""The way to a Ray cluster: its address checked, a connection for as long as the work takes."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 5.0
"""Seconds within which a cluster must answer."""

HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))

SETTINGS = b"\x04"
"""How HTTP/2, and so gRPC, begins: the client's preface and settings; the server's first frame is of this type."""

STORE = 100 << 20
"""Bytes of Ray's object store in a cluster of our own: the driver and its workers exchange numbers of parts only."""


class ClusterError(ValueError):
    """A cluster that cannot be worked on, or failed; the message is one line for the user."""


@contextmanager
def connected(address: str, cores: int) -> Iterator[None]:
    """A connection to the cluster; one that is there already is used, and left."""
    import ray

    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": cores or _cores(), "object_store_memory": STORE, "include_dashboard": False}
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it would write to stderr as it pleases
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Ray's own future
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except (ConnectionError, RuntimeError, ValueError, SystemExit) as error:
        token = isinstance(error, ConnectionError) and address not in ("local", "auto")  # of 2.60, by `ray start`
        hint = "; does the cluster ask for a token (RAY_AUTH_TOKEN)?" if token else ""
        raise ClusterError(f"--ray {address}: {line_of(error)}{hint}") from error
    try:
        yield
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Raises ClusterError where Ray is not installed, or nothing listens at the address: Ray itself would wait long."""
    try:
        import ray.data  # noqa: F401
    except ModuleNotFoundError as error:
        raise ClusterError(f"--ray needs {error.name}: pip install 'agewise[ray]'") from error
    if address in ("local", "auto"):
        return
    parsed = urlsplit(address if "://" in address else f"ray://{address}")
    try:
        place = parsed.hostname, parsed.port
    except ValueError:
        place = None, None
    if parsed.scheme != "ray" or not place[0] or not place[1]:
        raise ClusterError(f"--ray {address}: auto, local, host:port or ray://host:port is needed")
    try:
        with socket.create_connection((place[0], place[1]), PATIENCE) as connection:
            _greeted(connection)
    except OSError as error:
        raise ClusterError(f"--ray {address}: no cluster answers there ({error.strerror or error})") from error


def _greeted(connection: socket.socket) -> None:
    """Raises OSError unless a gRPC server answers, as Ray's are: of any other, ray.init gives up after 200 seconds."""
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return  # the greeting would have to be encrypted
    connection.sendall(HELLO)
    head = b""
    while len(head) < 9 and (more := connection.recv(9 - len(head))):
        head += more
    if head[3:4] != SETTINGS:
        raise OSError("what listens there is not Ray")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def line_of(error: BaseException) -> str:
    """An error as one line, with the file where it has one."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
