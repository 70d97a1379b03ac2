"""Cache results in Redis, shared by all processes and machines, with checksums, a timeout and a circuit breaker."""

import logging
import math
from collections.abc import Awaitable, Callable
from hashlib import blake2b

from pydantic import SecretStr
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from assay.core.errors import UsageError
from assay.serving.resilience import CircuitBreaker, TimeoutRunner, is_wrong_redis_type
from assay.serving.telemetry import CacheRequested, CorruptValueFound, DependencyStatus, TelemetrySink

_log = logging.getLogger(__name__)
_DIGEST_BYTES = 16
_MAX_VALUE_BYTES = 2**20
"""Maximum bytes of a value, including its digest; longer values are neither stored nor read."""


class RedisCache:
    """A cache in Redis."""

    def __init__(
        self,
        address: SecretStr,
        *,
        ttl: float,
        timeout: float,
        telemetry: TelemetrySink,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        """Connect on first use.

        Args:
            address: redis://, rediss:// or unix://.
            ttl: seconds that a result is kept.
            timeout: seconds that one call may take, including connecting.
            telemetry: receives the status of Redis.
            breaker: decides when Redis is not called.

        Raises:
            UsageError: the address is invalid.
        """
        try:
            # One connection per concurrent request, whose number the app limits. BlockingConnectionPool hangs if
            # many waiting callers are cancelled at once.
            pool = ConnectionPool.from_url(
                address.get_secret_value(),
                protocol=2,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                # Connections from before a restart are dead: each is opened anew once.
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError:
            # The library's text may hold a part of the password.
            raise UsageError(
                "the cache's address is none that Redis has; give redis://HOST:PORT, rediss:// or unix://"
            ) from None
        self._redis = Redis(connection_pool=pool)
        self._milliseconds = max(1, math.ceil(1000 * ttl))
        self._timeout, self._telemetry, self._breaker = timeout, telemetry, breaker or CircuitBreaker()
        self._in_time = TimeoutRunner()

    async def get(self, key: str) -> bytes | None:
        """Return the value of `key`; None if there is none, or Redis does not respond in time."""
        found = await self._run(lambda: self._read(key))
        if not isinstance(found, bytes) or not found:
            return None
        if len(found) > _MAX_VALUE_BYTES or found[:_DIGEST_BYTES] != _digest(key, found[_DIGEST_BYTES:]):
            self._telemetry.emit(CorruptValueFound("cache"))
            return None
        return found[_DIGEST_BYTES:]

    async def put(self, key: str, value: bytes) -> None:
        """Store `value`, unless it is too long or Redis does not respond in time."""
        kept = _digest(key, value) + value
        if len(kept) <= _MAX_VALUE_BYTES:
            await self._run(lambda: self._redis.set(key, kept, px=self._milliseconds))

    async def _read(self, key: str) -> object:
        try:
            # Longer values were not written by Assay; they are not fetched completely.
            return await self._redis.getrange(key, 0, _MAX_VALUE_BYTES)
        except ResponseError as error:
            if not is_wrong_redis_type(error):
                raise
            self._telemetry.emit(CorruptValueFound("cache"))
            return None

    async def close(self) -> None:
        """Close the connections."""
        await self._in_time.settle()
        await self._redis.aclose(close_connection_pool=True)

    async def _run(self, command: Callable[[], Awaitable[object]]) -> object:
        if not self._breaker.allows():
            self._telemetry.emit(CacheRequested("unavailable"))
            return None
        try:
            answer = await self._in_time.run(command, self._timeout)
        except (RedisError, OSError):  # TimeoutError is an OSError
            self._telemetry.emit(CacheRequested("unavailable"))
            if self._breaker.failed():
                _log.warning("Redis is unavailable; results are cached in this process only")
                self._telemetry.emit(DependencyStatus("cache", up=False))
            return None
        if self._breaker.succeeded():
            _log.warning("Redis is available again")
            self._telemetry.emit(DependencyStatus("cache", up=True))
        return answer


def _digest(key: str, value: bytes) -> bytes:
    return blake2b(value, digest_size=_DIGEST_BYTES, key=blake2b(key.encode()).digest()).digest()
