"""Limits on open connections, and on the requests that start in one iteration of the event loop."""

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
"""Files that a process has open besides its connections: models, databases, logs."""
_STALLED = 2.0
"""Seconds without progress after which a connection that is written to may be replaced by a new one."""


class Connection(Protocol):
    """An open connection."""

    @property
    def client(self) -> tuple[str, int] | None:
        """Address and port of its client."""

    @property
    def active_at(self) -> float:
        """Loop time at which bytes arrived last."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""

    @property
    def transport(self) -> asyncio.Transport:
        """Its transport."""


@dataclass(slots=True)
class _ConnectionState:
    address: str
    unsent: int = 0
    since: float = 0.0
    """Loop time since which `unsent` has not decreased."""

    def stalled_for(self, unsent: int, now: float) -> float:
        """Update the bytes that wait to be sent; return for how many seconds the client has read none."""
        if not self.unsent or unsent < self.unsent:
            self.since = now
        self.unsent = unsent
        return now - self.since if unsent else 0.0


class ConnectionLimiter:
    """The open connections of one server; use it from one event loop.

    At the limit, a new connection replaces the one that has been quiet longest: first idle ones, then those whose
    client does not read its response.

    Args:
        limit: concurrent connections.
        limit_per_address: concurrent connections of one address (an IPv6 address counts as its /64).
        exempt: proxies that connect for many clients; only `limit` applies to them.
        write_timeout: seconds in which a client must read some of what is sent to it.
    """

    def __init__(self, limit: int, limit_per_address: int, exempt: Sequence[Network], write_timeout: float) -> None:
        self._limit, self._limit_per_address, self._exempt = limit, limit_per_address, exempt
        self._write_timeout = write_timeout
        self._open: dict[Connection, _ConnectionState] = {}
        self._by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Connection) -> bool:
        """Count a new connection, replacing a quiet one at the limit; return False if there is none to replace."""
        now, address = connection.active_at, client_subnet(connection.client[0] if connection.client else "")
        if self._by_address[address] >= self._limit_per_address and not self._is_exempt(address):
            own = [other for other, state in self._open.items() if state.address == address]
            if not self._drop_quiet(own, now):
                return False
        if len(self._open) >= self._limit and not self._drop_quiet(self._open, now):
            return False
        self._open[connection] = _ConnectionState(address)
        self._by_address[address] += 1
        return True

    def remove(self, connection: Connection) -> None:
        """Stop counting a connection that has ended."""
        state = self._open.pop(connection, None)
        if state is None:
            return
        self._by_address[state.address] -= 1
        if not self._by_address[state.address]:
            del self._by_address[state.address]

    def drop_stalled(self, now: float) -> int:
        """Close the connections whose client has read nothing for too long; return their number.

        Call it about every second; `now` is loop time.
        """
        stalled = [
            connection
            for connection, state in self._open.items()
            if state.stalled_for(unsent_bytes(connection.transport), now) >= self._write_timeout
        ]
        for connection in stalled:
            self._drop(connection)
        return len(stalled)

    def drop_all(self) -> None:
        """Close all connections at once."""
        for connection in list(self._open):
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self.remove(connection)
        connection.transport.abort()

    def _drop_quiet(self, connections: Iterable[Connection], now: float) -> bool:
        """Close the connection that has been quiet longest; return whether there was one."""
        quiet = min(self._quiet(connections, now), default=None, key=lambda found: found[:2])
        if quiet is None:
            return False
        self._drop(quiet[2])
        return True

    def _quiet(self, connections: Iterable[Connection], now: float) -> Iterator[tuple[bool, float, Connection]]:
        """Yield the connections that may be closed, each with its sort key."""
        for connection in connections:
            state = self._open[connection]
            if connection.is_idle and not state.unsent:
                yield False, connection.active_at, connection
            elif state.unsent and now - state.since >= _STALLED:
                yield True, state.since, connection

    def _is_exempt(self, address: str) -> bool:
        if not self._exempt:
            return False
        parsed = parse_address(address.partition("/")[0])
        return parsed is not None and any(parsed in network for network in self._exempt)


class RequestScheduler:
    """Limits the requests that start in one iteration of the event loop; use it from one event loop.

    An iteration ends when everything that was ready has run. Without a limit, some hundred connections that send one
    request after another make every iteration as long as all of their responses, and a new connection, which needs
    several iterations, waits for all of them each time.

    Requests start in order of arrival. Requests sent before the response to the previous one (pipelining) wait in a
    second queue, so that a client that sends many does not delay others; `pipelined_limit` of the `limit` requests
    per iteration come from it.
    """

    def __init__(self, limit: int, pipelined_limit: int) -> None:
        self._limit, self._pipelined_limit = limit, pipelined_limit
        self._left = limit
        self._waiting: deque[Callable[[], None]] = deque()
        self._pipelined: deque[Callable[[], None]] = deque()
        self._scheduled = False

    def try_start(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Count a request that starts now; return False if it has to wait."""
        if self._left <= 0 or self._waiting:
            return False
        self._left -= 1
        if not self._scheduled:
            self._schedule(loop)
        return True

    def enqueue(self, loop: asyncio.AbstractEventLoop, start: Callable[[], None], *, pipelined: bool) -> None:
        """Call `start` in a later iteration, after all waiting requests."""
        (self._pipelined if pipelined else self._waiting).append(start)
        if not self._scheduled:
            self._schedule(loop)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = True
        loop.call_soon(self._run_iteration, loop)

    def _run_iteration(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._waiting and not self._pipelined:
            self._left, self._scheduled = self._limit, False
            return
        pipelined = min(self._pipelined_limit, len(self._pipelined))
        starting = [self._waiting.popleft() for _ in range(min(self._limit - pipelined, len(self._waiting)))]
        starting += [self._pipelined.popleft() for _ in range(pipelined)]
        self._left = self._limit - len(starting)
        self._schedule(loop)
        for start in starting:
            start()


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return the bytes in a transport's write buffer and in the system's send buffer, if the system reports it.

    The system's buffer holds megabytes, and accepts more only when part of it is free: if it were not counted, a
    client that reads slowly would look like one that reads nothing.
    """
    unsent = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    if not unsent or connection is None or sys.platform != "linux":
        return unsent
    queued = array.array("i", [0])
    with contextlib.suppress(OSError):
        fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, queued)  # SIOCOUTQ, tcp(7)
    return unsent + queued[0]


def raise_file_limit(connections: int) -> int:
    """Raise the soft limit of open files for `connections` connections; return how many are possible."""
    wanted = connections + _RESERVED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - _RESERVED_FILES))
