"""A Redis client with a timeout and a circuit breaker, which reconnects in the background."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from assay.core.errors import UsageError
from assay.serving.auth.settings import RateLimitSettings
from assay.serving.resilience import CircuitBreaker, TimeoutRunner, is_wrong_redis_type
from assay.serving.telemetry import CorruptValueFound, DependencyStatus, TelemetrySink

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_FAILURES = (RedisError, OSError)  # TimeoutError is an OSError
_PROBE_TIMEOUT = 1.0
"""Seconds that the look for Redis may take."""


class ReconnectingRedis:
    """Redis, or nothing while it is away."""

    def __init__(self, url: str, settings: RateLimitSettings, telemetry: TelemetrySink) -> None:
        """Connect when first asked.

        Args:
            url: redis://, rediss:// or unix://.
            settings: how long to wait, how often to look.
            telemetry: told when Redis goes away and when it is back.

        Raises:
            UsageError: the address is none.
        """
        try:
            # No retries: a nonce that Redis has already seen must not be shown to it again.
            self.redis = Redis.from_url(
                url,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=_PROBE_TIMEOUT,
                socket_connect_timeout=_PROBE_TIMEOUT,
            )
        except ValueError:
            # Its own words may repeat the password.
            raise UsageError("the address of Redis is none; give redis://HOST:PORT") from None
        self._seconds, self._telemetry = settings.redis_timeout, telemetry
        self._breaker = CircuitBreaker(pause=settings.retry_interval, max_pause=settings.retry_interval)
        self._probe: Callable[[], Awaitable[object]] = self.redis.ping
        self._in_time = TimeoutRunner()
        self._looking: asyncio.Task[None] | None = None

    def look_with(self, probe: Callable[[], Awaitable[object]]) -> None:
        """Set what shows that Redis works; else a ping."""
        self._probe = probe

    async def ask(self, operation: Callable[[], Awaitable[_T]]) -> _T | None:
        """Return the result of an operation; none where Redis is away or too slow."""
        if self._breaker.open:
            if self._breaker.allows():
                self._looking = asyncio.create_task(self._look())
            return None
        try:
            result = await self._in_time.run(operation, self._seconds)
        except _FAILURES as error:
            if isinstance(error, ResponseError) and is_wrong_redis_type(error):
                return None  # Redis is there; whoever asks next for this key replaces it
            self._failed()
            return None
        self._breaker.succeeded()
        return result

    def damaged(self, part: str, count: int = 1) -> None:
        """Count values that were not what a server had written."""
        for _ in range(count):
            self._telemetry.emit(CorruptValueFound(part))

    async def close(self) -> None:
        """Close the connections."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._in_time.settle()
        await self.redis.aclose()

    def _failed(self) -> None:
        if self._breaker.failed():
            _log.warning("Redis is away; this process counts by itself")
            self._telemetry.emit(DependencyStatus("limits", up=False))

    async def _look(self) -> None:
        try:
            await self._in_time.run(self._probe, _PROBE_TIMEOUT)
        except _FAILURES:
            self._breaker.failed()
            return
        if self._breaker.succeeded():
            _log.warning("Redis is back")
            self._telemetry.emit(DependencyStatus("limits", up=True))
