"""Limit the number of images in progress and compute Retry-After for rejected requests."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from assay.serving.errors import OverloadError

_SMOOTHING = 0.1
_MAX_RETRY_AFTER = 60
_INCOMING_SHARE = 8
"""Bodies that are being read count for no more than this part of the places."""


class AdmissionController:
    """A bounded number of photos under way.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self._count, self._taken, self._coming = count, 0, 0
        self._last: float | None = None
        self._interval = 0.0

    @property
    def taken(self) -> int:
        """Photos under way."""
        return self._taken

    def check(self, photos: int = 1) -> None:
        """Raise if there is no place now.

        Raises:
            OverloadError: there is none.
        """
        self._check(self._taken + photos)

    def check_door(self) -> None:
        """Raise if a photo that is still to be read would find no place behind those that are being read.

        Of those only some are counted: a client that sends slowly must not keep others out.

        Raises:
            OverloadError: it would find none.
        """
        self._check(self._taken + min(self._coming, self._count // _INCOMING_SHARE) + 1)

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Note that a body is being read."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1

    @contextmanager
    def take(self, photos: int = 1) -> Iterator[None]:
        """Hold places for a while.

        Raises:
            OverloadError: there are not enough.
        """
        self.check(photos)
        self._taken += photos
        try:
            yield
        finally:
            self._taken -= photos

    def left(self, now: float, photos: int = 1) -> None:
        """Note that photos have been answered, for the pace.

        Args:
            now: seconds on a clock that never goes back.
            photos: how many.
        """
        if self._last is not None:
            each = (now - self._last) / photos
            self._interval += (each - self._interval) * (_SMOOTHING if self._interval else 1)
        self._last = now

    def _check(self, wanted: int) -> None:
        if wanted > self._count:
            raise OverloadError(self.retry_after)

    @property
    def retry_after(self) -> int:
        """Whole seconds in which half of the places are free at the present pace, 1-60."""
        return min(_MAX_RETRY_AFTER, max(1, math.ceil(self._interval * self._taken / 2)))
