"""Corrupt values in Redis are misses, counted and replaced; Redis stays in use."""

import json
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from assay.serving.auth.authorizer import AuthBackends, open_backends
from assay.serving.auth.settings import RateLimitSettings, Tier
from assay.serving.cache.result_cache import make_cache
from assay.serving.settings import CacheSettings

pytestmark = pytest.mark.anyio

Damage = Callable[[Any, str], Awaitable[object]]
OpenIt = Callable[[str], AuthBackends]


def _text(value: bytes | str) -> Damage:
    return lambda redis, key: redis.set(key, value)


_OTHER_TYPES: dict[str, Damage] = {
    "list": lambda redis, key: redis.rpush(key, "a", "b"),
    "hash": lambda redis, key: redis.hset(key, "a", "b"),
    "set": lambda redis, key: redis.sadd(key, "a"),
    "stream": lambda redis, key: redis.xadd(key, {"a": "b"}),
}
_STRINGS: dict[str, Damage] = {
    "text": _text("garbage"),
    "empty object": _text("{}"),
    "null": _text("null"),
    "bytes": _text(bytes(range(256))),
    "huge": _text(b"9" * 30_000_000),
}


@pytest.fixture
async def redis(redis_server: Any) -> Any:
    client = Redis.from_url(redis_server.url)
    yield client
    await client.aclose()


@pytest.fixture
def open_it(redis_server: Any, telemetry: Any, tmp_path: Path) -> OpenIt:
    """Open the stores of a machine, by its name."""

    def make(name: str) -> AuthBackends:
        (tmp_path / name).mkdir()
        given = RateLimitSettings(redis=SecretStr(redis_server.url), redis_timeout=1)
        return open_backends(
            given, telemetry, folder=tmp_path / name, nonce_seconds=601, monotonic=time.monotonic, wall_clock=time.time
        )

    return make


async def _halve(redis: Any, key: str) -> None:
    await redis.set(key, (await redis.get(key))[:-3])


async def _change(redis: Any, key: str) -> None:
    await redis.set(key, (await redis.get(key)).replace(b"open", b"shut"))


async def _exchange(redis: Any, key: str) -> None:
    """Another answer that is sound, under another key."""
    await redis.set(key, await redis.get("other"))


async def _as_before(redis: Any, key: str) -> None:
    await redis.set(key, json.dumps({"label": "open"}))


@pytest.mark.parametrize(
    "damage",
    [*_OTHER_TYPES.values(), *_STRINGS.values(), _text(b"x"), _halve, _change, _exchange, _as_before],
    ids=[*_OTHER_TYPES, *_STRINGS, "letter", "halved", "changed", "exchanged", "without a digest"],
)
async def test_corrupt_cached_result_is_a_miss_and_replaced(
    redis_server: Any, redis: Any, telemetry: Any, damage: Damage
):
    settings = CacheSettings(entries=0, redis=SecretStr(redis_server.url), timeout=1)
    cache, key = make_cache(settings, telemetry), f"photo-{uuid.uuid4().hex}"
    await cache.put("other", b'{"label":"closed"}')
    await cache.put(key, b'{"label":"open"}')
    assert await cache.get(key) == b'{"label":"open"}'
    for _ in range(5):  # more than a breaker lets pass
        await redis.unlink(key) if damage not in {_halve, _change} else None
        await damage(redis, key)
        assert await cache.get(key) is None
        await cache.put(key, b'{"label":"open"}')
        assert await cache.get(key) == b'{"label":"open"}'
    assert telemetry.corrupt == ["cache"] * 5
    assert (telemetry.outages, telemetry.caches) == ([], ["hit", *["miss", "hit"] * 5])
    assert 0 < await redis.pttl(key) <= 3_600_000
    await cache.close()


