"""Validate and decode uploaded images in bounded threads and memory.

Speculatively where a cache hit is unlikely.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from assay.image import HEAD_BYTES, DecodeError, Preprocess, TooLargeError, inspect, sniff
from assay.serving.batching import compute_executor
from assay.serving.errors import too_many_pixels, unreadable_image, unsupported_format
from assay.serving.request_record import ImageMetadata

_Result = TypeVar("_Result")
DecodedImage = tuple[ImageMetadata, np.ndarray]
"""What a photo's header says, and its pixels as the network takes them, uint8 [S, S, 3]."""

DECODE_THREAD_PREFIX = "assay-decode"
"""What the names of the threads that decode begin with."""
_BYTES_PER_PIXEL = 8
"""Bytes of memory a pixel while decoding: as stored, and as RGB. A large JPEG is often decoded smaller."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Which photos are taken."""

    formats: tuple[str, ...]
    max_side: int

    def check(self, data: bytes) -> ImageMetadata:
        """Judge a photo by its first bytes and its header; no pixel is decoded.

        Raises:
            UploadError: another format, too many pixels, or a damaged header.
        """
        kind = sniff(data[:HEAD_BYTES])
        if kind not in self.formats:
            raise unsupported_format(self.formats)
        try:
            told = inspect(data, self.max_side**2)
        except TooLargeError:
            raise too_many_pixels(self.max_side) from None
        except DecodeError as error:
            raise unreadable_image(kind, str(error)) from None
        if max(told.width, told.height) > self.max_side:
            raise too_many_pixels(self.max_side)
        return ImageMetadata(len(data), kind, (told.width, told.height))


class Decoder:
    """Threads that decode.

    Args:
        slots: photos at a time.
        memory: bytes that those photos may take together, as estimated from their headers.
    """

    def __init__(self, slots: int, memory: int) -> None:
        self._pool = compute_executor(slots, DECODE_THREAD_PREFIX)
        self._memory = _MemoryLimiter(memory)

    def run(self, work: Callable[[], _Result], facts: ImageMetadata | None = None) -> asyncio.Future[_Result]:
        """Begin some work as soon as a slot is free; work that is cancelled before it began is never done.

        Args:
            work: called in a thread.
            facts: of the photo that it decodes, if it decodes one.
        """
        return asyncio.get_running_loop().run_in_executor(self._pool, self._bounded, work, facts)

    def read(self, data: bytes, limits: ImageLimits, preprocess: Preprocess) -> asyncio.Future[DecodedImage]:
        """Begin to check and decode a photo.

        Returns:
            What comes of it.

        Raises:
            UploadError: the photo is not taken, or damaged.
        """
        return self.run(lambda: self._read(data, limits, preprocess))

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, data: bytes, limits: ImageLimits, preprocess: Preprocess) -> DecodedImage:
        facts = limits.check(data)
        try:
            return facts, self._bounded(lambda: preprocess.read(data), facts)
        except DecodeError as error:
            raise unreadable_image(facts.format, str(error)) from None

    def _bounded(self, work: Callable[[], _Result], facts: ImageMetadata | None) -> _Result:
        width, height = (facts.dimensions if facts else None) or (0, 0)
        with self._memory.hold(width * height * _BYTES_PER_PIXEL):
            return work()


class _MemoryLimiter:
    """Bytes that threads hold together; who would pass the limit waits for others, and never alone."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        count = min(count, self._limit)
        with self._changed:
            self._changed.wait_for(lambda: self._held + count <= self._limit)
            self._held += count
        try:
            yield
        finally:
            with self._changed:
                self._held -= count
                self._changed.notify_all()


_DecodedT = TypeVar("_DecodedT")

_FINGERPRINT_BYTES = 2048
"""Bytes at either end of a file by which it is recognised: no proof, but enough to guess by."""
_MAX_FINGERPRINTS = 10_000


@dataclass(frozen=True, slots=True)
class SpeculativeDecode(Generic[_DecodedT]):
    """Work that has begun."""

    work: asyncio.Future[_DecodedT]
    since: float
    """Seconds on `time.perf_counter`."""


class SpeculativeDecoder(Generic[_DecodedT]):
    """Begins to decode photos that the cache can hardly know, one at a time. Use it from one event loop."""

    def __init__(self) -> None:
        self._seen: dict[int, None] = {}
        self._running: asyncio.Future[_DecodedT] | None = None

    def begin(
        self, photo: bytes, read: Callable[[], asyncio.Future[_DecodedT]], *, idle: bool
    ) -> SpeculativeDecode[_DecodedT] | None:
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
        return SpeculativeDecode(self._running, since)

    def _note(self, photo: bytes) -> bool:
        """Return whether a file like this one came before."""
        mark = hash((len(photo), photo[:_FINGERPRINT_BYTES], photo[-_FINGERPRINT_BYTES:]))
        known = mark in self._seen
        self._seen[mark] = None
        if len(self._seen) > _MAX_FINGERPRINTS:
            del self._seen[next(iter(self._seen))]
        return known

    def _ended(self, work: asyncio.Future[_DecodedT]) -> None:
        self._running = None
        if not work.cancelled():
            work.exception()  # looked at, so that Python does not warn when nobody asks
