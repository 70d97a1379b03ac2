"""A limit on how many requests start in one turn of the event loop.

A turn of the loop ends when everything that was ready has run. Without a limit, some hundred connections
that send one request after another make every turn last as long as all of their answers, and a new
connection, which needs several turns, waits for all of them each time.
"""

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
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
