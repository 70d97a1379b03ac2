"""Validate and decode uploaded images in bounded threads and memory, speculatively where a cache hit is unlikely."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np

from assay.image import HEAD_BYTES, DecodeError, Preprocess, TooLargeError, inspect, sniff
from assay.serving.compute_pool import ComputePool
from assay.serving.errors import too_many_pixels, unreadable_image, unsupported_format
from assay.serving.request_record import ImageMetadata

_T = TypeVar("_T")
DecodedImage = tuple[ImageMetadata, np.ndarray]
"""Metadata, and the preprocessed pixels, uint8 [S, S, 3]."""

_BYTES_PER_PIXEL = 8
"""Memory while decoding: as stored, and as RGB. A large JPEG is often decoded at a reduced size."""
_FINGERPRINT_BYTES = 2048
"""Bytes at either end of a file by which it is recognized; a guess, not proof."""
_MAX_FINGERPRINTS = 10_000


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Which images are accepted."""

    formats: tuple[str, ...]
    max_side: int

    def check(self, data: bytes) -> ImageMetadata:
        """Check format, size and header, not pixels; raise `UploadError` if the image is not accepted."""
        image_format = sniff(data[:HEAD_BYTES])
        if image_format not in self.formats:
            raise unsupported_format(self.formats)
        try:
            header = inspect(data, self.max_side**2)
        except TooLargeError:
            raise too_many_pixels(self.max_side) from None
        except DecodeError as error:
            raise unreadable_image(image_format, str(error)) from None
        if max(header.width, header.height) > self.max_side:
            raise too_many_pixels(self.max_side)
        return ImageMetadata(len(data), image_format, (header.width, header.height))


class Decoder:
    """Decodes images in a pool; `memory` bounds their bytes together, as estimated from their headers."""

    def __init__(self, pool: ComputePool, memory: int) -> None:
        self._pool = pool
        self._memory = _DecodeMemory(memory)

    def decode(self, data: bytes, limits: ImageLimits, preprocess: Preprocess) -> asyncio.Future[DecodedImage]:
        """Check and decode an image in a thread; the future raises `UploadError` if it is not accepted or damaged."""
        return self._pool.submit(partial(self._decode, data, limits, preprocess))

    def run(self, work: Callable[[], _T], image: ImageMetadata | None = None) -> asyncio.Future[_T]:
        """Run other work in a thread, unless it is cancelled before; the memory to decode `image` is counted."""
        return self._pool.submit(partial(self._run, work, image))

    def _decode(self, data: bytes, limits: ImageLimits, preprocess: Preprocess) -> DecodedImage:
        image = limits.check(data)
        try:
            with self._memory.reserve(image):
                return image, preprocess.read(data)
        except DecodeError as error:
            raise unreadable_image(image.format, str(error)) from None

    def _run(self, work: Callable[[], _T], image: ImageMetadata | None) -> _T:
        with self._memory.reserve(image):
            return work()


class _DecodeMemory:
    """Limits the bytes that the threads use together. A thread that is the only one never waits."""

    def __init__(self, limit: int) -> None:
        self._limit, self._reserved = limit, 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, image: ImageMetadata | None) -> Iterator[None]:
        width, height = (image.dimensions if image else None) or (0, 0)
        count = min(width * height * _BYTES_PER_PIXEL, self._limit)
        with self._changed:
            self._changed.wait_for(lambda: self._reserved + count <= self._limit)
            self._reserved += count
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= count
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class SpeculativeDecode(Generic[_T]):
    """A decode that has started; `since` is in seconds on `time.perf_counter`."""

    work: asyncio.Future[_T]
    since: float


class SpeculativeDecoder(Generic[_T]):
    """Starts to decode an image while it is hashed, if its result is probably not cached.

    One image at a time; use it from one event loop.
    """

    def __init__(self) -> None:
        self._fingerprints: dict[int, None] = {}
        self._running: asyncio.Future[_T] | None = None

    def start(
        self, data: bytes, decode: Callable[[], asyncio.Future[_T]], *, idle: bool
    ) -> SpeculativeDecode[_T] | None:
        """Start to decode; return None if the image was seen before, another is decoded, or not `idle`.

        If the result is not awaited, it is dropped, also if it is an error.
        """
        known = self._remember(data)
        if known or not idle or self._running is not None:
            return None
        since = time.perf_counter()
        self._running = decode()
        self._running.add_done_callback(self._on_done)
        return SpeculativeDecode(self._running, since)

    def _remember(self, data: bytes) -> bool:
        """Return whether a file like this one was seen before."""
        fingerprint = hash((len(data), data[:_FINGERPRINT_BYTES], data[-_FINGERPRINT_BYTES:]))
        known = fingerprint in self._fingerprints
        self._fingerprints[fingerprint] = None
        if len(self._fingerprints) > _MAX_FINGERPRINTS:
            del self._fingerprints[next(iter(self._fingerprints))]
        return known

    def _on_done(self, work: asyncio.Future[_T]) -> None:
        self._running = None
        if not work.cancelled():
            work.exception()  # retrieved, so that asyncio does not warn if it is never awaited
