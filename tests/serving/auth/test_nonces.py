"""A nonce is accepted once, with every backend."""

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


def _open(telemetry: Any, clock: Any, folder: Path, url: str | None = None) -> AuthBackends:
    settings = RateLimitSettings(redis=url and SecretStr(url), redis_timeout=1)
    return open_backends(settings, telemetry, folder=folder, nonce_seconds=601, monotonic=clock, wall_clock=clock)


@pytest.fixture(params=["local", "file", "read-only", "redis"])
async def nonces(request: pytest.FixtureRequest, telemetry: Any, clock: Any, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "local":
        yield MemoryNonceStore(601, clock)
        return
    url = request.getfixturevalue("redis_server").url if request.param == "redis" else None
    folder = tmp_path / "none" if request.param == "read-only" else tmp_path
    stores = _open(telemetry, clock, folder, url)
    yield stores.nonces
    await stores.close()


@pytest.fixture
def key_id() -> str:
    """A key that no other test uses."""
    return uuid.uuid4().hex


async def test_nonce_is_accepted_once(nonces: Any, key_id: str):
    assert [await nonces.add(key_id, name) for name in ("a", "b", "a", "b", "c")] == [
        True,
        True,
        False,
        False,
        True,
    ]


async def test_nonces_are_per_key(nonces: Any, key_id: str):
    assert await nonces.add(key_id, "a")
    assert await nonces.add(key_id + "other", "a")


async def test_machines_share_nonces_in_redis(
    redis_server: Any, telemetry: Any, clock: Any, tmp_path: Path, key_id: str
):
    item, two = (_open(telemetry, clock, tmp_path / name, redis_server.url) for name in ("one", "two"))
    assert await item.nonces.add(key_id, "a")
    assert not await two.nonces.add(key_id, "a")
    assert item.redis is not None
    assert 590 <= await item.redis.redis.ttl(f"assay:{{{key_id}}}:nonce:a") <= 602
    await item.close()
    await two.close()


async def test_workers_share_nonces_in_a_file_that_survives_restarts(telemetry: Any, clock: Any, tmp_path: Path):
    item, two = _open(telemetry, clock, tmp_path), _open(telemetry, clock, tmp_path)
    assert [await item.nonces.add("key", "a"), await two.nonces.add("key", "a")] == [True, False]
    assert [await two.nonces.add("key", "b"), await item.nonces.add("key", "b")] == [True, False]
    await item.close()
    await two.close()
    later = _open(telemetry, clock, tmp_path)
    assert not await later.nonces.add("key", "a")
    clock.now += 601
    assert await later.nonces.add("key", "b")
    await later.close()
    assert (tmp_path / "nonces.sqlite").stat().st_mode & 0o777 == 0o600


async def test_expired_nonces_are_deleted_from_the_file(telemetry: Any, clock: Any, tmp_path: Path):
    stores = _open(telemetry, clock, tmp_path)
    for number in range(100):
        await stores.nonces.add("key", f"nonce-{number}")
    clock.now += 700
    await stores.nonces.add("key", "last")
    await stores.close()
    with closing(sqlite3.connect(tmp_path / "nonces.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM nonces").fetchone() == (1,)


async def test_broken_file_is_logged_once_and_requests_continue(
    telemetry: Any, clock: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "nonces.sqlite").write_bytes(b"no database" * 1000)
    stores = _open(telemetry, clock, tmp_path)
    assert [await stores.nonces.add("key", name) for name in "aba"] == [True, True, False]
    await stores.close()
    assert [record.message for record in caplog.records if "remembers its own" in record.message] == [
        f"{tmp_path / 'nonces.sqlite'}: file is not a database; every worker remembers its own nonces"
    ]


async def test_expired_nonces_are_dropped_from_memory(clock: Any):
    nonces = MemoryNonceStore(10, clock, max_per_key=2)
    assert await nonces.add("key", "a")
    clock.now += 9.9
    assert not await nonces.add("key", "a")
    clock.now += 0.1
    assert await nonces.add("key", "a")


async def test_full_memory_store_rejects_new_nonces(clock: Any):
    nonces = MemoryNonceStore(10, clock, max_per_key=2)
    assert await nonces.add("key", "a")
    assert await nonces.add("key", "b")
    with pytest.raises(AccessDeniedError) as refused:
        await nonces.add("key", "c")
    assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "11"})
    assert not await nonces.add("key", "a")
    assert await nonces.add("other", "c")
    clock.now += 11
    assert await nonces.add("key", "c")
