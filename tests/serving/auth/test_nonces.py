"""A nonce is good once, with every backend."""

import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from assay.serving.auth import AccessDeniedError
from assay.serving.auth.authorizer import AuthBackends, open_backends
from assay.serving.auth.nonces import MemoryNonceStore
from assay.serving.auth.settings import RateLimitSettings

pytestmark = pytest.mark.anyio


def _open(heard: Any, clock: Any, folder: Path, url: str | None = None) -> AuthBackends:
    settings = RateLimitSettings(redis=url and SecretStr(url), redis_timeout=1)
    return open_backends(settings, heard, folder=folder, nonce_seconds=601, monotonic=clock, wall_clock=clock)


@pytest.fixture(params=["local", "file", "read-only", "redis"])
async def nonces(request: pytest.FixtureRequest, heard: Any, clock: Any, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "local":
        yield MemoryNonceStore(601, clock)
        return
    url = request.getfixturevalue("redis_server").url if request.param == "redis" else None
    folder = tmp_path / "none" if request.param == "read-only" else tmp_path
    stores = _open(heard, clock, folder, url)
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


async def test_machines_share_them_in_redis(redis_server: Any, heard: Any, clock: Any, tmp_path: Path, key_id: str):
    item, two = (_open(heard, clock, tmp_path / name, redis_server.url) for name in ("one", "two"))
    assert await item.nonces.is_new(key_id, "a")
    assert not await two.nonces.is_new(key_id, "a")
    assert item.redis is not None
    assert 590 <= await item.redis.redis.ttl(f"assay:{{{key_id}}}:nonce:a") <= 602
    await item.close()
    await two.close()


async def test_workers_of_a_machine_share_them_in_a_file_and_a_restart_does_not_forget(
    heard: Any, clock: Any, tmp_path: Path
):
    item, two = _open(heard, clock, tmp_path), _open(heard, clock, tmp_path)
    assert [await item.nonces.is_new("key", "a"), await two.nonces.is_new("key", "a")] == [True, False]
    assert [await two.nonces.is_new("key", "b"), await item.nonces.is_new("key", "b")] == [True, False]
    await item.close()
    await two.close()
    later = _open(heard, clock, tmp_path)
    assert not await later.nonces.is_new("key", "a")
    clock.now += 601
    assert await later.nonces.is_new("key", "b")
    await later.close()
    assert (tmp_path / "nonces.sqlite").stat().st_mode & 0o777 == 0o600


async def test_the_file_does_not_grow(heard: Any, clock: Any, tmp_path: Path):
    stores = _open(heard, clock, tmp_path)
    for number in range(100):
        await stores.nonces.is_new("key", f"nonce-{number}")
    clock.now += 700
    await stores.nonces.is_new("key", "last")
    await stores.close()
    with closing(sqlite3.connect(tmp_path / "nonces.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM nonces").fetchone() == (1,)


async def test_a_broken_file_is_said_once_and_requests_go_on(
    heard: Any, clock: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "nonces.sqlite").write_bytes(b"no database" * 1000)
    stores = _open(heard, clock, tmp_path)
    assert [await stores.nonces.is_new("key", name) for name in "aba"] == [True, True, False]
    await stores.close()
    assert [record.message for record in caplog.records if "remembers its own" in record.message] == [
        f"{tmp_path / 'nonces.sqlite'}: file is not a database; every worker remembers its own nonces"
    ]


async def test_they_are_forgotten_when_no_longer_needed(clock: Any):
    nonces = MemoryNonceStore(10, clock, max_per_key=2)
    assert await nonces.is_new("key", "a")
    clock.now += 9.9
    assert not await nonces.is_new("key", "a")
    clock.now += 0.1
    assert await nonces.is_new("key", "a")


async def test_a_full_memory_refuses_rather_than_forgets(clock: Any):
    nonces = MemoryNonceStore(10, clock, max_per_key=2)
    assert await nonces.is_new("key", "a")
    assert await nonces.is_new("key", "b")
    with pytest.raises(AccessDeniedError) as refused:
        await nonces.is_new("key", "c")
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "11"})
    assert not await nonces.is_new("key", "a")
    assert await nonces.is_new("other", "c")
    clock.now += 11
    assert await nonces.is_new("key", "c")
