"""Dynamic batching of images from concurrent requests."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from assay.inference import EngineSetup
from assay.serving.compute_pool import ComputePool
from assay.serving.telemetry import BatchCompleted, QueueLengthChanged, TelemetrySink

_In = TypeVar("_In")
_Out = TypeVar("_Out")

_EFFICIENT_BATCH = 3
"""Images from which a larger batch hardly takes less time per image: ResNet-18 with int8 on an AMD Zen 5 takes 4.8 ms
for one image, 4.2 ms per image in batches of two and three, and 4.0 ms in batches of 4 to 16."""


@dataclass(frozen=True, slots=True)
class BatchResult(Generic[_Out]):
    """An output, with the seconds that its input waited and that its batch took."""

    output: _Out
    queue: float
    inference: float


@dataclass(slots=True)
class _QueuedItem(Generic[_In, _Out]):
    item: _In
    few: bool
    since: float
    future: asyncio.Future[BatchResult[_Out]]


class Batcher(Generic[_In, _Out]):
    """Runs functions over batches of items in the threads of a pool. Use it from one event loop.

    While few items are in progress, batches run one at a time with all CPU threads. While more are in progress than
    half of the CPU threads, batches run at the same time, each with the threads of one stream. A batch starts as soon
    as a stream and a thread of the pool are idle, with the items that arrived until then, divided among the idle
    streams. While the pool has other work for all its threads, items wait until they make an efficient batch. Items
    whose future was cancelled are skipped. There is no close method: no task exists while idle.

    Args:
        run: maps inputs to as many outputs with the threads of one stream; called by several threads.
        run_few: the same with all CPU threads; called by one thread at a time.
        setup: number of streams and threads, and the largest batch.
        pool: the threads, in which images are decoded too.
    """

    def __init__(
        self,
        run: Callable[[Sequence[_In]], Sequence[_Out]],
        run_few: Callable[[Sequence[_In]], Sequence[_Out]],
        setup: EngineSetup,
        pool: ComputePool,
        telemetry: TelemetrySink,
    ) -> None:
        self._run, self._run_few, self._setup, self._pool, self._telemetry = run, run_few, setup, pool, telemetry
        self._enough = min(_EFFICIENT_BATCH, setup.batch)
        self._queue: deque[_QueuedItem[_In, _Out]] = deque()
        self._scheduled = False
        self._running = 0
        self._running_few = False

    def __len__(self) -> int:
        return len(self._queue)

    async def submit(self, item: _In, in_progress: int = 1) -> BatchResult[_Out]:
        """Queue an item and wait for its output; raise what the function raised for the batch.

        `in_progress` is the number of items that are processed now, in any way, this one included.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[BatchResult[_Out]] = loop.create_future()
        few = self._setup.streams == 1 or 2 * in_progress <= self._setup.threads
        self._queue.append(_QueuedItem(item, few, time.perf_counter(), future))
        self._telemetry.emit(QueueLengthChanged(len(self._queue)))
        if not self._scheduled:
            self._scheduled = True
            # In the loop's next iteration, so that items submitted together share a batch.
            loop.call_soon(self._start_batches)
        return await future

    def _start_batches(self) -> None:
        self._scheduled = False
        while self._queue and self._may_start(few := self._queue[0].few):
            batch = self._next_batch(few)
            self._telemetry.emit(QueueLengthChanged(len(self._queue)))
            if not batch:
                continue
            start = time.perf_counter()
            run, items = self._run_few if few else self._run, [queued.item for queued in batch]
            self._running += not few
            self._running_few |= few
            running = self._pool.submit(partial(run, items), urgent=True)
            running.add_done_callback(partial(self._finish_batch, batch, start, few))

    def _may_start(self, few: bool) -> bool:
        if self._running_few if few else self._running == self._setup.streams:
            return False
        if len(self._queue) < self._enough and self._pool.full:
            self._pool.call_when_not_full(self._start_batches)
            return False
        return True

    def _next_batch(self, few: bool) -> list[_QueuedItem[_In, _Out]]:
        """Take a share of the items for each idle stream, or an efficient batch if all threads have work."""
        idle = 1 if few else self._setup.streams - self._running
        share = -(-len(self._queue) // idle)
        size = min(self._setup.batch, max(share, self._enough if self._pool.full else 1))
        batch: list[_QueuedItem[_In, _Out]] = []
        while self._queue and len(batch) < size:
            queued = self._queue.popleft()
            if not queued.future.done():
                batch.append(queued)
        return batch

    def _finish_batch(
        self, batch: list[_QueuedItem[_In, _Out]], start: float, few: bool, running: asyncio.Future[Sequence[_Out]]
    ) -> None:
        """Set the futures of a batch, and start the next ones."""
        if few:
            self._running_few = False
        else:
            self._running -= 1
        seconds = time.perf_counter() - start
        error = None if running.cancelled() else running.exception()
        outputs: Sequence[_Out] = () if error is not None or running.cancelled() else running.result()
        for index, queued in enumerate(batch):
            if queued.future.done():
                continue
            if running.cancelled():
                queued.future.cancel()
            elif error is not None:
                queued.future.set_exception(error)
            else:
                queued.future.set_result(BatchResult(outputs[index], start - queued.since, seconds))
        if outputs:
            self._telemetry.emit(BatchCompleted(len(batch)))
        self._start_batches()
