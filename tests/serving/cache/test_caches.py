"""Every cache keeps the one promise."""

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
async def cache(request: pytest.FixtureRequest, heard: Any) -> AsyncIterator[Cache]:
    near = MemoryCache(entries=100, size=10**6, ttl=60)
    made: Cache = near
    if request.param != "memory":
        address = SecretStr(request.getfixturevalue("redis_server").url)
        far = RedisCache(address, ttl=60, timeout=_PATIENT, telemetry=heard)
        made = far if request.param == "redis" else TieredCache([near, far], heard)
        if request.param == "made":
            made = make_cache(CacheSettings(redis=address, timeout=1), heard)
    yield made
    await made.close()


@pytest.fixture
def key() -> str:
    return uuid4().hex


async def test_what_was_put_is_found_and_nothing_else(cache: Cache, key: str):
    assert await cache.get(key) is None
    await cache.put(key, b"answer")
    assert await cache.get(key) == b"answer"
    assert await cache.get(key + "x") is None


async def test_a_second_put_replaces_the_first(cache: Cache, key: str):
    await cache.put(key, b"one")
    await cache.put(key, b"two")
    assert await cache.get(key) == b"two"


@pytest.mark.parametrize("value", [b"", bytes(range(256)), b"\r\n$-1\r\n", b"x" * 100_000], ids=len)
async def test_any_bytes_come_back(cache: Cache, key: str, value: bytes):
    await cache.put(key, value)
    assert await cache.get(key) == value


async def test_many_at_a_time_each_get_their_own(cache: Cache, key: str):
    async def put_and_get(number: int) -> bytes | None:
        await cache.put(f"{key}{number}", b"%d" % number)
        return await cache.get(f"{key}{number}")

    assert await asyncio.gather(*map(put_and_get, range(90))) == [b"%d" % number for number in range(90)]


async def test_a_caller_who_leaves_does_not_shift_the_answers_of_others(cache: Cache, key: str):
    for number in range(20):
        await cache.put(f"{key}{number}", b"%d" % number)
    for number in range(20):
        left = asyncio.create_task(cache.get(f"{key}{number}"))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        assert await cache.get(f"{key}{19 - number}") == b"%d" % (19 - number)


async def test_an_entry_ends(key: str, heard: Any, redis_server: Any):
    far = RedisCache(SecretStr(redis_server.url), ttl=0.001, timeout=_PATIENT, telemetry=heard)
    await far.put(key, b"answer")
    for _ in range(1000):
        if await far.get(key) is None:
            break
    assert await far.get(key) is None
    await far.close()
