"""Cache results in memory and optionally in Redis, and compute a result once for concurrent equal requests."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from assay.image import PIXELS_VERSION
from assay.serving.settings import CacheSettings
from assay.serving.telemetry import CacheRequested, TelemetrySink

_T = TypeVar("_T")


@dataclass(slots=True)
class _Flight(Generic[_T]):
    task: asyncio.Task[_T]
    waiting: int = 0


class SingleFlight(Generic[_T]):
    """Computes a value once for concurrent callers of the same key. For one event loop."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[_T]] = {}

    def __contains__(self, key: str) -> bool:
        """Whether `key` is being computed, so that `run` would wait for it."""
        return key in self._flights

    async def run(self, key: str, compute: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Return the result of `compute`, shared by all callers that wait for `key`.

        An exception is raised in all of them. Cancelling a caller cancels the computation only if it is the last, so
        apply a caller's timeout around this call, not inside `compute`.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.create_task(compute()))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda _: self._landed(key, flight))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                # Later callers must not join a computation that is being cancelled.
                self._landed(key, flight)
                flight.task.cancel()

    def _landed(self, key: str, flight: _Flight[_T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if flight.task.done() and not flight.task.cancelled():
            flight.task.exception()  # looked at, so that Python does not warn when all who waited have left


class Cache(Protocol):
    """A bounded cache of results. An unavailable store is a miss, not an exception."""

    async def get(self, key: str) -> bytes | None:
        """Return the value of `key`, or None."""

    async def put(self, key: str, value: bytes) -> None:
        """Store `value`, replacing any other one of the same key."""

    async def close(self) -> None:
        """Close all connections."""


_FORMAT_VERSION = 3  # increment when the meaning of the values changes


def cache_key(sha256: str, model_version: str, options: Mapping[str, str | float | bool | None]) -> str:
    """Return the cache key of a result: equal only for equal photos, models and options.

    `sha256` is that of the uploaded bytes, as 64 hexadecimal digits. `model_version` covers weights, preprocessing,
    classes, temperature and limits. `options` are further inputs of the result, such as `explain`, in any order.
    """
    return f"{_key_prefix(repr((model_version, sorted(options.items()))))}:{sha256}"


@lru_cache(maxsize=64)
def _key_prefix(canonical: str) -> str:
    return f"assay:{_FORMAT_VERSION}.{PIXELS_VERSION}:{hashlib.sha256(canonical.encode()).hexdigest()[:32]}"


_ENTRY_OVERHEAD = 300  # bytes of Python's objects and of the table around one entry, measured
"""Bytes of an entry besides key and value."""


class _Entry(NamedTuple):
    value: bytes
    until: float


class MemoryCache:
    """A cache bounded in bytes and entries. For one event loop; never waits."""

    def __init__(self, *, entries: int, size: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`size` is in bytes, including keys and Python's own objects; entries expire after `ttl` seconds."""
        self._entries, self._size, self._ttl, self._clock = entries, size, ttl, clock
        self._kept: OrderedDict[str, _Entry] = OrderedDict()
        self._used = 0

    @property
    def used(self) -> int:
        """Bytes in use."""
        return self._used

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: str) -> bytes | None:
        """Return the value of `key`, or None."""
        entry = self._kept.get(key)
        if entry is None:
            return None
        if entry.until <= self._clock():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return entry.value

    async def put(self, key: str, value: bytes) -> None:
        """Store `value`, unless it is larger than the whole cache."""
        if key in self._kept:
            self._drop(key)
        if _entry_bytes(key, value) > self._size:
            return
        self._kept[key] = _Entry(value, self._clock() + self._ttl)
        self._used += _entry_bytes(key, value)
        while len(self._kept) > self._entries or self._used > self._size:
            self._drop(next(iter(self._kept)))

    async def close(self) -> None:
        """Remove all entries."""
        self._kept.clear()
        self._used = 0

    def _drop(self, key: str) -> None:
        self._used -= _entry_bytes(key, self._kept.pop(key).value)


def _entry_bytes(key: str, value: bytes) -> int:
    return len(key) + len(value) + _ENTRY_OVERHEAD


class TieredCache:
    """Several caches as one. The value of a key never changes, so no tier can be outdated."""

    def __init__(self, tiers: Sequence[Cache], telemetry: TelemetrySink) -> None:
        """`tiers` are nearest first; without any, nothing is cached."""
        self._tiers, self._telemetry = tuple(tiers), telemetry

    async def get(self, key: str) -> bytes | None:
        """Return the value of `key` from the nearest tier that has it, or None."""
        for place, tier in enumerate(self._tiers):
            value = await tier.get(key)
            if value is not None:
                for nearer in self._tiers[:place]:
                    await nearer.put(key, value)
                self._telemetry.emit(CacheRequested("hit"))
                return value
        self._telemetry.emit(CacheRequested("miss"))
        return None

    async def put(self, key: str, value: bytes) -> None:
        """Store `value` in every tier."""
        for tier in self._tiers:
            await tier.put(key, value)

    async def close(self) -> None:
        """Close every tier."""
        for tier in self._tiers:
            await tier.close()


if TYPE_CHECKING:
    from assay.serving.cache.redis_cache import RedisCache

_MIB = 2**20


def make_cache(settings: CacheSettings, telemetry: TelemetrySink) -> Cache:
    """Return a cache in memory, in front of Redis if configured; raise `UsageError` if its URL is invalid."""
    tiers: list[Cache] = []
    if settings.entries:
        size = round(settings.megabytes * _MIB)
        tiers.append(MemoryCache(entries=settings.entries, size=size, ttl=settings.ttl))
    if settings.redis is not None:
        # Its import costs a quarter of a second and 12 MB.
        kind: type[RedisCache] = import_module("assay.serving.cache.redis_cache").RedisCache
        tiers.append(kind(settings.redis, ttl=settings.ttl, timeout=settings.timeout, telemetry=telemetry))
    return TieredCache(tiers, telemetry)
