"""Time, handed in from outside, so that tests need not wait for it."""

import time
from threading import Event


class Clock:
    """The clock of this machine."""

    def now(self) -> float:
        """Return seconds that never run backwards; only differences mean something."""
        return time.monotonic()

    def wait(self, stop: Event, seconds: float) -> bool:
        """Wait, but no longer than until `stop` is set; tell whether it is."""
        return stop.wait(seconds)
