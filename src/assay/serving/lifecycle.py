"""Whether the server takes requests, and what is still under way when it ends.

Knows nothing of HTTP.
"""

import enum


class Phase(enum.Enum):
    """Where in its life a server is."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    """It answers, but nothing new should be sent to it."""


class Lifecycle:
    """The phase that a server is in."""

    def __init__(self) -> None:
        self._phase = Phase.STARTING

    @property
    def phase(self) -> Phase:
        """Where the server is."""
        return self._phase

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome."""
        return self._phase is Phase.READY

    @property
    def draining(self) -> bool:
        """Whether connections should be given up after their answer."""
        return self._phase is Phase.DRAINING

    def start(self) -> None:
        """Everything is there."""
        if self._phase is Phase.STARTING:
            self._phase = Phase.READY

    def drain(self) -> None:
        """The end has been asked for."""
        self._phase = Phase.DRAINING
