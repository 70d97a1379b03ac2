"""A photo that comes alone is decoded while it is digested, instead of afterwards.

The digest is the name under which the cache is asked, so decoding would have to wait for it. Knows nothing of
HTTP, and of decoding only a function.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

_Read = TypeVar("_Read")

_ENDS = 2048
"""Bytes at either end of a file by which it is recognised: no proof, but enough to guess by."""
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Started(Generic[_Read]):
    """Work that has begun."""

    work: asyncio.Future[_Read]
    since: float
    """Seconds on `time.perf_counter`."""


class HeadStart(Generic[_Read]):
    """Begins to decode photos that the cache can hardly know, one at a time. Use it from one event loop."""

    def __init__(self) -> None:
        self._seen: dict[int, None] = {}
        self._running: asyncio.Future[_Read] | None = None

    def begin(
        self, photo: bytes, read: Callable[[], asyncio.Future[_Read]], *, idle: bool
    ) -> Started[_Read] | None:
        """Begin, or return None: the photo was seen before, or there is other work to do.

        If nobody asks for what was read, it is dropped, and so is an error.

        Args:
            photo: the file.
            read: begins the work.
            idle: nothing else needs the processors.
        """
        known = self._note(photo)
        if known or not idle or self._running is not None:
            return None
        since = time.perf_counter()
        self._running = read()
        self._running.add_done_callback(self._ended)
        return Started(self._running, since)

    def _note(self, photo: bytes) -> bool:
        """Return whether a file like this one came before."""
        mark = hash((len(photo), photo[:_ENDS], photo[-_ENDS:]))
        known = mark in self._seen
        self._seen[mark] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return known

    def _ended(self, work: asyncio.Future[_Read]) -> None:
        self._running = None
        if not work.cancelled():
            work.exception()  # looked at, so that Python does not warn when nobody asks
