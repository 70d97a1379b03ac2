"""A nonce is good once, with every backend."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from assay.serving.auth import LimitSettings, Refusal
from assay.serving.auth.nonces import LocalNonces
from assay.serving.auth.stores import open_stores

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["local", "redis"])
async def nonces(request: pytest.FixtureRequest, heard: Any, clock: Any) -> AsyncIterator[Any]:
    url = None
    if request.param == "redis":
        url = SecretStr(request.getfixturevalue("redis_server").url)
    stores = open_stores(LimitSettings(redis=url, redis_seconds=1), heard, nonce_seconds=601, clock=clock)
    yield stores.nonces
    await stores.close()


@pytest.fixture
def key_id() -> str:
    """A key that no other test uses."""
    return uuid.uuid4().hex


async def test_once_and_no_more(nonces: Any, key_id: str):
    assert [await nonces.is_new(key_id, name) for name in ("a", "b", "a", "b", "c")] == [
        True,
        True,
        False,
        False,
        True,
    ]


async def test_keys_have_their_own(nonces: Any, key_id: str):
    assert await nonces.is_new(key_id, "a")
    assert await nonces.is_new(key_id + "other", "a")


async def test_workers_share_them_in_redis(redis_server: Any, heard: Any, clock: Any, key_id: str):
    settings = LimitSettings(redis=SecretStr(redis_server.url), redis_seconds=1)
    one, two = (open_stores(settings, heard, nonce_seconds=601, clock=clock) for _ in range(2))
    assert await one.nonces.is_new(key_id, "a")
    assert not await two.nonces.is_new(key_id, "a")
    assert one.link is not None
    assert 590 <= await one.link.redis.ttl(f"assay:{{{key_id}}}:nonce:a") <= 602
    await one.close()
    await two.close()


async def test_they_are_forgotten_when_no_longer_needed(clock: Any):
    nonces = LocalNonces(10, clock, most=2)
    assert await nonces.is_new("key", "a")
    clock.now += 9.9
    assert not await nonces.is_new("key", "a")
    clock.now += 0.1
    assert await nonces.is_new("key", "a")


async def test_a_full_memory_refuses_rather_than_forgets(clock: Any):
    nonces = LocalNonces(10, clock, most=2)
    assert await nonces.is_new("key", "a")
    assert await nonces.is_new("key", "b")
    with pytest.raises(Refusal) as refused:
        await nonces.is_new("key", "c")
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "11"})
    assert not await nonces.is_new("key", "a")
    assert await nonces.is_new("other", "c")
    clock.now += 11
    assert await nonces.is_new("key", "c")