async def test_too_long_results_are_not_cached(redis_server: Any, redis: Any, telemetry: Any):
    cache = make_cache(CacheSettings(entries=0, redis=SecretStr(redis_server.url), timeout=1), telemetry)
    await cache.put("long", b"x" * 2**20)
    assert not await redis.exists("long")
    await cache.put("shorter", b"x" * (2**20 - 16))
    assert await cache.get("shorter") == b"x" * (2**20 - 16)
    assert telemetry.corrupt == []
    await cache.close()


_RATES: dict[str, Damage] = {
    **_OTHER_TYPES,
    **_STRINGS,
    "empty": _text(""),
    "negative": _text("-5"),
    "not a number": _text("nan"),
    "infinite": _text("inf"),
    "past": _text("1700000000000000"),
    "halved": _text("17000000"),
    "fraction": _text("1.5"),
    "far": _text("9" * 19),
    "far, with an end": lambda redis, key: redis.set(key, "9" * 19, ex=60),
}


@pytest.mark.parametrize("damage", _RATES.values(), ids=_RATES.keys())
async def test_corrupt_rate_limit_state_is_replaced(redis: Any, telemetry: Any, open_it: OpenIt, damage: Damage):
    stores, slow = open_it("here"), Tier(per_minute=1, burst=3, max_concurrent=100)
    for _ in range(5):
        key = uuid.uuid4().hex
        await stores.limiter.acquire(key, slow, "a")
        await redis.unlink(f"assay:{{{key}}}:rate")
        await damage(redis, f"assay:{{{key}}}:rate")
        found = await stores.limiter.acquire(key, slow, "b")
        assert (found.allowed, found.remaining) == (True, 2)
        assert (await stores.limiter.acquire(key, slow, "c")).remaining == 1
        assert 0 < await redis.pttl(f"assay:{{{key}}}:rate") < 200_000
    assert (telemetry.corrupt, telemetry.outages) == (["limits"] * 5, [])
    await stores.close()


_LEASES: dict[str, Damage] = {
    **_OTHER_TYPES,
    **_STRINGS,
    "without an end": lambda redis, key: redis.zadd(key, {"a": float("inf")}),
    "far": lambda redis, key: redis.zadd(key, {"a": 1e18}),
}


@pytest.mark.parametrize("damage", _LEASES.values(), ids=_LEASES.keys())
async def test_corrupt_leases_take_no_capacity(redis: Any, telemetry: Any, open_it: OpenIt, damage: Damage):
    stores, item = open_it("here"), Tier(per_minute=60, burst=50, max_concurrent=1)
    for _ in range(5):
        key = uuid.uuid4().hex
        await damage(redis, f"assay:{{{key}}}:open")
        assert (await stores.limiter.acquire(key, item, "b")).allowed
        assert not (await stores.limiter.acquire(key, item, "c")).allowed
        await redis.unlink(f"assay:{{{key}}}:open")
        await damage(redis, f"assay:{{{key}}}:open")
        await stores.limiter.release(key, "b")
    assert (telemetry.corrupt, telemetry.outages) == (["limits"] * 5, [])
    await stores.close()


@pytest.mark.parametrize(
    "damage",
    [*_OTHER_TYPES.values(), *_STRINGS.values(), _text(""), _text("2"), _text("11")],
    ids=[*_OTHER_TYPES, *_STRINGS, "empty", "two", "longer"],
)
async def test_corrupt_nonce_counts_as_new_and_is_replaced(redis: Any, telemetry: Any, open_it: OpenIt, damage: Damage):
    near, far = open_it("near"), open_it("far")
    for _ in range(5):
        key = uuid.uuid4().hex
        await damage(redis, f"assay:{{{key}}}:nonce:once")
        assert await near.nonces.add(key, "once")
        assert not await near.nonces.add(key, "once")
        # Another machine has stored it now.
        assert not await far.nonces.add(key, "once")
        assert 0 < await redis.ttl(f"assay:{{{key}}}:nonce:once") <= 602
    assert (telemetry.corrupt, telemetry.outages) == (["nonces"] * 5, [])
    for stores in (near, far):
        await stores.close()
