"""Connect to a Ray cluster, or start one on this machine that only this machine can reach."""

import logging
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError

_ADDRESS = "RAY_ADDRESS"
_AUTHENTICATION = "RAY_AUTH_MODE"
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_EXCEPTION = re.compile(r"[\w.]+(Error|Exception): .")
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
    address = os.environ.get(_ADDRESS)
    if not address:
        os.environ.update(_LOCAL_ONLY)
    import ray  # noqa: PLC0415 - reads the environment on import

    if ray.is_initialized():
        yield ray
        return
    terminated = signal.getsignal(signal.SIGTERM)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        # "local": not a cluster that somebody else has started on this machine.
        options |= {"address": "local", "num_cpus": cpus or max(2, cpu_count())}
        options |= {"object_store_memory": memory, "include_dashboard": False}
    for attempt in range(1, _ATTEMPTS + 1):
        try:
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
            return AssayError(str(getattr(cause, "cause", cause)))
        cause = cause.__cause__ or getattr(cause, "cause", None)
    return AssayError(f"a task of the Ray cluster failed ({_reason(error)}): repeat the command to resume")


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
