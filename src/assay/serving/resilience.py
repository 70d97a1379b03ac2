"""Circuit breaker and timeouts for calls to external stores such as Redis and MongoDB."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar


class CircuitBreaker:
    """Closed while all is well; open after failures in a row, with one trial each pause, ever longer."""

    def __init__(
        self,
        *,
        failures: int = 3,
        pause: float = 1.0,
        longest: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the patience.

        Args:
            failures: so many in a row open it.
            pause: seconds until the first trial; doubled with every trial that fails.
            longest: seconds between trials at most.
            clock: seconds that never go back.
        """
        self._patience, self._first, self._longest, self._clock = failures, pause, longest, clock
        self._failures = 0
        self._pause = pause
        self._trial_at: float | None = None

    @property
    def open(self) -> bool:
        """Whether the part is being left alone."""
        return self._trial_at is not None

    @property
    def due(self) -> bool:
        """Whether `allows` would let a caller through now."""
        return self._trial_at is None or self._clock() >= self._trial_at

    def allows(self) -> bool:
        """Return whether to ask now. While open, one caller a pause is let through: it tries for all."""
        if not self.due:
            return False
        if self.open:
            # Until its outcome is known nobody else tries; a trial that is cancelled is followed by the next.
            self._trial_at = self._clock() + self._pause
        return True

    def succeeded(self) -> bool:
        """Take note of an answer. Return whether that ended an outage."""
        ended = self.open
        self._failures, self._pause, self._trial_at = 0, self._first, None
        return ended

    def failed(self) -> bool:
        """Take note of a failure. Return whether that began an outage."""
        self._failures += 1
        if self._failures < self._patience:
            return False
        began = not self.open
        if not began:
            self._pause = min(2 * self._pause, self._longest)
        self._trial_at = self._clock() + self._pause
        return began


T = TypeVar("T")


class TimeoutRunner:
    """Runs operations that may hang; whoever waits goes on at the end of the time, whatever they do.

    redis-py swallows a cancellation now and then while it connects, so that `asyncio.timeout` may wait on.
    Here every operation has a task of its own, which is left to end by itself: sockets' own timeouts see to
    that.
    """

    def __init__(self) -> None:
        """Begin with nothing left behind."""
        self._late: set[asyncio.Future[Any]] = set()

    async def run(self, operation: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Return what an operation returns.

        Raises:
            TimeoutError: it takes longer.
        """
        task = asyncio.ensure_future(operation())
        try:
            done, _ = await asyncio.wait((task,), timeout=seconds)
        except asyncio.CancelledError:
            self._leave(task)
            raise
        if not done:
            self._leave(task)
            raise TimeoutError
        return task.result()

    async def settle(self) -> None:
        """Wait for what was left behind."""
        if self._late:
            await asyncio.wait(self._late)

    def _leave(self, task: asyncio.Future[T]) -> None:
        task.cancel()
        self._late.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Future[T]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that Python does not warn


def is_wrong_redis_type(error: Exception) -> bool:
    """Return whether a Redis command failed because its key holds another type of value, such as a list."""
    return str(error).startswith("WRONGTYPE")
