"""Limits on open connections and on the requests that start in one iteration of the event loop."""

import array
import asyncio
import contextlib
import fcntl
import resource
import sys
import termios
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from assay.serving.auth.client_ip import client_subnet, parse_address
from assay.serving.auth.settings import Network

_RESERVED_FILES = 128
"""Files that a process has open besides its connections: models, stores, logs."""
_STALLED = 2.0
"""Seconds without progress after which a connection that is written to gives way to a new one."""


class Connection(Protocol):
    """What is asked of a connection."""

    @property
    def client(self) -> tuple[str, int] | None:
        """Address and port of its client."""

    @property
    def active_at(self) -> float:
        """Loop time at which bytes came in last."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""

    @property
    def unsent(self) -> int:
        """Bytes that the client has not taken; 0 while the system can still keep all of them for it."""

    def abort(self) -> None:
        """Close at once."""


@dataclass(slots=True)
class _ConnectionState:
    """What is known of an open connection."""

    address: str
    waiting: int = 0
    """Bytes that wait to be sent."""
    since: float = 0.0
    """Loop time since which they have not become fewer."""

    def look(self, waiting: int, now: float) -> float:
        """Note how many bytes wait; return for how many seconds the client has read none of them."""
        if not self.waiting or waiting < self.waiting:
            self.since = now
        self.waiting = waiting
        return now - self.since if waiting else 0.0


class ConnectionLimiter:
    """The open connections of one server; use it from one event loop.

    Args:
        most: connections at a time.
        per_address: connections of one address (an IPv6 address counts as its /64) at a time.
        exempt: proxies that speak for many clients; only `most` bounds them.
        write_timeout: seconds in which a client must read something of what is sent to it.
    """

    def __init__(self, most: int, per_address: int, exempt: Sequence[Network], write_timeout: float) -> None:
        self._most, self._per_address, self._exempt = most, per_address, exempt
        self._write_timeout = write_timeout
        self._open: dict[Connection, _ConnectionState] = {}
        self._by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection) -> bool:
        """Count a new connection, in place of a quiet one where there are too many.

        Returns:
            False: there are too many, and none is quiet; the connection is not counted.
        """
        now, address = connection.active_at, client_subnet(connection.client[0] if connection.client else "")
        if self._by_address[address] >= self._per_address and not self._is_exempt(address):
            own = [one for one, place in self._open.items() if place.address == address]
            if not self._make_room(own, now):
                return False
        if len(self._open) >= self._most and not self._make_room(self._open, now):
            return False
        self._open[connection] = _ConnectionState(address)
        self._by_address[address] += 1
        return True

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended, if it is counted."""
        place = self._open.pop(connection, None)
        if place is None:
            return
        self._by_address[place.address] -= 1
        if not self._by_address[place.address]:
            del self._by_address[place.address]

    def drop_stalled(self, now: float) -> int:
        """Close the connections whose client has read nothing for too long.

        Args:
            now: loop time. Call it every second or so.

        Returns:
            How many were closed.
        """
        late = [
            connection
            for connection, place in self._open.items()
            if place.look(connection.unsent, now) >= self._write_timeout
        ]
        for connection in late:
            self._drop(connection)
        return len(late)

    def drop_all(self) -> None:
        """Close all connections at once."""
        for connection in list(self._open):
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self.remove(connection)
        connection.abort()

    def _make_room(self, connections: Iterable[Connection], now: float) -> bool:
        """Drop the connection that has been quiet longest; return whether there was one."""
        quiet = min(self._quiet(connections, now), default=None, key=lambda found: found[:2])
        if quiet is None:
            return False
        self._drop(quiet[2])
        return True

    def _quiet(self, connections: Iterable[Connection], now: float) -> Iterator[tuple[bool, float, Connection]]:
        """Give the connections that may be dropped, after what they are sorted by."""
        for connection in connections:
            place = self._open[connection]
            if connection.is_idle and not place.waiting:
                yield False, connection.active_at, connection
            elif place.waiting and now - place.since >= _STALLED:
                yield True, place.since, connection

    def _is_exempt(self, address: str) -> bool:
        if not self._exempt:
            return False
        parsed = parse_address(address.partition("/")[0])
        return parsed is not None and any(parsed in network for network in self._exempt)


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return the bytes that a transport could not hand to the system, and those that the system has not sent.

    The system's buffer takes megabytes, and is asked for more only when a part of it is free: without its own
    count a client that reads slowly would look like one that reads nothing. Where it does not tell, nothing
    is added.
    """
    waiting = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    if not waiting or connection is None or sys.platform != "linux":
        return waiting
    queued = array.array("i", [0])
    with contextlib.suppress(OSError):
        fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, queued)  # SIOCOUTQ, tcp(7)
    return waiting + queued[0]


def raise_file_limit(most: int) -> int:
    """Let the process open enough files for `most` connections; return how many it may have.

    The soft limit of open files is often 1024 where the hard one is far higher.
    """
    wanted = most + _RESERVED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return most if soft == resource.RLIM_INFINITY else max(1, min(most, soft - _RESERVED_FILES))


class RequestScheduler:
    """Starts requests in the order in which they came; use it from one event loop.

    Requests that a client sent before it had the answer to the one before (pipelining) wait in a queue of
    their own: a client that sends many of them at once does not delay others.

    Args:
        most: requests that start in one turn.
        pipelined: how many of these come from the second queue.
    """

    def __init__(self, most: int, pipelined: int) -> None:
        self._most, self._pipelined = most, pipelined
        self._left = most
        self._waiting: deque[Callable[[], None]] = deque()
        self._behind: deque[Callable[[], None]] = deque()
        self._counting = False

    def take(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Count a request that starts now; return False where it has to wait instead."""
        if self._left <= 0 or self._waiting:
            return False
        self._left -= 1
        if not self._counting:
            self._count(loop)
        return True

    def wait(self, loop: asyncio.AbstractEventLoop, start: Callable[[], None], *, pipelined: bool) -> None:
        """Call `start` in a later turn, after what waits already."""
        (self._behind if pipelined else self._waiting).append(start)
        if not self._counting:
            self._count(loop)

    def _count(self, loop: asyncio.AbstractEventLoop) -> None:
        self._counting = True
        loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin a turn."""
        if not self._waiting and not self._behind:
            self._left, self._counting = self._most, False
            return
        behind = min(self._pipelined, len(self._behind))
        starting = [self._waiting.popleft() for _ in range(min(self._most - behind, len(self._waiting)))]
        starting += [self._behind.popleft() for _ in range(behind)]
        self._left = self._most - len(starting)
        self._count(loop)
        for start in starting:
            start()
