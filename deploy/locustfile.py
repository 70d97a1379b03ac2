"""A load test for `assay serve`: clients of several tiers send photos at fixed rates and check the responses.

    export ASSAY_CLIENTS='{"gold": {"key": "ak_...", "rate": 20}, "bronze": {"key": "ak_...", "rate": 2}}'
    ASSAY_PHOTOS=photos locust -f deploy/locustfile.py --host https://assay.example --headless --users 2 --run-time 2m

The load is an open loop: requests arrive at random (Poisson) with `rate` per second, however many are still in
progress, and response times are measured from the arrival. A server that is too slow therefore shows long times and
rejections, not fewer requests. Each client is one user and a row of the statistics; requests above the limit of its
tier (429) are a row of their own.

ASSAY_UNCACHED=1 appends a few random bytes to each photo, which decoders ignore, so that no result comes from a cache.
--host may list several addresses, separated by commas, as DNS does for several balancers: requests start at them in
turn, and a request whose connection fails is repeated at the next. Such failures are a row of their own.
"""

import itertools
import json
import os
import random
import socket
import time
import zlib
from pathlib import Path

import gevent
from geventhttpclient.connectionpool import ConnectionPool
from locust import FastHttpUser, task

_KINDS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}
_BOUNDARY = "assay-load-test"
_MAX_IN_PROGRESS = 512
_STOP_TIMEOUT = 30.0


def read_photos(folder: str | None) -> list[tuple[str, bytes]]:
    """Read a folder's photos, with their content types.

    Raises:
        SystemExit: there are none, and so there is no test.
    """
    paths = sorted(Path(folder).rglob("*")) if folder else []
    photos = [(_KINDS[item.suffix.lower()], item.read_bytes()) for item in paths if item.suffix.lower() in _KINDS]
    if not photos:
        raise SystemExit("set ASSAY_PHOTOS to a folder with .jpg or .png files")
    return photos


def read_clients(text: str | None) -> dict[str, tuple[str, float]]:
    """Return key and requests per second of each client, by name; a key may be empty.

    Raises:
        SystemExit: the text is invalid.
    """
    try:
        clients = {
            name: (str(item.get("key", "")), float(item["rate"])) for name, item in json.loads(text or "").items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        clients = {}
    if not clients or any(rate <= 0 for _, rate in clients.values()):
        raise SystemExit("""set ASSAY_CLIENTS to JSON such as {"gold": {"key": "ak_...", "rate": 20}}""")
    return clients


def _send_at_once(_pool: ConnectionPool, connection: gevent.socket.socket) -> None:
    """Switch off Nagle's algorithm, as curl and browsers do.

    geventhttpclient leaves it on: the end of a photo then waits for an acknowledgement, which Linux delays by 40 ms.
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


ConnectionPool.after_connect = _send_at_once

_PHOTOS = read_photos(os.environ.get("ASSAY_PHOTOS"))


class _Client(FastHttpUser):
    """A client that sends photos at a rate, in a row of the statistics."""

    abstract = True
    fixed_count = 1
    concurrency = _MAX_IN_PROGRESS
    connection_timeout = 5.0
    network_timeout = 40.0
    name, key, rate = "", "", 1.0

    def on_start(self) -> None:
        """Begin the schedule."""
        self._addresses = str(self.environment.host).split(",")
        self._turn = itertools.cycle(range(len(self._addresses)))
        self._random = random.Random(zlib.crc32(self.name.encode()))
        self._next = time.perf_counter()
        self._running: set[gevent.Greenlet] = set()

    def on_stop(self) -> None:
        """Wait for the last responses."""
        gevent.joinall(list(self._running), timeout=_STOP_TIMEOUT)

    def wait_time(self) -> float:
        """Return the seconds to the next arrival."""
        self._next += self._random.expovariate(self.rate)
        return max(self._next - time.perf_counter(), 0.0)

    @task
    def arrive(self) -> None:
        """Start a request without waiting for it."""
        greenlet = gevent.spawn(self._classify, self._next)
        self._running.add(greenlet)
        greenlet.link(self._running.discard)

    def _classify(self, arrival: float) -> None:
        kind, photo = self._random.choice(_PHOTOS)
        if os.environ.get("ASSAY_UNCACHED"):
            photo += os.urandom(8)
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="photo"\r\nContent-Type: {kind}'
        )
        body = head.encode() + b"\r\n\r\n" + photo + f"\r\n--{_BOUNDARY}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        first, count = next(self._turn), len(self._addresses)
        for attempt in range(count):
            address = self._addresses[(first + attempt) % count]
            with self.client.post(
                f"{address}/classify", data=body, headers=headers, name=self.name, catch_response=True
            ) as answer:
                answer.request_meta["response_time"] = 1e3 * (time.perf_counter() - arrival)
                if answer.status_code == 0 and attempt + 1 < count:
                    answer.request_meta["name"] = f"{self.name} (repeated)"
                    answer.success()
                    continue
                if answer.status_code == 429:
                    answer.request_meta["name"] = f"{self.name} (429)"
                    answer.success()
                elif answer.status_code != 200:
                    answer.failure(f"{answer.status_code}: {answer.error or (answer.text or '')[:200]}")
                elif not _fields(answer.text):
                    answer.failure("the response has no fields")
                return


def _fields(text: str | None) -> object:
    try:
        return json.loads(text or "")
    except ValueError:
        return None


for _name, (_key, _rate) in read_clients(os.environ.get("ASSAY_CLIENTS")).items():
    globals()[f"Client_{_name}"] = type(f"Client_{_name}", (_Client,), {"name": _name, "key": _key, "rate": _rate})
