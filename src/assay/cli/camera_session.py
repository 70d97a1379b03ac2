"""What `assay watch` and `assay collect` share: the window, the status line, and how they end."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from assay.cli.console import echo, is_terminal
from assay.cli.status_line import read_keys, status_line
from assay.core.errors import AssayError

if TYPE_CHECKING:
    from assay.live.tk_window import Window


def notify(sentence: str) -> None:
    """Say something about the source, on standard error: results alone go to standard output."""
    echo(f"assay: {sentence}", err=True)


@contextmanager
def end_on_signals() -> Iterator[None]:
    """Take Ctrl-C for a wish, not an error; and the same of SIGTERM, by which services are ended."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        # The blocks inside have released the camera by now.
        return
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def open_window(title: str, *, wanted: bool | None) -> "Iterator[Window | None]":
    """Give a window, closed at the end; none where it is not wanted or there can be none.

    Args:
        title: of the window.
        wanted: None: if there can be one; True: it is an error if there is none.

    Raises:
        AssayError: there can be none and it was asked for.
    """
    found, reason = (None, "") if wanted is False else _try_open_window(title)
    if reason and wanted:
        raise AssayError(f"no window can be opened: {reason}; leave --window out")
    if reason:
        notify(f"no window, lines only: {reason}")
    try:
        yield found
    finally:
        if found is not None:
            found.close()


@contextmanager
def stop_check(shown: "Window | None", status: Callable[[], str]) -> Iterator[Callable[[], bool]]:
    """Give what tells, between frames, whether somebody wants to end; a terminal shows a status line.

    Args:
        shown: the window, which `q` closes; `q` in the terminal ends too.
        status: returns the text of the status line.
    """
    with status_line(wanted=is_terminal(sys.stderr)) as line, read_keys() as keys:

        def stopped() -> bool:
            line.update(status())
            if "q" in keys().lower():
                return True
            if shown is None:
                return False
            shown.update()
            return shown.closed

        yield stopped


def _try_open_window(title: str) -> "tuple[Window | None, str]":
    """Return a window, or why there is none."""
    try:
        from assay.live.tk_window import Window

        return Window(title), ""
    except AssayError as error:
        return None, str(error)
    except ImportError as error:
        return None, f"this Python has no Tk ({error.name}); Debian has it as python3-tk"
