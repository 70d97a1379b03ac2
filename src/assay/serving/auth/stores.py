"""Where requests and nonces are counted: in Redis where its address is given, in this process otherwise.

Knows nothing of keys. One connection pool and one breaker serve both, so that Redis is found to be away once.
"""

from collections.abc import Callable
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from assay.errors import UsageError
from assay.serving.auth.breaker import Breaker
from assay.serving.auth.limits import Limiter
from assay.serving.auth.limits_local import LocalLimiter
from assay.serving.auth.limits_redis import RedisLimits, SharedLimiter
from assay.serving.auth.nonces import LocalNonces, Nonces, SharedNonces
from assay.serving.auth.settings import LimitSettings
from assay.serving.watching.base import Watcher


@dataclass(frozen=True, slots=True)
class Stores:
    """What remembers requests."""

    limiter: Limiter
    nonces: Nonces
    breaker: Breaker | None = None
    redis: Redis | None = None

    async def close(self) -> None:
        """Let go of connections."""
        if self.breaker is not None:
            await self.breaker.close()
        if self.redis is not None:
            await self.redis.aclose()


async def open_stores(
    settings: LimitSettings, watcher: Watcher, *, nonce_seconds: float, clock: Callable[[], float]
) -> Stores:
    """Open what the settings name; a Redis that is away is looked for in the background.

    Args:
        settings: the limits.
        watcher: told when Redis goes away and when it is back.
        nonce_seconds: how long a nonce is remembered.
        clock: seconds that never go back.

    Raises:
        UsageError: the address of Redis is none.
    """
    limiter, nonces = LocalLimiter(clock), LocalNonces(nonce_seconds, clock)
    if settings.redis is None:
        return Stores(limiter, nonces)
    redis = _connect(settings.redis.get_secret_value())
    counts = RedisLimits(redis, settings.lease_seconds)

    def tell(down: bool) -> None:
        watcher.degraded("limits", down=down)

    breaker = Breaker(
        counts.probe, tell, seconds=settings.redis_seconds, retry_seconds=settings.retry_seconds
    )
    await breaker.start()
    shared = SharedLimiter(counts, limiter, breaker)
    return Stores(shared, SharedNonces(redis, nonces, breaker, nonce_seconds), breaker, redis)


def _connect(url: str) -> Redis:
    # No retries: a request does not wait, and the breaker looks again.
    try:
        return Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0))
    except ValueError:
        raise UsageError(
            "the address of Redis is none; give redis://host:6379/0 or rediss://host:6379/0"
        ) from None
