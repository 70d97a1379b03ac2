"""Where requests and nonces are counted: in Redis where its address is given, on this machine otherwise.

Knows nothing of keys.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assay.serving.auth.limits import Limiter
from assay.serving.auth.limits_local import LocalLimiter
from assay.serving.auth.nonces import LocalNonces, Nonces
from assay.serving.auth.nonces_file import NONCES_FILE, FileNonces
from assay.serving.auth.settings import LimitSettings
from assay.serving.watching.base import Watcher

if TYPE_CHECKING:
    from assay.serving.auth.redis_link import RedisLink


@dataclass(frozen=True, slots=True)
class Stores:
    """What remembers requests."""

    limiter: Limiter
    nonces: Nonces
    file: FileNonces
    link: "RedisLink | None" = None

    async def close(self) -> None:
        """Let go of connections."""
        self.file.close()
        if self.link is not None:
            await self.link.close()


def open_stores(
    settings: LimitSettings,
    watcher: Watcher,
    *,
    folder: Path,
    nonce_seconds: float,
    steady: Callable[[], float],
    wall: Callable[[], float],
) -> Stores:
    """Open what the settings name; connections are made when they are first needed.

    Args:
        settings: the limits.
        watcher: told when Redis goes away and when it is back.
        folder: of the keys, where their nonces are kept too.
        nonce_seconds: how long a nonce is remembered.
        steady: seconds that never go back.
        wall: seconds since 1970.

    Raises:
        UsageError: the address of Redis is none.
    """
    limiter = LocalLimiter(steady)
    file = FileNonces(folder / NONCES_FILE, LocalNonces(nonce_seconds, steady), nonce_seconds, wall)
    if settings.redis is None:
        return Stores(limiter, file, file)
    # redis-py takes a quarter of a second and 12 MB: only where it is used.
    from assay.serving.auth.limits_redis import SharedLimiter  # noqa: PLC0415
    from assay.serving.auth.nonces_redis import SharedNonces  # noqa: PLC0415
    from assay.serving.auth.redis_link import RedisLink  # noqa: PLC0415

    link = RedisLink(settings.redis.get_secret_value(), settings, watcher)
    shared = SharedLimiter(link, limiter, settings.lease_seconds)
    return Stores(shared, SharedNonces(link, file, nonce_seconds), file, link)
