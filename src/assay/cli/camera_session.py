"""What `assay watch` and `assay collect` share: the window, the status line, keys pressed, and how they end."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from assay.cli.console import echo, is_terminal
from assay.cli.status_line import status_line
from assay.core.errors import AssayError

if TYPE_CHECKING:
    from assay.live.display import Window


def notify(sentence: str) -> None:
    """Print a message about the source to standard error; standard output is for results."""
    echo(f"assay: {sentence}", err=True)


@contextmanager
def end_on_signals() -> Iterator[None]:
    """End the block without an error on Ctrl-C and SIGTERM."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        # Inner blocks have released the camera by now.
        return
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def open_window(title: str, *, wanted: bool | None) -> "Iterator[Window | None]":
    """Open a window for the block; yield None if it is not wanted or there is no screen.

    Args:
        title: title of the window.
        wanted: True: fail without a screen; None: open a window if there is a screen.

    Raises:
        AssayError: `wanted` is True and no window can be opened.
    """
    found, reason = (None, "") if wanted is False else _try_open_window(title)
    if reason and wanted:
        raise AssayError(f"cannot open a window: {reason}; omit --window")
    if reason:
        notify(f"no window: {reason}")
    try:
        yield found
    finally:
        if found is not None:
            found.close()


@contextmanager
def stop_check(window: "Window | None", status: Callable[[], str]) -> Iterator[Callable[[], bool]]:
    """Yield a function that updates the status line and says whether the user wants to stop.

    Args:
        window: the window; closing it or pressing `q` there or in the terminal stops.
        status: returns the text of the status line.
    """
    with status_line(wanted=is_terminal(sys.stderr)) as line, read_keystrokes() as keys:

        def stopped() -> bool:
            line.update(status())
            if "q" in keys().lower():
                return True
            if window is None:
                return False
            window.update()
            return window.closed

        yield stopped


def _try_open_window(title: str) -> "tuple[Window | None, str]":
    """Return a window, or None and the reason."""
    try:
        from assay.live.display import Window

        return Window(title), ""
    except AssayError as error:
        return None, str(error)
    except ImportError as error:
        return None, f"this Python has no Tk ({error.name}); on Debian install python3-tk"


@contextmanager
def read_keystrokes() -> Iterator[Callable[[], str]]:
    """Yield a function that returns the keys pressed since its last call; "" without a terminal.

    Keys are read without Enter and not echoed. The terminal mode is restored when the block ends.
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
    """Return the descriptor of standard input if it is a terminal and this is a foreground process."""
    try:
        number = sys.stdin.fileno()
        return number if os.isatty(number) and os.tcgetpgrp(number) == os.getpgrp() else None
    except (AttributeError, OSError, ValueError):
        # No standard input, or no POSIX terminals.
        return None
