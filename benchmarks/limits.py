"""How exactly several processes keep one limit: taken against promised, through a Redis of its own.

Run as `python benchmarks/limits.py [--seconds 60]`; prints JSON. Every process asks for the same key as fast
as it is let, so that all but the limit is more than enough. Promised is `burst + rate × seconds`, the seconds
being those from the first request to the last that was taken. redis-server must be installed unless --url
names one.
"""

import argparse
import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from assay.serving.auth.authorizer import open_backends
from assay.serving.auth.settings import RateLimitSettings, Tier
from assay.serving.telemetry import NullTelemetry

LEAST_WAIT = 0.0005


async def ask(url: str, key: str, tier: Tier, begin: float, seconds: float) -> dict[str, float]:
    """Ask until the time is over; return how many requests were taken, from when to when."""
    stores = open_backends(
        RateLimitSettings(redis=SecretStr(url), redis_timeout=1),
        NullTelemetry(),
        folder=Path(),
        nonce_seconds=1,
        monotonic=time.monotonic,
        wall_clock=time.time,
    )
    await stores.limiter.acquire(f"{key}-warm", tier, "warm")
    await asyncio.sleep(max(0.0, begin - time.time()))
    taken, asked, times = 0, 0, [time.time()]
    while time.time() < begin + seconds:
        lease = uuid.uuid4().hex
        found = await stores.limiter.acquire(key, tier, lease)
        asked += 1
        if found.allowed:
            taken += 1
            times.append(time.time())
            await stores.limiter.release(key, lease)
        else:
            await asyncio.sleep(max(min(found.retry_after, begin + seconds - time.time()), LEAST_WAIT))
    await stores.close()
    return {"taken": taken, "asked": asked, "first": times[0], "last": times[-1]}


@contextmanager
def a_redis() -> Iterator[str]:
    """Give the address of a Redis that is ended afterwards."""
    path = shutil.which("redis-server")
    if path is None:
        raise SystemExit("redis-server is not installed; install it, or give --url")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [path, "--save", "", "--bind", "127.0.0.1", "--port", str(port), "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait()


def measure(
    seconds: float = 60, workers: int = 4, per_minute: int = 6000, burst: int = 200, url: str | None = None
) -> dict[str, float]:
    """Return what several processes were let have of one limit together.

    Args:
        seconds: how long they ask.
        workers: processes.
        per_minute: the limit.
        burst: requests that may come at once.
        url: of a Redis; none: one is started.

    Returns:
        `taken`, `promised`, and `error`: taken over promised, less 1.
    """
    if url is None:
        with a_redis() as own:
            return measure(seconds, workers, per_minute, burst, own)
    # All begin together, once every interpreter is up.
    begin = time.time() + 2
    task = [url, uuid.uuid4().hex, per_minute, burst, begin, seconds]
    command = [sys.executable, __file__, "--worker", json.dumps(task)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(workers)]
    answers = [json.loads(process.communicate()[0]) for process in running]
    taken = sum(item["taken"] for item in answers)
    passed = max(item["last"] for item in answers) - min(item["first"] for item in answers)
    promised = burst + passed * per_minute / 60
    return {
        "workers": len(answers),
        "seconds": round(passed, 3),
        "asked": sum(item["asked"] for item in answers),
        "taken": taken,
        "promised": round(promised, 1),
        "error": round(taken / promised - 1, 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--url")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        url, key, per_minute, burst, begin, seconds = json.loads(given.worker)
        tier = Tier(per_minute=per_minute, burst=burst, max_concurrent=1000)
        print(json.dumps(asyncio.run(ask(url, key, tier, begin, seconds))))
        return
    for name, (per_minute, burst) in {"bronze": (60, 10), "silver": (600, 50), "gold": (6000, 200)}.items():
        found = measure(given.seconds, given.workers, per_minute, burst, given.url)
        print(json.dumps({"tier": name, **found}))


if __name__ == "__main__":
    main()
