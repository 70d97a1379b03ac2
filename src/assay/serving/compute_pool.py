"""The threads that decode and classify: one per processor, so that none waits while another has work."""

import asyncio
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

_T = TypeVar("_T")
_Task = tuple[Callable[[], Any], asyncio.Future[Any]]

_NICE_INCREMENT = 5
"""Nice levels below the event loop's thread. On two busy processors this reduces the 99th percentile of the
time to reject a request at full load from 110 ms to 40 ms, and costs no throughput."""
_THREAD_PREFIX = "assay-compute"


class ComputePool:
    """Threads that all decoding and all batches of a process share; use it from one event loop at a time.

    With pools of their own, decoding and inference would share processors, and threads that hand photos to each other
    often wake up on a processor in use while another is idle: on two processors 15 % of the time was lost.

    Args:
        threads: number of threads.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._executor = compute_executor(threads, _THREAD_PREFIX)
        self._urgent: deque[_Task] = deque()
        self._other: deque[_Task] = deque()
        self._unfinished = 0
        self._waiting: dict[Callable[[], None], None] = {}

    @property
    def full(self) -> bool:
        """Whether there is work for all threads."""
        return self._unfinished >= self.threads

    def submit(self, work: Callable[[], _T], *, urgent: bool = False) -> asyncio.Future[_T]:
        """Run a function in a thread, unless its future is cancelled before; urgent work is started first."""
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        (self._urgent if urgent else self._other).append((work, future))
        self._unfinished += 1
        self._executor.submit(self._run_next)
        return future

    def call_when_not_full(self, callback: Callable[[], None]) -> None:
        """Call a function once, when a thread has become idle; a function that waits already is not added."""
        self._waiting[callback] = None

    def close(self) -> None:
        """Cancel what has not started, without waiting for the rest."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        for tasks in (self._urgent, self._other):
            while tasks:
                tasks.popleft()[1].cancel()

    def _run_next(self) -> None:
        try:
            work, future = self._urgent.popleft()
        except IndexError:  # without asking before, since another thread may take the last one
            work, future = self._other.popleft()
        result, error = None, None
        if not future.cancelled():
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001 - it is raised where the future is awaited
                error = raised
        with suppress(RuntimeError):  # the loop is closed
            future.get_loop().call_soon_threadsafe(self._finish, future, result, error)

    def _finish(self, future: asyncio.Future[_T], result: _T, error: BaseException | None) -> None:
        self._unfinished -= 1
        if not future.done():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        if self._waiting and not self.full:
            waiting, self._waiting = self._waiting, {}
            loop = asyncio.get_running_loop()
            for callback in waiting:
                # Two iterations later, when an image that was decoded has been queued for inference.
                loop.call_soon(loop.call_soon, callback)


def compute_executor(threads: int, name: str) -> ThreadPoolExecutor:
    """Return a thread pool whose threads have a lower priority than the event loop's thread."""
    return ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=_lower_thread_priority)


def _lower_thread_priority() -> None:
    # On other systems than Linux this would apply to the whole process, or be refused.
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # A sandbox may forbid it; then all threads have the same priority.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICE_INCREMENT)


def exit_despite_threads(timeout: float = 0.5) -> None:
    """Exit the process at once if a pool's thread is still busy, instead of waiting for it as Python would.

    A decoder in C cannot be stopped otherwise. Call it last, after everything is flushed and the pools are closed, so
    that idle threads end by themselves. Busy ones have `timeout` seconds together to end.
    """
    deadline = time.monotonic() + timeout
    for thread in threading.enumerate():
        if thread.name.startswith(_THREAD_PREFIX):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                logging.shutdown()
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)
