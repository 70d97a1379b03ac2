"""Waiting for a store no longer than a request may. Knows nothing of what the store is asked."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


class InTime:
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
