"""Rate and concurrency limits with both backends: in memory and in Redis."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from assay.serving.auth.authorizer import open_backends
from assay.serving.auth.rate_limits import LocalRateLimiter
from assay.serving.auth.settings import RateLimitSettings

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["local", "redis"])
async def limiter(request: pytest.FixtureRequest, telemetry: Any, tmp_path: Path) -> AsyncIterator[Any]:
    url = None
    if request.param == "redis":
        url = SecretStr(request.getfixturevalue("redis_server").url)
    settings = RateLimitSettings(redis=url, redis_timeout=1)
    stores = open_backends(
        settings, telemetry, folder=tmp_path, nonce_seconds=601, monotonic=time.monotonic, wall_clock=time.time
    )
    yield stores.limiter
    assert telemetry.outages == []
    await stores.close()


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return uuid.uuid4().hex


async def test_burst_is_allowed_then_a_wait(limiter: Any, key: str, tier: Any):
    found = [await limiter.acquire(key, tier(per_minute=1), str(number)) for number in range(4)]
    assert [item.allowed for item in found] == [True, True, True, False]
    assert [item.remaining for item in found] == [2, 1, 0, 0]
    assert [item.retry_after for item in found[:3]] == [0, 0, 0]
    # A minute, less the moment that the four took.
    assert 50 < found[3].retry_after <= 60
    assert found[0].reset_after == 60
    assert 170 < found[2].reset_after <= 180


async def test_clients_are_limited_separately(limiter: Any, key: str, tier: Any):
    slow = tier(per_minute=1, burst=1)
    assert (await limiter.acquire(key, slow, "a")).allowed
    assert not (await limiter.acquire(key, slow, "b")).allowed
    assert (await limiter.acquire(key + "other", slow, "a")).allowed


async def test_requests_are_allowed_again_after_time(limiter: Any, key: str, tier: Any):
    fast = tier(per_minute=6000, burst=2)
    assert [(await limiter.acquire(key, fast, str(number))).allowed for number in range(2)] == [True, True]
    while not (found := await limiter.acquire(key, fast, "again")).allowed:
        assert 0 < found.retry_after <= 0.01
        await asyncio.sleep(found.retry_after)


async def test_number_of_concurrent_requests_is_limited(limiter: Any, key: str, tier: Any):
    two = tier(burst=10, max_concurrent=2)
    for lease in ("a", "b"):
        assert (await limiter.acquire(key, two, lease)).allowed
    busy = await limiter.acquire(key, two, "c")
    assert (busy.allowed, busy.remaining, busy.retry_after) == (False, 0, 1)
    await limiter.release(key, "c")
    assert not (await limiter.acquire(key, two, "c")).allowed
    await limiter.release(key, "a")
    await limiter.release(key, "a")
    found = await limiter.acquire(key, two, "c")
    # Those that were refused have cost nothing.
    assert (found.allowed, found.remaining) == (True, 7)
    assert not (await limiter.acquire(key, two, "d")).allowed


async def test_faster_tier_takes_effect_at_once(limiter: Any, key: str, tier: Any):
    slow = tier(per_minute=1, burst=1)
    assert (await limiter.acquire(key, slow, "a")).allowed
    fast = await limiter.acquire(key, tier(per_minute=6000, burst=3), "b")
    assert fast.retry_after <= 0.01


async def test_concurrent_requests_get_exactly_the_burst(limiter: Any, key: str, tier: Any):
    seven = tier(per_minute=1, burst=7)
    found = await asyncio.gather(*(limiter.acquire(key, seven, str(number)) for number in range(40)))
    assert sum(item.allowed for item in found) == 7


async def test_number_of_stored_clients_is_bounded(clock: Any, tier: Any):
    limiter = LocalRateLimiter(clock, max_clients=2)
    once = tier(per_minute=1, burst=1)
    for key in ("a", "b", "c"):
        assert (await limiter.acquire(key, once, key)).allowed
        await limiter.release(key, key)
    assert [(await limiter.acquire(key, once, key)).allowed for key in ("c", "b")] == [False, False]
    assert (await limiter.acquire("a", once, "a")).allowed
