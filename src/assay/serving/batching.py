"""Dynamic batching of images from concurrent requests.

The low-priority thread pools that inference and decoding run in.
"""

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

_NICE_INCREMENT = 5
"""How far behind, by the measure of nice(1). On two busy processors it brings the 99th percentile of what a
full server takes to say no from 110 ms to 40 ms, and costs no answers."""


def compute_executor(count: int, name: str) -> ThreadPoolExecutor:
    """Return a pool of `count` such threads."""
    return ThreadPoolExecutor(count, thread_name_prefix=name, initializer=_lower_thread_priority)


def exit_despite_threads(names: str, seconds: float = 0.5) -> None:
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


def _lower_thread_priority() -> None:
    # Elsewhere than on Linux this would be said of the whole process, or refused.
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # A sandbox may forbid it; then all threads are equal.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICE_INCREMENT)


_In = TypeVar("_In")
_Out = TypeVar("_Out")

_SMOOTHING = 0.2
"""Weight of the newest batch in the measured pace."""


@dataclass(frozen=True, slots=True)
class BatchResult(Generic[_Out]):
    """An output, and how long its input waited and was worked on, in seconds."""

    output: _Out
    queue: float
    inference: float


@dataclass(slots=True)
class _QueuedItem(Generic[_In, _Out]):
    item: _In
    since: float
    future: asyncio.Future[BatchResult[_Out]]


class Batcher(Generic[_In, _Out]):
    """Runs a function over batches of items, in a thread of its own. Use it from one event loop.

    Nothing has to be closed: without work it holds no task, and its thread goes when nobody knows it.

    Args:
        run: from 1 to `size` inputs to as many outputs; called in one thread.
        size: most items at a time.
        wait: seconds that the oldest item may wait for others while the function is busy anyway.
        telemetry: told of batches and of the queue's length.
    """

    def __init__(
        self, run: Callable[[Sequence[_In]], Sequence[_Out]], size: int, wait: float, telemetry: TelemetrySink
    ) -> None:
        self._run, self._size, self._wait, self._telemetry = run, size, wait, telemetry
        self._queue: deque[_QueuedItem[_In, _Out]] = deque()
        self._thread = compute_executor(1, "assay-inference")
        self._working = False
        self._pace = 0.0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def pace(self) -> float:
        """Seconds that an item takes at present; 0 before the first."""
        return self._pace

    async def submit(self, item: _In) -> BatchResult[_Out]:
        """Put an item in the queue and wait for its output.

        Raises:
            Exception: what the function raised for the batch.
        """
        future: asyncio.Future[BatchResult[_Out]] = asyncio.get_running_loop().create_future()
        self._queue.append(_QueuedItem(item, time.perf_counter(), future))
        self._telemetry.emit(QueueLengthChanged(len(self._queue)))
        if not self._working:
            self._working = True
            # Not at once: what is put in together shall go together.
            asyncio.get_running_loop().call_soon(self._next)
        return await future

    def _next(self) -> None:
        """Begin the next batch, if anything waits."""
        batch = self._take()
        if not batch:
            self._working = False
            return
        start = time.perf_counter()
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._thread, self._run, [one.item for one in batch])
        running.add_done_callback(lambda done: self._answer(batch, start, done))

    def _take(self) -> list[_QueuedItem[_In, _Out]]:
        batch: list[_QueuedItem[_In, _Out]] = []
        while self._queue and len(batch) < self._size:
            waiting = self._queue.popleft()
            if not waiting.future.done():
                batch.append(waiting)
        self._telemetry.emit(QueueLengthChanged(len(self._queue)))
        return batch

    def _answer(
        self, batch: list[_QueuedItem[_In, _Out]], start: float, running: asyncio.Future[Sequence[_Out]]
    ) -> None:
        """Hand out what came of a batch, and go on with the next."""
        took = time.perf_counter() - start
        error = running.exception()
        outputs: Sequence[_Out] = () if error is not None else running.result()
        for place, waiting in enumerate(batch):
            if waiting.future.done():
                continue
            if error is not None:
                waiting.future.set_exception(error)
            else:
                waiting.future.set_result(BatchResult(outputs[place], start - waiting.since, took))
        if error is None:
            each = took / len(batch)
            self._pace = each if self._pace == 0 else _SMOOTHING * each + (1 - _SMOOTHING) * self._pace
            self._telemetry.emit(BatchCompleted(len(batch)))
        asyncio.get_running_loop().call_later(self._patience(), self._next)

    def _patience(self) -> float:
        """Return for how many seconds more items may come, as long as the oldest may wait."""
        if not self._queue or len(self._queue) >= self._size:
            return 0.0
        return max(0.0, self._queue[0].since + self._wait - time.perf_counter())
