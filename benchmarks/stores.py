"""What the cache and the journal cost: microseconds a call, and records a second.

Needs `redis-server` and `nx-27017` on the PATH for their rows; leaves them out otherwise. Run it as
`python benchmarks/stores.py`; medians of several repeats, on whatever else the machine does.
"""

import asyncio
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr
from redis import Redis

from assay.serving.auth.authorizer import open_backends
from assay.serving.auth.settings import RateLimitSettings, Tier
from assay.serving.cache.redis_cache import RedisCache
from assay.serving.cache.result_cache import MemoryCache
from assay.serving.request_log import RequestLogSettings
from assay.serving.request_log.background_writer import RequestLogWriter
from assay.serving.request_log.stores import make_store
from assay.serving.request_record import ImageMetadata, RequestRecord
from assay.serving.telemetry import NullTelemetry

CALLS, RECORDS, REPEATS = 2000, 20_000, 5
_CLIENTS = 16


@contextmanager
def service(name: str, *options: str) -> Iterator[int | None]:
    """Start a server at a free port, the last option of its command; None where it is not installed."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if path is None:
        yield None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([path, *options, str(port)], stdout=quiet, stderr=quiet) as process:
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        try:
            yield port
        finally:
            process.kill()


async def microseconds(call: Callable[[], Awaitable[object]], calls: int = CALLS) -> float:
    """Median over repeats of the time a call takes, one after the other."""
    await call()
    medians = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(calls):
            await call()
        medians.append((time.perf_counter() - start) / calls * 1e6)
    return statistics.median(medians)


def record(number: int) -> RequestRecord:
    """Make a record like those of a server."""
    photo = ImageMetadata(123_456, "jpeg", (1920, 1080))
    now = datetime.now(UTC)
    return RequestRecord(
        request_id=f"{number:032x}",
        timestamp=now,
        client_id="line-7",
        image=photo,
        result="open",
        confidence=0.9,
        unknown=False,
        processing_time=0.012,
        model="bottle",
        model_version="3f" * 8,
        cache_hit=False,
        status=200,
    )


async def caches(redis: int | None) -> None:
    """Print what a look into each cache takes."""
    near = MemoryCache(entries=10_000, size=2**26, ttl=3600)
    await near.put("photo", bytes(500))
    print(f"cache, in process: hit {await microseconds(lambda: near.get('photo')):.1f} us")
    if redis is not None:
        far = RedisCache(SecretStr(f"redis://127.0.0.1:{redis}"), ttl=3600, timeout=1, telemetry=NullTelemetry())
        await far.put("photo", bytes(500))
        print(f"cache, Redis: hit {await microseconds(lambda: far.get('photo')):.0f} us")
        await far.close()
    away = RedisCache(SecretStr("redis://127.0.0.1:1"), ttl=3600, timeout=0.02, telemetry=NullTelemetry())
    print(f"cache, Redis gone: miss {await microseconds(lambda: away.get('photo')):.1f} us")
    worst = 0.0
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = SecretStr(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        hung = RedisCache(address, ttl=3600, timeout=0.02, telemetry=NullTelemetry())
        for _ in range(20):
            start = time.perf_counter()
            await hung.get("photo")
            await hung.put("photo", b"")
            worst = max(worst, time.perf_counter() - start)
        await hung.close()
    print(f"cache, Redis hangs: slowest request {1000 * worst:.1f} ms more")


async def redis_of_a_photo(port: int) -> None:
    """Print the commands and the processor time of Redis for a photo: rate limit, cache, end of the request."""
    url = SecretStr(f"redis://127.0.0.1:{port}")
    settings, quiet = RateLimitSettings(redis=url, redis_timeout=1), NullTelemetry()
    clocks = {"monotonic": time.monotonic, "wall_clock": time.time}
    stores = open_backends(settings, quiet, folder=Path(), nonce_seconds=1, **clocks)
    cache, watcher = RedisCache(url, ttl=3600, timeout=1, telemetry=quiet), Redis(port=port)
    tier = Tier(per_minute=600_000, burst=100_000, max_concurrent=1000)

    def used() -> tuple[float, int]:
        cpu = watcher.info("cpu")
        return cpu["used_cpu_user"] + cpu["used_cpu_sys"], watcher.info("stats")["total_commands_processed"]

    async def client(*, hit: bool) -> None:
        for _ in range(CALLS // _CLIENTS):
            name = uuid.uuid4().hex
            await stores.limiter.acquire("client", tier, name)
            if await cache.get("photo" if hit else name) is None:
                await cache.put(name, bytes(500))
            await stores.limiter.release("client", name)

    await cache.put("photo", bytes(500))
    for name, hit in (("from the cache", True), ("classified", False)):
        begin = used()
        await asyncio.gather(*(client(hit=hit) for _ in range(_CLIENTS)))
        seconds, commands = ((after - before) / CALLS for after, before in zip(used(), begin, strict=True))
        print(f"Redis, a photo {name}: {commands:.0f} commands, {1e6 * seconds:.0f} us of its processor time")
    await stores.close()
    await cache.close()
    watcher.close()


async def journal(name: str, address: str, folder: Path) -> None:
    """Print how fast records are taken, and how fast they reach a database."""
    taken, stored = [], []
    for repeat in range(REPEATS):
        settings = RequestLogSettings(spool_dir=folder / f"spool{repeat}", queue_size=RECORDS)
        entry = RequestLogWriter(make_store(address), settings, NullTelemetry())
        await entry.start()
        records = [record(number) for number in range(RECORDS)]
        start = time.perf_counter()
        for item in records:
            entry.record(item)
        taken.append((time.perf_counter() - start) / RECORDS * 1e6)
        await entry.flush()
        stored.append(RECORDS / (time.perf_counter() - start))
        await entry.close()
    rate, cost = statistics.median(stored), statistics.median(taken)
    print(f"journal, {name}: record() {cost:.2f} us, {rate:,.0f} records/s")


async def main() -> None:
    """Measure everything there is."""
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with service("redis-server", "--save", "", "--bind", "127.0.0.1", "--port") as redis:
            await caches(redis)
            if redis is not None:
                await redis_of_a_photo(redis)
        await journal("SQLite", str(folder / "requests.sqlite"), folder)
        await journal("away, spool on disk", "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=10", folder)
        files = ["--pid-file", f"{name}/pid", "--log-file", f"{name}/log", "--data-dir", name]
        with service("nx-27017", "--host", "127.0.0.1", *files, "-p") as mongo:
            if mongo is not None:
                await journal("MongoDB's protocol (nx-27017)", f"mongodb://127.0.0.1:{mongo}/x", folder)


if __name__ == "__main__":
    asyncio.run(main())
