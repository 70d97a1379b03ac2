"""One place for the newest frame: who reads late finds the newest and never a queue.

Knows nothing of cameras or of models.
"""

from dataclasses import replace
from threading import Condition

from assay.live.frame import Frame


class Latest:
    """Hands frames from the thread that reads to the one that works; several threads may use it.

    Attributes:
        dropped: frames that were replaced before anybody took them.
        newest: number of the newest frame that came; -1: none yet.
    """

    def __init__(self, *, every: bool = False) -> None:
        """Make an empty place.

        Args:
            every: drop nothing: the reader waits until its frame was taken.
        """
        self.dropped = 0
        self.newest = -1
        self._every = every
        self._frame: Frame | None = None
        self._closed = False
        self._changed = Condition()

    def put(self, frame: Frame) -> bool:
        """Leave a frame here; tell whether any more are wanted."""
        with self._changed:
            if self._every:
                self._changed.wait_for(lambda: self._closed or self._frame is None)
            if self._closed:
                return False
            if self._frame is not None:
                self.dropped += 1
                # That something came before must not be forgotten with the frame that said so.
                frame = replace(frame, first=frame.first or self._frame.first)
            self._frame, self.newest = frame, frame.number
            self._changed.notify_all()
            return True

    def take(self, seconds: float) -> Frame | None:
        """Return the newest frame that was not taken yet; wait for one, but no longer than `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._frame is not None, seconds)
            frame, self._frame = self._frame, None
            self._changed.notify_all()
            return frame

    def close(self) -> None:
        """Let no more in; what is here may still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Whether nothing is here and nothing will come."""
        with self._changed:
            return self._closed and self._frame is None
