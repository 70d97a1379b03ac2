"""Answers kept in Redis, shared by all processes and machines.

A Redis that is away costs a request a short wait at most, and after a few failures nothing: then it is left
alone and tried again now and then, so that it comes back by itself.

Every value begins with a digest of its key and content. A value whose digest is wrong, or that is no string
or too long, is damaged: a miss, which is counted, and replaced by the answer that is then worked out.
"""

import logging
import math
from collections.abc import Awaitable, Callable
from hashlib import blake2b

from pydantic import SecretStr
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from assay.errors import UsageError
from assay.serving.breaker import Breaker
from assay.serving.in_time import InTime
from assay.serving.redis_values import is_wrong_type
from assay.serving.watching.base import Watcher

_log = logging.getLogger(__name__)
_DIGEST = 16
_LONGEST = 2**20
"""Bytes of a value at most, its digest included; longer answers are not kept, longer values not read."""


class RedisCache:
    """A cache in Redis."""

    def __init__(
        self,
        address: SecretStr,
        *,
        ttl: float,
        timeout: float,
        watcher: Watcher,
        breaker: Breaker | None = None,
    ) -> None:
        """Connect when first asked.

        Args:
            address: redis://, rediss:// or unix://.
            ttl: seconds that an answer is kept.
            timeout: seconds that one call may take, connecting included.
            watcher: told when Redis is away and when it is back.
            breaker: decides when Redis is left alone.

        Raises:
            UsageError: the address is none.
        """
        try:
            # As many connections as requests at a time, which the app bounds; the pool that makes callers
            # wait for one hangs when many of them give up at once.
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
        self._timeout, self._watcher, self._breaker = timeout, watcher, breaker or Breaker()
        self._in_time = InTime()

    async def get(self, key: str) -> bytes | None:
        """Return what was put under `key`, or None; None too when Redis does not answer in time."""
        found = await self._ask(lambda: self._read(key))
        if not isinstance(found, bytes) or not found:
            return None
        if len(found) > _LONGEST or found[:_DIGEST] != _digest(key, found[_DIGEST:]):
            self._watcher.damaged("cache")
            return None
        return found[_DIGEST:]

    async def put(self, key: str, value: bytes) -> None:
        """Keep `value`, unless it is too long or Redis does not answer in time."""
        kept = _digest(key, value) + value
        if len(kept) <= _LONGEST:
            await self._ask(lambda: self._redis.set(key, kept, px=self._milliseconds))

    async def _read(self, key: str) -> object:
        try:
            # A longer value, which is none of ours, is not fetched as a whole.
            return await self._redis.getrange(key, 0, _LONGEST)
        except ResponseError as error:
            if not is_wrong_type(error):
                raise
            self._watcher.damaged("cache")
            return None

    async def close(self) -> None:
        """Close the connections."""
        await self._in_time.settle()
        await self._redis.aclose(close_connection_pool=True)

    async def _ask(self, command: Callable[[], Awaitable[object]]) -> object:
        if not self._breaker.allows():
            self._watcher.cache("unavailable")
            return None
        try:
            answer = await self._in_time.run(command, self._timeout)
        except (RedisError, OSError):  # TimeoutError is an OSError
            self._watcher.cache("unavailable")
            if self._breaker.failed():
                _log.warning("Redis is away; answers are kept in this process alone")
                self._watcher.degraded("cache", down=True)
            return None
        if self._breaker.succeeded():
            _log.warning("Redis is back; answers are kept there again")
            self._watcher.degraded("cache", down=False)
        return answer


def _digest(key: str, value: bytes) -> bytes:
    return blake2b(value, digest_size=_DIGEST, key=blake2b(key.encode()).digest()).digest()
