"""Uploads become pixels: judged by content and header first, decoded in bounded slots and memory.

The pixels are those of every other way to a prediction (`Preprocess.read`). Knows nothing of HTTP.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from assay.image import HEAD_BYTES, DecodeError, Preprocess, TooLargeError, inspect, sniff
from assay.serving.errors import too_many_pixels, unreadable, wrong_format
from assay.serving.record import ImageFacts
from assay.serving.threads import calculating

_Result = TypeVar("_Result")
Decoded = tuple[ImageFacts, np.ndarray]
"""What a photo's header says, and its pixels as the network takes them, uint8 [S, S, 3]."""

DECODE_THREADS = "assay-decode"
"""What the names of the threads that decode begin with."""
_COST = 8
"""Bytes of memory a pixel while decoding: as stored, and as RGB. A large JPEG is often decoded smaller."""


@dataclass(frozen=True, slots=True)
class PhotoLimits:
    """Which photos are taken."""

    formats: tuple[str, ...]
    max_side: int

    def check(self, data: bytes) -> ImageFacts:
        """Judge a photo by its first bytes and its header; no pixel is decoded.

        Raises:
            UploadError: another format, too many pixels, or a damaged header.
        """
        kind = sniff(data[:HEAD_BYTES])
        if kind not in self.formats:
            raise wrong_format(self.formats)
        try:
            told = inspect(data, self.max_side**2)
        except TooLargeError:
            raise too_many_pixels(self.max_side) from None
        except DecodeError as error:
            raise unreadable(kind, str(error)) from None
        if max(told.width, told.height) > self.max_side:
            raise too_many_pixels(self.max_side)
        return ImageFacts(len(data), kind, (told.width, told.height))


class Decoder:
    """Threads that decode.

    Args:
        slots: photos at a time.
        memory: bytes that those photos may take together, as estimated from their headers.
    """

    def __init__(self, slots: int, memory: int) -> None:
        self._pool = calculating(slots, DECODE_THREADS)
        self._memory = _Memory(memory)

    def run(self, work: Callable[[], _Result], facts: ImageFacts | None = None) -> asyncio.Future[_Result]:
        """Begin some work as soon as a slot is free; work that is cancelled before it began is never done.

        Args:
            work: called in a thread.
            facts: of the photo that it decodes, if it decodes one.
        """
        return asyncio.get_running_loop().run_in_executor(self._pool, self._bounded, work, facts)

    def read(self, data: bytes, limits: PhotoLimits, preprocess: Preprocess) -> asyncio.Future[Decoded]:
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

    def _read(self, data: bytes, limits: PhotoLimits, preprocess: Preprocess) -> Decoded:
        facts = limits.check(data)
        try:
            return facts, self._bounded(lambda: preprocess.read(data), facts)
        except DecodeError as error:
            raise unreadable(facts.format, str(error)) from None

    def _bounded(self, work: Callable[[], _Result], facts: ImageFacts | None) -> _Result:
        width, height = (facts.dimensions if facts else None) or (0, 0)
        with self._memory.hold(width * height * _COST):
            return work()


class _Memory:
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
