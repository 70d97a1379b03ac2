"""The Redis cache through outages and restarts."""

import asyncio
import socket
import time
from typing import Any

import pytest
from pydantic import SecretStr

from assay.core.errors import UsageError
from assay.serving.cache.redis_cache import RedisCache
from assay.serving.cache.result_cache import make_cache
from assay.serving.resilience import CircuitBreaker
from assay.serving.settings import CacheSettings

pytestmark = pytest.mark.anyio


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_killed_redis_misses_and_is_used_again_after_restart(redis_server: Any, telemetry: Any):
    clock = Clock()
    breaker = CircuitBreaker(failures=2, pause=1, clock=clock)
    cache = RedisCache(SecretStr(redis_server.url), ttl=60, timeout=5, telemetry=telemetry, breaker=breaker)
    await cache.put("photo", b"open")
    assert await cache.get("photo") == b"open"
    redis_server.kill()
    for _ in range(10):
        assert await cache.get("photo") is None
        await cache.put("photo", b"open")
    assert telemetry.caches == ["unavailable"] * 20
    assert telemetry.outages == [("cache", True)]
    redis_server.start()
    assert await cache.get("photo") is None
    clock.now = 1
    await cache.put("photo", b"open")
    assert await cache.get("photo") == b"open"
    assert telemetry.outages == [("cache", True), ("cache", False)]
    await cache.close()


async def test_restart_between_two_calls_is_transparent(redis_server: Any, telemetry: Any):
    cache = RedisCache(SecretStr(redis_server.url), ttl=60, timeout=5, telemetry=telemetry)
    await cache.put("photo", b"open")
    redis_server.kill()
    redis_server.start()
    await cache.put("photo", b"closed")
    assert await cache.get("photo") == b"closed"
    assert telemetry.caches == []
    await cache.close()


async def test_hanging_redis_costs_a_bounded_wait_once(telemetry: Any):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = SecretStr(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        clock = Clock()
        cache = RedisCache(
            address, ttl=60, timeout=0.02, telemetry=telemetry, breaker=CircuitBreaker(failures=3, clock=clock)
        )
        start = time.perf_counter()
        for _ in range(1000):
            assert await cache.get("photo") is None
        # Three waits of 20 ms, then none: generous for a busy machine, far from a thousand waits.
        assert time.perf_counter() - start < 5
        assert telemetry.outages == [("cache", True)]
        await cache.close()


async def test_concurrent_calls_wait_no_longer_than_one(telemetry: Any):
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:
        address = SecretStr(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        cache = RedisCache(address, ttl=60, timeout=0.02, telemetry=telemetry)
        async with asyncio.timeout(5):
            assert await asyncio.gather(*(cache.get("photo") for _ in range(200))) == [None] * 200
        assert telemetry.outages == [("cache", True)]
        await cache.close()


def test_invalid_address_raises_without_its_password(telemetry: Any):
    with pytest.raises(UsageError, match="redis://HOST:PORT") as raised:
        make_cache(CacheSettings(redis=SecretStr("http://me:secret@host")), telemetry)
    assert "secret" not in str(raised.value)
