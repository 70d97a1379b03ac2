"""A status line at the bottom of the terminal."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from assay.core.text_layout import shorten

_MIN_UPDATE_SECONDS = 0.25
"""Minimum time between two updates."""
_ERASE = "\r\x1b[K"


class StatusLine:
    """One line on the terminal, cut to its width; a no-op without a terminal. Thread-safe.

    Other output must be written inside `hidden`.
    """

    def __init__(self, stream: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Create a status line.

        Args:
            stream: a terminal; None: show nothing.
            clock: returns seconds.
        """
        self._stream, self._clock = stream, clock
        self._text, self._due = "", float("-inf")
        self._lock = threading.RLock()

    def update(self, text: str) -> None:
        """Replace the text, at most four times a second."""
        now = self._clock()
        if self._stream is None or now < self._due:
            return
        with self._lock:
            self._due, self._text = now + _MIN_UPDATE_SECONDS, text
            self._draw()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Remove the line while the block prints."""
        with self._lock:
            if self._text:
                self._put(_ERASE)
            yield
            if self._text:
                self._draw()

    def close(self) -> None:
        """Remove the line permanently."""
        with self._lock:
            if self._text:
                self._put(_ERASE)
            self._text = ""

    def _draw(self) -> None:
        # Some terminals wrap if the last column is used.
        self._put(f"{_ERASE}{shorten(self._text, max(8, self._width() - 1))}")

    def _width(self) -> int:
        try:
            # Terminals without a known size report 0.
            return (self._stream and os.get_terminal_size(self._stream.fileno()).columns) or 80
        except (OSError, ValueError):
            return 80

    def _put(self, text: str) -> None:
        """Write to the terminal; give up silently once it is closed."""
        if self._stream is not None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                self._stream = None


_active = StatusLine(None)


def active_line() -> StatusLine:
    """Return the current status line, or a no-op."""
    return _active


@contextmanager
def status_line(*, wanted: bool) -> Iterator[StatusLine]:
    """Show a status line on standard error during the block if `wanted` and the terminal supports it."""
    global _active  # noqa: PLW0603 - one terminal per process
    able = wanted and os.environ.get("TERM", "dumb") != "dumb"
    line = _active = StatusLine(sys.stderr if able else None)
    try:
        yield line
    finally:
        line.close()
        _active = StatusLine(None)
