"""Near and far caches as one."""

from typing import Any

import pytest

from assay.serving.cache.result_cache import MemoryCache, TieredCache, make_cache
from assay.serving.settings import CacheSettings

pytestmark = pytest.mark.anyio


async def test_what_the_far_one_knows_is_brought_near(heard: Any):
    near, far = (MemoryCache(entries=10, size=10**6, ttl=60) for _ in range(2))
    tiers = TieredCache([near, far], heard)
    await far.put("photo", b"open")
    assert await tiers.get("photo") == b"open"
    assert await near.get("photo") == b"open"
    assert await tiers.get("other") is None
    assert heard.caches == ["hit", "miss"]


async def test_without_entries_and_redis_nothing_is_kept(heard: Any):
    cache = make_cache(CacheSettings(entries=0), heard)
    await cache.put("photo", b"open")
    assert await cache.get("photo") is None
    await cache.close()
    assert heard.caches == ["miss"]
