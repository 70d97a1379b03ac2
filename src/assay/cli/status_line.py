"""A status line at the bottom of the terminal, and non-blocking reading of keys."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from assay.core.tables import shorten

_MIN_UPDATE_SECONDS = 0.25
"""Least seconds between two changes of the line."""
_ERASE = "\r\x1b[K"


class StatusLine:
    """One line on standard error, at most as wide as the terminal; it does nothing where there is none.

    Lines that are printed meanwhile must be written inside `hidden`. Several threads may use it.
    """

    def __init__(self, stream: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Choose the terminal.

        Args:
            stream: a terminal; None: there is none, so that nothing is ever shown.
            clock: gives seconds.
        """
        self._stream, self._clock = stream, clock
        self._text, self._due = "", float("-inf")
        self._lock = threading.RLock()

    def update(self, text: str) -> None:
        """Show a text in the place of the last one, but not more often than four times a second."""
        now = self._clock()
        if self._stream is None or now < self._due:
            return
        with self._lock:
            self._due, self._text = now + _MIN_UPDATE_SECONDS, text
            self._draw()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Take the line away while something else is printed."""
        with self._lock:
            if self._text:
                self._put(_ERASE)
            yield
            if self._text:
                self._draw()

    def close(self) -> None:
        """Take the line away for good."""
        with self._lock:
            if self._text:
                self._put(_ERASE)
            self._text = ""

    def _draw(self) -> None:
        # A text in the last column would make some terminals begin a new line.
        self._put(f"{_ERASE}{shorten(self._text, max(8, self._width() - 1))}")

    def _width(self) -> int:
        try:
            # A terminal that does not know its size says 0.
            return (self._stream and os.get_terminal_size(self._stream.fileno()).columns) or 80
        except (OSError, ValueError):
            return 80

    def _put(self, text: str) -> None:
        """Write to the terminal; one that has gone away is left alone."""
        if self._stream is not None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                self._stream = None


_active = StatusLine(None)


def active_line() -> StatusLine:
    """Return the line that is shown now; one that shows nothing where there is none."""
    return _active


@contextmanager
def status_line(*, wanted: bool) -> Iterator[StatusLine]:
    """Show a status line on standard error while the block runs, if `wanted` and the terminal can erase."""
    global _active  # noqa: PLW0603 - there is one terminal
    able = wanted and os.environ.get("TERM", "dumb") != "dumb"
    line = _active = StatusLine(sys.stderr if able else None)
    try:
        yield line
    finally:
        line.close()
        _active = StatusLine(None)


@contextmanager
def read_keys() -> Iterator[Callable[[], str]]:
    """Give a function that returns the keys pressed in the terminal since it was last called; "" elsewhere.

    Keys come at once and are not shown. The terminal is left as it was found, however the block ends.
    """
    terminal = _foreground_terminal()
    if terminal is None:
        yield lambda: ""
        return
    import select
    import termios
    import tty

    def pressed() -> str:
        if not select.select([terminal], [], [], 0)[0]:
            return ""
        return os.read(terminal, 1024).decode("ascii", "replace")

    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSANOW)
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _foreground_terminal() -> int | None:
    """Return the descriptor of the terminal whose keys this process may read; a background job has none."""
    try:
        number = sys.stdin.fileno()
        return number if os.isatty(number) and os.tcgetpgrp(number) == os.getpgrp() else None
    except (AttributeError, OSError, ValueError):
        # No standard input, or a system without terminals of this kind.
        return None
