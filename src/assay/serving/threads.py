"""Threads that calculate, and leave the processor to the one that talks to clients as soon as it has to.

Knows nothing of what is calculated.
"""

import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

_NICE = 5
"""How far behind, by the measure of nice(1). On two busy processors it brings the 99th percentile of what a
full server takes to say no from 110 ms to 40 ms, and costs no answers."""


def calculating(count: int, name: str) -> ThreadPoolExecutor:
    """Return a pool of `count` such threads."""
    return ThreadPoolExecutor(count, thread_name_prefix=name, initializer=_step_back)


def exit_past(names: str, seconds: float = 0.5) -> None:
    """End the process at once if a thread is still at work, instead of waiting for it as Python would.

    To be called last, when all that has to be written is written and the pools of threads are shut down, so
    that threads without work end by themselves. A decoder in C cannot be stopped otherwise.

    Args:
        names: what the names of the threads begin with.
        seconds: how long they may still take together.
    """
    until = time.monotonic() + seconds
    for thread in threading.enumerate():
        if thread.name.startswith(names):
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                logging.shutdown()
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)


def _step_back() -> None:
    # Elsewhere than on Linux this would be said of the whole process, or refused.
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # A sandbox may forbid it; then all threads are equal.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICE)
