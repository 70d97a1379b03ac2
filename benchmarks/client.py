"""A client quick enough to load a server from the same processors: raw sockets, requests made beforehand.

It sends one photo a request as a multipart form, on connections that are kept, and reads no more of an answer
than its status and length.
"""

import asyncio
import itertools
import struct
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

_BOUNDARY = b"assay-benchmark"
_HOST = "127.0.0.1"

Request = tuple[bytes, ...]


@dataclass
class Outcome:
    """What came of many requests: latencies in ms by status (0: no answer), and the seconds they took."""

    latencies: dict[int, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    latest: float = 0.0
    """How late the latest request of an open loop was sent, in ms."""

    def add(self, status: int, milliseconds: float) -> None:
        """Note one request."""
        self.latencies.setdefault(status, []).append(milliseconds)

    def rate(self, status: int = 200) -> float:
        """Return answers of a status a second."""
        return len(self.latencies.get(status, [])) / self.seconds

    def quantile(self, share: float, status: int = 200) -> float:
        """Return a quantile of the latencies with a status; NaN where there are none."""
        values = sorted(self.latencies.get(status, []))
        return values[min(int(share * len(values)), len(values) - 1)] if values else float("nan")

    def counts(self) -> dict[int, int]:
        """Return how many requests had which status."""
        return dict(Counter({status: len(values) for status, values in self.latencies.items()}))


class Requests:
    """Requests over a few photos; `fresh` ones differ in a comment inside the JPEG, no cache knows them."""

    def __init__(self, photos: Iterable[Path], path: str = "/classify") -> None:
        self._contents = [photo.read_bytes() for photo in photos]
        self._path, self._numbers = path.encode(), itertools.count()
        self._same = [self._request(content, b"") for content in self._contents]

    def same(self) -> Request:
        """Return one of a few requests that come again and again."""
        return self._same[next(self._numbers) % len(self._same)]

    def fresh(self) -> Request:
        """Return a request that was never sent before."""
        number = next(self._numbers)
        comment = b"\xff\xfe" + struct.pack(">HQ", 10, number)
        return self._request(self._contents[number % len(self._contents)], comment)

    def _request(self, photo: bytes, comment: bytes) -> Request:
        part = (
            b"--" + _BOUNDARY + b'\r\nContent-Disposition: form-data; name="image"; filename="photo.jpg"\r\n'
            b"Content-Type: image/jpeg\r\n\r\n"
        )
        end = b"\r\n--" + _BOUNDARY + b"--\r\n"
        length = len(part) + len(photo) + len(comment) + len(end)
        head = (
            b"POST " + self._path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: multipart/form-data; boundary=" + _BOUNDARY + b"\r\n"
            b"Content-Length: " + str(length).encode() + b"\r\n\r\n"
        )
        return head + part + photo[:2] + comment, photo[2:], end


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.alive = False
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what TCP gives
        self._transport, self.alive = transport, True

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.alive = False
        self._tell(0)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        status, lowered = int(head[9:12]), head.lower()
        if status == 100:
            self._buffer = body
            return
        _, known, rest = lowered.partition(b"content-length:")
        whole = len(body) >= int(rest.split(b"\r\n", 1)[0]) if known else body.endswith(b"0\r\n\r\n")
        if not whole:
            return
        self._buffer = b""
        if b"connection: close" in lowered:
            self.close()
        self._tell(status)

    def send(self, request: Request) -> asyncio.Future[int]:
        """Send a request; the future is its status, or 0."""
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None or not self.alive:
            self._tell(0)
        else:
            self._transport.writelines(request)
        return self._answer or asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """Close it."""
        self.alive = False
        if self._transport is not None:
            self._transport.close()

    def _tell(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


class Client:
    """Connections to one server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[_Connection] = deque()

    async def ask(self, request: Request) -> int:
        """Send a request on an idle connection, or a new one; return the status, 0 where none came."""
        connection = await self._connection()
        if connection is None:
            return 0
        status = await connection.send(request)
        if connection.alive:
            self._idle.append(connection)
        return status

    def close(self) -> None:
        """Close all idle connections."""
        while self._idle:
            self._idle.pop().close()

    async def _connection(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.alive:
                return connection
        try:
            _, made = await asyncio.get_running_loop().create_connection(_Connection, _HOST, self._port)
        except OSError:
            return None
        return made


async def closed_loop(
    port: int, make: Callable[[], Request], concurrency: int, seconds: float, requests: int | None = None
) -> Outcome:
    """Keep a number of requests under way for some seconds, or until so many were sent."""
    client, outcome = Client(port), Outcome()
    begin = perf_counter()
    left = itertools.count()

    async def send_loop() -> None:
        while perf_counter() - begin < seconds and (requests is None or next(left) < requests):
            start = perf_counter()
            outcome.add(await client.ask(make()), 1e3 * (perf_counter() - start))

    await asyncio.gather(*(send_loop() for _ in range(concurrency)))
    outcome.seconds = perf_counter() - begin
    client.close()
    return outcome


async def open_loop(port: int, make: Callable[[], Request], rate: float, seconds: float) -> Outcome:
    """Send requests at a steady rate, however many are under way; wait for the last."""
    client, outcome = Client(port), Outcome()
    begin, tasks = perf_counter(), set()

    async def send_loop() -> None:
        start = perf_counter()
        outcome.add(await client.ask(make()), 1e3 * (perf_counter() - start))

    for number in range(int(rate * seconds)):
        late = perf_counter() - begin - number / rate
        if late < 0:
            await asyncio.sleep(-late)
        outcome.latest = max(outcome.latest, 1e3 * late)
        task = asyncio.create_task(send_loop())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    outcome.seconds = perf_counter() - begin  # with the time of the last answers, to which no more were sent
    client.close()
    return outcome
