"""Limits hold with every backend: in process, and in Redis by its own clock."""

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
async def limiter(request: pytest.FixtureRequest, heard: Any, tmp_path: Path) -> AsyncIterator[Any]:
    url = None
    if request.param == "redis":
        url = SecretStr(request.getfixturevalue("redis_server").url)
    settings = RateLimitSettings(redis=url, redis_timeout=1)
    stores = open_backends(settings, heard, folder=tmp_path, nonce_seconds=601, steady=time.monotonic, wall=time.time)
    yield stores.limiter
    assert heard.outages == []
    await stores.close()


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return uuid.uuid4().hex


async def test_the_burst_and_then_a_wait(limiter: Any, key: str, tier: Any):
    found = [await limiter.take(key, tier(per_minute=1), str(number)) for number in range(4)]
    assert [one.taken for one in found] == [True, True, True, False]
    assert [one.remaining for one in found] == [2, 1, 0, 0]
    assert [one.wait for one in found[:3]] == [0, 0, 0]
    # A minute, less the moment that the four took.
    assert 50 < found[3].wait <= 60
    assert found[0].restored == 60
    assert 170 < found[2].restored <= 180


async def test_keys_do_not_share(limiter: Any, key: str, tier: Any):
    slow = tier(per_minute=1, burst=1)
    assert (await limiter.take(key, slow, "a")).taken
    assert not (await limiter.take(key, slow, "b")).taken
    assert (await limiter.take(key + "other", slow, "a")).taken


async def test_time_brings_requests_back(limiter: Any, key: str, tier: Any):
    fast = tier(per_minute=6000, burst=2)
    assert [(await limiter.take(key, fast, str(number))).taken for number in range(2)] == [True, True]
    while not (found := await limiter.take(key, fast, "again")).taken:
        assert 0 < found.wait <= 0.01
        await asyncio.sleep(found.wait)


async def test_so_many_at_a_time(limiter: Any, key: str, tier: Any):
    two = tier(burst=10, max_concurrent=2)
    for lease in ("a", "b"):
        assert (await limiter.take(key, two, lease)).taken
    busy = await limiter.take(key, two, "c")
    assert (busy.taken, busy.remaining, busy.wait) == (False, 0, 1)
    await limiter.give_back(key, "c")
    assert not (await limiter.take(key, two, "c")).taken
    await limiter.give_back(key, "a")
    await limiter.give_back(key, "a")
    found = await limiter.take(key, two, "c")
    # Those that were refused have cost nothing.
    assert (found.taken, found.remaining) == (True, 7)
    assert not (await limiter.take(key, two, "d")).taken


async def test_a_key_that_moves_up_need_not_wait_for_its_old_tier(limiter: Any, key: str, tier: Any):
    slow = tier(per_minute=1, burst=1)
    assert (await limiter.take(key, slow, "a")).taken
    fast = await limiter.take(key, tier(per_minute=6000, burst=3), "b")
    assert fast.wait <= 0.01


async def test_many_at_once_get_the_burst_exactly(limiter: Any, key: str, tier: Any):
    seven = tier(per_minute=1, burst=7)
    found = await asyncio.gather(*(limiter.take(key, seven, str(number)) for number in range(40)))
    assert sum(one.taken for one in found) == 7


async def test_the_memory_of_keys_is_bounded(clock: Any, tier: Any):
    limiter = LocalRateLimiter(clock, most=2)
    once = tier(per_minute=1, burst=1)
    for key in ("a", "b", "c"):
        assert (await limiter.take(key, once, key)).taken
        await limiter.give_back(key, key)
    assert [(await limiter.take(key, once, key)).taken for key in ("c", "b")] == [False, False]
    assert (await limiter.take("a", once, "a")).taken
