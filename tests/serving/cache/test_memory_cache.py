"""The in-memory cache and its limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.serving.cache.result_cache import MemoryCache

pytestmark = pytest.mark.anyio


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_least_recently_used_entry_is_evicted_first():
    cache = MemoryCache(entries=2, size=10**6, ttl=60)
    await cache.put("a", b"1")
    await cache.put("b", b"2")
    await cache.get("a")
    await cache.put("c", b"3")
    assert [await cache.get(key) for key in "abc"] == [b"1", None, b"3"]


async def test_entries_expire_after_their_ttl():
    clock = Clock()
    cache = MemoryCache(entries=2, size=10**6, ttl=60, clock=clock)
    await cache.put("a", b"1")
    clock.now = 59.9
    assert await cache.get("a") == b"1"
    clock.now = 60
    assert await cache.get("a") is None
    assert (len(cache), cache.used) == (0, 0)


async def test_oversized_value_is_not_stored_and_evicts_nothing():
    cache = MemoryCache(entries=10, size=1000, ttl=60)
    await cache.put("a", b"1")
    await cache.put("b", bytes(1000))
    assert await cache.get("a") == b"1"
    assert await cache.get("b") is None
    await cache.put("a", bytes(1000))
    assert await cache.get("a") is None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 900)), max_size=60))
async def test_limits_hold_for_any_sequence(puts: list[tuple[int, int]]):
    cache = MemoryCache(entries=4, size=2000, ttl=60)
    for key, length in puts:
        await cache.put(str(key), bytes(length))
        assert len(cache) <= 4
        assert cache.used <= 2000
    await cache.close()
    assert (len(cache), cache.used) == (0, 0)
