"""A circuit breaker: a part that fails is left alone for a while, then asked again by one caller at a time.

Knows nothing of the part, and of no clock but the one it is given.
"""

import time
from collections.abc import Callable


class Breaker:
    """Closed while all is well; open after failures in a row, with one trial each pause, ever longer."""

    def __init__(
        self,
        *,
        failures: int = 3,
        pause: float = 1.0,
        longest: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the patience.

        Args:
            failures: so many in a row open it.
            pause: seconds until the first trial; doubled with every trial that fails.
            longest: seconds between trials at most.
            clock: seconds that never go back.
        """
        self._patience, self._first, self._longest, self._clock = failures, pause, longest, clock
        self._failures = 0
        self._pause = pause
        self._trial_at: float | None = None

    @property
    def open(self) -> bool:
        """Whether the part is being left alone."""
        return self._trial_at is not None

    @property
    def due(self) -> bool:
        """Whether `allows` would let a caller through now."""
        return self._trial_at is None or self._clock() >= self._trial_at

    def allows(self) -> bool:
        """Return whether to ask now. While open, one caller a pause is let through: it tries for all."""
        if not self.due:
            return False
        if self.open:
            # Until its outcome is known nobody else tries; a trial that is cancelled is followed by the next.
            self._trial_at = self._clock() + self._pause
        return True

    def succeeded(self) -> bool:
        """Take note of an answer. Return whether that ended an outage."""
        ended = self.open
        self._failures, self._pause, self._trial_at = 0, self._first, None
        return ended

    def failed(self) -> bool:
        """Take note of a failure. Return whether that began an outage."""
        self._failures += 1
        if self._failures < self._patience:
            return False
        began = not self.open
        if not began:
            self._pause = min(2 * self._pause, self._longest)
        self._trial_at = self._clock() + self._pause
        return began
