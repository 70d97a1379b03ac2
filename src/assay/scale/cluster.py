"""Connect to a Ray cluster, or start one on this machine that only this machine can reach."""

import logging
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError

_ADDRESS = "RAY_ADDRESS"
_AUTHENTICATION = "RAY_AUTH_MODE"
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_EXCEPTION = re.compile(r"[\w.]+(Error|Exception): .")
_ASSAY_ERROR = re.compile(r"assay\.[\w.]+Error: (.+)")
_ATTEMPTS = 3
"""On a busy machine, Ray's own processes may not start in the 15 s that it gives them."""
_LOCAL_ONLY = {
    # Without "clusters", Ray uses 127.0.0.1 as the address of the node, and every process listens only there.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
_SETTINGS = {
    # Ray would run its workers at a lower priority than all other programs of the machine.
    "RAY_worker_niceness": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
_BACKEND_LEVEL = "RAY_BACKEND_LOG_LEVEL"
"""Ray's compiled part prints errors to standard error, also those that it handles itself; a user may choose a level."""


@contextmanager
def _no_standard_error() -> Iterator[None]:
    """Hide what is written to standard error: Ray's compiled part writes a line about the level of its log."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def ray_cluster(*, cpus: int | None = None, memory: int | None = None) -> Iterator[Any]:
    """Yield the module `ray`, connected to a cluster.

    The cluster is that of `RAY_ADDRESS`; without it, one is started on this machine and stopped when the block ends.
    It listens on loopback addresses only and has no dashboard. An existing connection of this process is used as it is.

    Args:
        cpus: processors of a cluster that is started; None: all available, at least two.
        memory: bytes of its object store; None: Ray's default, a share of the memory.

    Raises:
        AssayError: the cluster cannot be reached or started.
    """
    os.environ.update(_SETTINGS)
    os.environ.setdefault(_BACKEND_LEVEL, "fatal")
    address = os.environ.get(_ADDRESS)
    if not address:
        os.environ.update(_LOCAL_ONLY)
    import ray  # noqa: PLC0415 - reads the environment on import

    if ray.is_initialized():
        yield ray
        return
    terminated = signal.getsignal(signal.SIGTERM)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if not address:
        # "local": not a cluster that somebody else has started on this machine.
        options |= {"address": "local", "num_cpus": cpus or max(2, cpu_count())}
        options |= {"object_store_memory": memory, "include_dashboard": False}
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with _no_standard_error():
                ray.init(**options)
            break
        except Exception as error:  # noqa: BLE001 - Ray raises plain exceptions
            ray.shutdown()
            if attempt == _ATTEMPTS or address:
                where = f"the Ray cluster at {address} cannot be reached" if address else "Ray cannot be started"
                advice = _address_advice() if address else "free some processors and memory and try again"
                raise AssayError(f"{where} ({_reason(error)}): {advice}") from None
    try:
        yield ray
    finally:
        ray.shutdown()
        # Ray exits the process in its own way on SIGTERM, and its handler remains after `ray.shutdown`.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminated)


def task_error(error: Exception) -> AssayError:
    """Return the error of a task as a sentence: that of the `AssayError` that it raised, or Ray's first line."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AssayError):
            # Ray Data appends lines about its retries.
            return AssayError(str(getattr(cause, "cause", cause)).partition("\n")[0])
        cause = cause.__cause__ or getattr(cause, "cause", None)
    reason = _reason(error)
    if found := _ASSAY_ERROR.match(reason):
        # Ray Train keeps only the traceback of the error.
        return AssayError(found[1])
    folder = _log_folder()
    where = "" if folder is None else f"; Ray's logs are in {folder}"
    return AssayError(f"a task of the Ray cluster failed ({reason}): repeat the command to resume{where}")


def silence_console(logger: str) -> None:
    """Let a logger of Ray write to its file in Ray's log folder only, since `task_error` says what went wrong."""
    for handler in logging.getLogger(logger).handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.CRITICAL + 1)


def _log_folder() -> str | None:
    """Return the folder of Ray's logs on this machine; None without a connection."""
    import ray  # noqa: PLC0415 - reads the environment on import

    node = ray._private.worker._global_node if ray.is_initialized() else None  # noqa: SLF001 - there is no other way
    return None if node is None else f"{node.get_session_dir_path()}/logs"


def _address_advice() -> str:
    if os.environ.get(_AUTHENTICATION):
        return f"check {_ADDRESS}"
    # `ray start` requires a token if ~/.ray/auth_token exists, clients send it only in the token mode.
    return f"check {_ADDRESS}, and set {_AUTHENTICATION}=token if the cluster requires a token"


def _reason(error: BaseException) -> str:
    """Return the last exception of a traceback in the message, otherwise the message's first line."""
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    exceptions = [line for line in lines if _EXCEPTION.match(line)]
    return (exceptions[-1:] or lines or [type(error).__name__])[0].rstrip(".")[:300]
