"""Answers kept in this process: the least recently used go first, and all go when they are old."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

_OVERHEAD = 300  # bytes of Python's objects and of the table around one entry, measured
"""What an entry takes besides its key and value."""


class _Entry(NamedTuple):
    value: bytes
    until: float


class MemoryCache:
    """A cache bounded in bytes and entries. For one event loop; nothing in it waits."""

    def __init__(
        self, *, entries: int, size: int, ttl: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Set the bounds.

        Args:
            entries: kept at most.
            size: bytes at most, keys and Python's own objects included.
            ttl: seconds that an entry lives.
            clock: seconds that never go back.
        """
        self._entries, self._size, self._ttl, self._clock = entries, size, ttl, clock
        self._kept: OrderedDict[str, _Entry] = OrderedDict()
        self._used = 0

    @property
    def used(self) -> int:
        """Bytes that are taken."""
        return self._used

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: str) -> bytes | None:
        """Return what was put under `key`, or None."""
        entry = self._kept.get(key)
        if entry is None:
            return None
        if entry.until <= self._clock():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return entry.value

    async def put(self, key: str, value: bytes) -> None:
        """Keep `value`; one that is larger than the whole cache is not kept."""
        if key in self._kept:
            self._drop(key)
        if _bytes(key, value) > self._size:
            return
        self._kept[key] = _Entry(value, self._clock() + self._ttl)
        self._used += _bytes(key, value)
        while len(self._kept) > self._entries or self._used > self._size:
            self._drop(next(iter(self._kept)))

    async def close(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._used = 0

    def _drop(self, key: str) -> None:
        self._used -= _bytes(key, self._kept.pop(key).value)


def _bytes(key: str, value: bytes) -> int:
    return len(key) + len(value) + _OVERHEAD
