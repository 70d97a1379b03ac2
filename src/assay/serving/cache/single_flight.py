"""Compute a value once for concurrent callers that ask for the same key."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


@dataclass(slots=True)
class _Flight(Generic[_T]):
    task: asyncio.Task[_T]
    waiting: int = 0


class SingleFlight(Generic[_T]):
    """Joins callers that ask for the same key at the same time. For one event loop."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[_T]] = {}

    def __contains__(self, key: str) -> bool:
        """Whether somebody works on `key` now, so that `run` would join."""
        return key in self._flights

    async def run(self, key: str, compute: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Return what `compute` returns, called once for all who wait for `key` now.

        An error goes to all of them, and nobody who comes later. The work belongs to no caller: one who is
        cancelled leaves the others waiting, and only when the last has left is the work cancelled too. So a
        caller's own deadline goes around this call, not into `compute`.

        Args:
            key: what is asked.
            compute: makes the work; not called when somebody works on `key` already.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.create_task(compute()))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda _: self._landed(key, flight))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                # Whoever comes from now on must not join work that is being cancelled.
                self._landed(key, flight)
                flight.task.cancel()

    def _landed(self, key: str, flight: _Flight[_T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if flight.task.done() and not flight.task.cancelled():
            flight.task.exception()  # looked at, so that Python does not warn when all who waited have left
