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
"""Seconds; longer than a request waits, since connecting takes longer than a command, above all with TLS."""


class ReconnectingRedis:
    """A Redis that may be unavailable. Meanwhile requests do not wait for it: a background task tries to reconnect."""

    def __init__(self, url: str, settings: RateLimitSettings, telemetry: TelemetrySink) -> None:
        """Connect to redis://, rediss:// or unix:// on first use; raise `UsageError` if the URL is invalid."""
        try:
            # No retries: a nonce that Redis has seen must not be sent again.
            self.redis = Redis.from_url(
                url,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=_PROBE_TIMEOUT,
                socket_connect_timeout=_PROBE_TIMEOUT,
            )
        except ValueError:
            # The original message may contain the password.
            raise UsageError("the URL of Redis is invalid; give redis://HOST:PORT") from None
        self._timeout, self._telemetry = settings.redis_timeout, telemetry
        self._breaker = CircuitBreaker(pause=settings.retry_interval, max_pause=settings.retry_interval)
        self._probe: Callable[[], Awaitable[object]] = self.redis.ping
        self._timeouts = TimeoutRunner()
        self._probing: asyncio.Task[None] | None = None

    def set_probe(self, probe: Callable[[], Awaitable[object]]) -> None:
        """Set the operation that checks whether Redis works, instead of a ping."""
        self._probe = probe

    async def run(self, operation: Callable[[], Awaitable[_T]]) -> _T | None:
        """Return the result of an operation; None if Redis is unavailable or too slow."""
        if self._breaker.open:
            if self._breaker.allows():
                self._probing = asyncio.create_task(self._reconnect())
            return None
        try:
            result = await self._timeouts.run(operation, self._timeout)
        except _FAILURES as error:
            if isinstance(error, ResponseError) and is_wrong_redis_type(error):
                return None  # Redis works; the next write replaces this value
            self._failed()
            return None
        self._breaker.succeeded()
        return result

    def report_corrupt(self, store: str, count: int = 1) -> None:
        """Report corrupt values."""
        for _ in range(count):
            self._telemetry.emit(CorruptValueFound(store))

    async def close(self) -> None:
        """Close the connections."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        await self._timeouts.settle()
        await self.redis.aclose()

    def _failed(self) -> None:
        if self._breaker.failed():
            _log.warning("Redis is unavailable; limits are counted in this process")
            self._telemetry.emit(DependencyStatus("limits", up=False))

    async def _reconnect(self) -> None:
        try:
            await self._timeouts.run(self._probe, _PROBE_TIMEOUT)
        except _FAILURES:
            self._breaker.failed()
            return
        if self._breaker.succeeded():
            _log.warning("Redis is available again")
            self._telemetry.emit(DependencyStatus("limits", up=True))
