"""A circuit breaker around a Redis that may be away: requests go on without it.

Knows nothing of what Redis is asked. While it is away no request waits for it: a task in the background looks
for it until it is back. A connection that is refused or lost opens the breaker at once; slow answers do so
when several come in a row, since one can be this process's own stall.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.exceptions import RedisError

T = TypeVar("T")
_log = logging.getLogger(__name__)
_FAILURES = (RedisError, OSError, TimeoutError)
_AWAY = True
_SLOW_IN_A_ROW = 3
_PATIENCE = 1.0
"""Seconds that the look for Redis may take: a connection with TLS is slower than an answer."""


class Breaker:
    """Lets operations through while the other side answers."""

    def __init__(
        self,
        probe: Callable[[], Awaitable[object]],
        on_change: Callable[[bool], None],
        *,
        seconds: float,
        retry_seconds: float,
    ) -> None:
        """Start closed, as if the other side were there.

        Args:
            probe: an operation that shows whether the other side works.
            on_change: told true when it goes away, false when it is back.
            seconds: how long an operation may take.
            retry_seconds: between two looks for it.
        """
        self._probe, self._on_change = probe, on_change
        self._seconds, self._retry_seconds = seconds, retry_seconds
        self._slow = 0
        self._search: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether the other side is away."""
        return self._search is not None

    async def start(self) -> None:
        """Look for the other side once, so that the first request does not wait for a connection."""
        if not await self._works():
            self._trip()

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T | None:
        """Return the result of an operation; none where the other side is away or too slow."""
        if self.open:
            return None
        try:
            async with asyncio.timeout(self._seconds):
                result = await operation()
        except TimeoutError:
            self._slow += 1
            if self._slow >= _SLOW_IN_A_ROW:
                self._trip()
            return None
        except _FAILURES:
            self._trip()
            return None
        self._slow = 0
        return result

    async def close(self) -> None:
        """Stop looking."""
        if self._search is not None:
            self._search.cancel()
            await asyncio.gather(self._search, return_exceptions=True)

    def _trip(self) -> None:
        # Requests that were under way together fail together; the first one has told it.
        if self._search is None:
            _log.warning("Redis is away; this process goes on by itself")
            self._search = asyncio.create_task(self._find())
            self._on_change(_AWAY)

    async def _find(self) -> None:
        while True:
            await asyncio.sleep(self._retry_seconds)
            if await self._works():
                break
        self._slow, self._search = 0, None
        _log.warning("Redis is back")
        self._on_change(not _AWAY)

    async def _works(self) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._probe()
        except _FAILURES:
            return False
        return True
