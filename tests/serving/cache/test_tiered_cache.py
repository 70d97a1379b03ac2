"""A local and a shared cache combined."""

from typing import Any

import pytest

from assay.serving.cache.result_cache import MemoryCache, TieredCache, make_cache
from assay.serving.settings import CacheSettings

pytestmark = pytest.mark.anyio


async def test_hits_in_the_shared_cache_are_stored_locally(telemetry: Any):
    near, far = (MemoryCache(entries=10, size=10**6, ttl=60) for _ in range(2))
    tiers = TieredCache([near, far], telemetry)
    await far.put("photo", b"open")
    assert await tiers.get("photo") == b"open"
    assert await near.get("photo") == b"open"
    assert await tiers.get("other") is None
    assert telemetry.caches == ["hit", "miss"]


async def test_without_entries_and_redis_nothing_is_cached(telemetry: Any):
    cache = make_cache(CacheSettings(entries=0), telemetry)
    await cache.put("photo", b"open")
    assert await cache.get("photo") is None
    await cache.close()
    assert telemetry.caches == ["miss"]
