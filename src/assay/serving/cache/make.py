"""The cache that the settings ask for."""

from importlib import import_module
from typing import TYPE_CHECKING

from assay.serving.cache.base import Cache
from assay.serving.cache.memory import MemoryCache
from assay.serving.cache.settings import CacheSettings
from assay.serving.cache.tiers import Tiers
from assay.serving.watching.base import Watcher

if TYPE_CHECKING:
    from assay.serving.cache.redis import RedisCache

_MIB = 2**20


def make_cache(settings: CacheSettings, watcher: Watcher) -> Cache:
    """Return a cache in process, before Redis where an address is given.

    Args:
        settings: bounds and addresses.
        watcher: told of hits, misses and outages.

    Raises:
        UsageError: the address of Redis is none.
    """
    tiers: list[Cache] = []
    if settings.entries:
        size = round(settings.megabytes * _MIB)
        tiers.append(MemoryCache(entries=settings.entries, size=size, ttl=settings.ttl))
    if settings.redis is not None:
        # Its import costs a quarter of a second and 12 MB.
        kind: type[RedisCache] = import_module("assay.serving.cache.redis").RedisCache
        tiers.append(kind(settings.redis, ttl=settings.ttl, timeout=settings.timeout, watcher=watcher))
    return Tiers(tiers, watcher)
