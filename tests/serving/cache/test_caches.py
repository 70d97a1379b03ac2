"""Behaviour that all caches share."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from assay.serving.cache.redis_cache import RedisCache
from assay.serving.cache.result_cache import Cache, MemoryCache, TieredCache, make_cache
from assay.serving.settings import CacheSettings

pytestmark = pytest.mark.anyio

_PATIENT = 5.0  # seconds; a busy machine is no outage


@pytest.fixture(params=["memory", "redis", "tiers", "made"])
async def cache(request: pytest.FixtureRequest, telemetry: Any) -> AsyncIterator[Cache]:
    near = MemoryCache(entries=100, size=10**6, ttl=60)
    made: Cache = near
    if request.param != "memory":
        address = SecretStr(request.getfixturevalue("redis_server").url)
        far = RedisCache(address, ttl=60, timeout=_PATIENT, telemetry=telemetry)
        made = far if request.param == "redis" else TieredCache([near, far], telemetry)
        if request.param == "made":
            made = make_cache(CacheSettings(redis=address, timeout=1), telemetry)
    yield made
    await made.close()


@pytest.fixture
def key() -> str:
    return uuid4().hex


async def test_only_stored_keys_are_found(cache: Cache, key: str):
    assert await cache.get(key) is None
    await cache.put(key, b"answer")
    assert await cache.get(key) == b"answer"
    assert await cache.get(key + "x") is None


async def test_a_second_put_replaces_the_first(cache: Cache, key: str):
    await cache.put(key, b"one")
    await cache.put(key, b"two")
    assert await cache.get(key) == b"two"


@pytest.mark.parametrize("value", [b"", bytes(range(256)), b"\r\n$-1\r\n", b"x" * 100_000], ids=len)
async def test_arbitrary_bytes_are_returned_unchanged(cache: Cache, key: str, value: bytes):
    await cache.put(key, value)
    assert await cache.get(key) == value


async def test_concurrent_reads_get_their_own_values(cache: Cache, key: str):
    async def put_and_get(number: int) -> bytes | None:
        await cache.put(f"{key}{number}", b"%d" % number)
        return await cache.get(f"{key}{number}")

    assert await asyncio.gather(*map(put_and_get, range(90))) == [b"%d" % number for number in range(90)]


async def test_cancelled_read_does_not_mix_up_other_replies(cache: Cache, key: str):
    for number in range(20):
        await cache.put(f"{key}{number}", b"%d" % number)
    for number in range(20):
        left = asyncio.create_task(cache.get(f"{key}{number}"))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        assert await cache.get(f"{key}{19 - number}") == b"%d" % (19 - number)


async def test_entries_expire(key: str, telemetry: Any, redis_server: Any):
    far = RedisCache(SecretStr(redis_server.url), ttl=0.001, timeout=_PATIENT, telemetry=telemetry)
    await far.put(key, b"answer")
    for _ in range(1000):
        if await far.get(key) is None:
            break
    assert await far.get(key) is None
    await far.close()
