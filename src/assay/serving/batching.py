"""Photos of many requests go through the network together.

While the network is busy, photos gather; when it is idle, the first one starts at once. Photos whose request
was given up (a cancelled future) never reach the network. Knows nothing of HTTP, and of networks only a
function.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from assay.serving.threads import calculating
from assay.serving.watching.base import Watcher

_In = TypeVar("_In")
_Out = TypeVar("_Out")

_SMOOTHING = 0.2
"""Weight of the newest batch in the measured pace."""


@dataclass(frozen=True, slots=True)
class Timed(Generic[_Out]):
    """An output, and how long its input waited and was worked on, in seconds."""

    output: _Out
    queue: float
    inference: float


@dataclass(slots=True)
class _Waiting(Generic[_In, _Out]):
    item: _In
    since: float
    future: asyncio.Future[Timed[_Out]]


class Batcher(Generic[_In, _Out]):
    """Runs a function over batches of items, in a thread of its own. Use it from one event loop.

    Nothing has to be closed: without work it holds no task, and its thread goes when nobody knows it.

    Args:
        run: from 1 to `size` inputs to as many outputs; called in one thread.
        size: most items at a time.
        wait: seconds that the oldest item may wait for others while the function is busy anyway.
        watcher: told of batches and of the queue's length.
    """

    def __init__(
        self, run: Callable[[Sequence[_In]], Sequence[_Out]], size: int, wait: float, watcher: Watcher
    ) -> None:
        self._run, self._size, self._wait, self._watcher = run, size, wait, watcher
        self._queue: deque[_Waiting[_In, _Out]] = deque()
        self._thread = calculating(1, "assay-inference")
        self._working = False
        self._pace = 0.0

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def pace(self) -> float:
        """Seconds that an item takes at present; 0 before the first."""
        return self._pace

    async def submit(self, item: _In) -> Timed[_Out]:
        """Put an item in the queue and wait for its output.

        Raises:
            Exception: what the function raised for the batch.
        """
        future: asyncio.Future[Timed[_Out]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(item, time.perf_counter(), future))
        self._watcher.queue_length(len(self._queue))
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

    def _take(self) -> list[_Waiting[_In, _Out]]:
        batch: list[_Waiting[_In, _Out]] = []
        while self._queue and len(batch) < self._size:
            waiting = self._queue.popleft()
            if not waiting.future.done():
                batch.append(waiting)
        self._watcher.queue_length(len(self._queue))
        return batch

    def _answer(
        self, batch: list[_Waiting[_In, _Out]], start: float, running: asyncio.Future[Sequence[_Out]]
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
                waiting.future.set_result(Timed(outputs[place], start - waiting.since, took))
        if error is None:
            each = took / len(batch)
            self._pace = each if self._pace == 0 else _SMOOTHING * each + (1 - _SMOOTHING) * self._pace
            self._watcher.batch(len(batch))
        asyncio.get_running_loop().call_later(self._patience(), self._next)

    def _patience(self) -> float:
        """Return for how many seconds more items may come, as long as the oldest may wait."""
        if not self._queue or len(self._queue) >= self._size:
            return 0.0
        return max(0.0, self._queue[0].since + self._wait - time.perf_counter())
