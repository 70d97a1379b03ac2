"""Near caches before far ones: what a far one knows is brought near, and hits and misses are told."""

from collections.abc import Sequence

from assay.serving.cache.base import Cache
from assay.serving.watching.base import Watcher


class Tiers:
    """Several caches as one. Answers never change under their key, so that no tier can be out of date."""

    def __init__(self, tiers: Sequence[Cache], watcher: Watcher) -> None:
        """Join caches.

        Args:
            tiers: nearest first; none at all: nothing is kept.
            watcher: told of every hit and miss.
        """
        self._tiers, self._watcher = tuple(tiers), watcher

    async def get(self, key: str) -> bytes | None:
        """Return what the nearest tier that knows `key` holds, or None."""
        for place, tier in enumerate(self._tiers):
            value = await tier.get(key)
            if value is not None:
                for nearer in self._tiers[:place]:
                    await nearer.put(key, value)
                self._watcher.cache("hit")
                return value
        self._watcher.cache("miss")
        return None

    async def put(self, key: str, value: bytes) -> None:
        """Keep `value` in every tier."""
        for tier in self._tiers:
            await tier.put(key, value)

    async def close(self) -> None:
        """Close every tier."""
        for tier in self._tiers:
            await tier.close()
