"""Circuit breaker and timeouts for calls to external stores such as Redis and MongoDB."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

_T = TypeVar("_T")


class CircuitBreaker:
    """Opens after consecutive failures; one trial is allowed after each pause, which grows with failed trials."""

    def __init__(
        self,
        *,
        failures: int = 3,
        pause: float = 1.0,
        max_pause: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open after `failures` consecutive failures; the pause, in seconds, doubles up to `max_pause`."""
        self._max_failures, self._first_pause, self._max_pause = failures, pause, max_pause
        self._clock = clock
        self._failures = 0
        self._pause = pause
        self._trial_at: float | None = None

    @property
    def open(self) -> bool:
        """Whether calls are skipped, except for trials."""
        return self._trial_at is not None

    @property
    def due(self) -> bool:
        """Whether `allows` would return True now."""
        return self._trial_at is None or self._clock() >= self._trial_at

    def allows(self) -> bool:
        """Return whether to call now. While open, one caller in each pause is allowed, as a trial for all."""
        if not self.due:
            return False
        if self.open:
            # No other caller is allowed during the trial; if it is cancelled, the next trial follows after a pause.
            self._trial_at = self._clock() + self._pause
        return True

    def succeeded(self) -> bool:
        """Record a success. Return whether that ended an outage."""
        ended = self.open
        self._failures, self._pause, self._trial_at = 0, self._first_pause, None
        return ended

    def failed(self) -> bool:
        """Record a failure. Return whether that began an outage."""
        self._failures += 1
        if self._failures < self._max_failures:
            return False
        began = not self.open
        if not began:
            self._pause = min(2 * self._pause, self._max_pause)
        self._trial_at = self._clock() + self._pause
        return began


class TimeoutRunner:
    """Runs operations that may hang; the caller continues after the timeout whatever the operation does.

    redis-py sometimes swallows a cancellation while it connects, so that `asyncio.timeout` may wait longer. Here
    every operation has its own task, which is abandoned and ends by the socket's own timeouts.
    """

    def __init__(self) -> None:
        self._abandoned: set[asyncio.Future[Any]] = set()

    async def run(self, operation: Callable[[], Awaitable[_T]], seconds: float) -> _T:
        """Return what an operation returns; raise `TimeoutError` after `seconds`."""
        task = asyncio.ensure_future(operation())
        try:
            done, _ = await asyncio.wait((task,), timeout=seconds)
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        if not done:
            self._abandon(task)
            raise TimeoutError
        return task.result()

    async def settle(self) -> None:
        """Wait for abandoned operations."""
        if self._abandoned:
            await asyncio.wait(self._abandoned)

    def _abandon(self, task: asyncio.Future[_T]) -> None:
        task.cancel()
        self._abandoned.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Future[_T]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not warn


def is_wrong_redis_type(error: Exception) -> bool:
    """Return whether a Redis command failed because its key holds another type of value, such as a list."""
    return str(error).startswith("WRONGTYPE")
