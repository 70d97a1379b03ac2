"""Limit the images in progress and the bytes held in memory, and compute Retry-After for rejected requests."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from assay.serving.errors import OverloadError

_SMOOTHING = 0.1
_MAX_RETRY_AFTER = 60
_INCOMING_SHARE = 8
"""Bodies that are being read count for at most this fraction (one eighth) of the capacity."""


class AdmissionController:
    """Limits the number of images that are processed or waiting to `capacity`.

    Attributes:
        on_request: called when a body begins to arrive and when images begin to be processed.
    """

    def __init__(self, capacity: int) -> None:
        self.on_request: Callable[[], None] = lambda: None
        self._capacity, self._in_progress, self._incoming = capacity, 0, 0
        self._last_completion: float | None = None
        self._interval = 0.0

    @property
    def in_progress(self) -> int:
        """Images that are processed or wait now."""
        return self._in_progress

    def check(self, images: int = 1) -> None:
        """Raise `OverloadError` if there is no capacity for `images` more images."""
        self._check(self._in_progress + images)

    def check_incoming(self) -> None:
        """Raise `OverloadError` if there is no capacity for an image whose body is still to be read.

        Bodies that are being read count too, but only up to a share, so that slow clients cannot block others.
        """
        self._check(self._in_progress + min(self._incoming, self._capacity // _INCOMING_SHARE) + 1)

    @contextmanager
    def incoming(self) -> Iterator[None]:
        """Count a body while it is read."""
        self._incoming += 1
        self.on_request()
        try:
            yield
        finally:
            self._incoming -= 1

    @contextmanager
    def acquire(self, images: int = 1) -> Iterator[None]:
        """Count images while they are processed; raise `OverloadError` if there is no capacity for all of them."""
        self.check(images)
        self._in_progress += images
        self.on_request()
        try:
            yield
        finally:
            self._in_progress -= images

    def completed(self, now: float, images: int = 1) -> None:
        """Update the estimated throughput after images were classified; `now` is monotonic, in seconds."""
        if self._last_completion is not None:
            each = (now - self._last_completion) / images
            self._interval += (each - self._interval) * (_SMOOTHING if self._interval else 1)
        self._last_completion = now

    def _check(self, wanted: int) -> None:
        if wanted > self._capacity:
            raise OverloadError(self.retry_after)

    @property
    def retry_after(self) -> int:
        """Whole seconds in which half of the images in progress are done at the present rate, 1-60."""
        return min(_MAX_RETRY_AFTER, max(1, math.ceil(self._interval * self._in_progress / 2)))


class MemoryLimiter:
    """Limits the bytes that all requests together hold in memory."""

    def __init__(self, limit: int) -> None:
        self._limit, self._reserved = limit, 0

    @property
    def reserved(self) -> int:
        """Bytes reserved now."""
        return self._reserved

    def reserve(self, count: int) -> None:
        """Reserve `count` more bytes; raise `OverloadError` if the limit would be exceeded."""
        if self._reserved + count > self._limit:
            raise OverloadError(1)
        self._reserved += count

    def release(self, count: int) -> None:
        """Release `count` bytes."""
        self._reserved -= count

    @contextmanager
    def scope(self) -> Iterator[Callable[[int], None]]:
        """Provide a `reserve` function whose bytes are all released at the end of the block."""
        reserved = 0

        def reserve(count: int) -> None:
            nonlocal reserved
            self.reserve(count)
            reserved += count

        try:
            yield reserve
        finally:
            self.release(reserved)
