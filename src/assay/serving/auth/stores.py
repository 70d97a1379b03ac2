"""Where requests and nonces are counted: in Redis where its address is given, in this process otherwise.

Knows nothing of keys.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.serving.auth.limits import Limiter
from assay.serving.auth.limits_local import LocalLimiter
from assay.serving.auth.nonces import LocalNonces, Nonces
from assay.serving.auth.settings import LimitSettings
from assay.serving.watching.base import Watcher

if TYPE_CHECKING:
    from assay.serving.auth.redis_link import RedisLink


@dataclass(frozen=True, slots=True)
class Stores:
    """What remembers requests."""

    limiter: Limiter
    nonces: Nonces
    link: "RedisLink | None" = None

    async def close(self) -> None:
        """Let go of connections."""
        if self.link is not None:
            await self.link.close()


def open_stores(
    settings: LimitSettings, watcher: Watcher, *, nonce_seconds: float, clock: Callable[[], float]
) -> Stores:
    """Open what the settings name; connections are made when they are first needed.

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
    # redis-py takes a quarter of a second and 12 MB: only where it is used.
    from assay.serving.auth.limits_redis import SharedLimiter  # noqa: PLC0415
    from assay.serving.auth.nonces_redis import SharedNonces  # noqa: PLC0415
    from assay.serving.auth.redis_link import RedisLink  # noqa: PLC0415

    link = RedisLink(settings.redis.get_secret_value(), settings, watcher)
    shared = SharedLimiter(link, limiter, settings.lease_seconds)
    return Stores(shared, SharedNonces(link, nonces, nonce_seconds), link)
