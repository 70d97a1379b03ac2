"""What commands that watch a camera share: telling from any thread, a window if there can be one, ending."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from assay.cli.console import is_terminal, say
from assay.cli.status_line import pressed_keys, status_line
from assay.errors import AssayError

if TYPE_CHECKING:
    from assay.live.window import Window


def tell(sentence: str) -> None:
    """Say something about the source, on standard error: results alone go to standard output."""
    say(f"assay: {sentence}", err=True)


@contextmanager
def ended_by_signals() -> Iterator[None]:
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
def window(title: str, *, wanted: bool | None) -> "Iterator[Window | None]":
    """Give a window, closed at the end; none where it is not wanted or there can be none.

    Args:
        title: of the window.
        wanted: None: if there can be one; True: it is an error if there is none.

    Raises:
        AssayError: there can be none and it was asked for.
    """
    found, reason = (None, "") if wanted is False else _open(title)
    if reason and wanted:
        raise AssayError(f"no window can be opened: {reason}; leave --window out")
    if reason:
        tell(f"no window, lines only: {reason}")
    try:
        yield found
    finally:
        if found is not None:
            found.close()


@contextmanager
def stopper(shown: "Window | None", status: Callable[[], str]) -> Iterator[Callable[[], bool]]:
    """Give what tells, between frames, whether somebody wants to end; a terminal shows a status line.

    Args:
        shown: the window, which `q` closes; `q` in the terminal ends too.
        status: returns the text of the status line.
    """
    with status_line(wanted=is_terminal(sys.stderr)) as line, pressed_keys() as keys:

        def stopped() -> bool:
            line.update(status())
            if "q" in keys().lower():
                return True
            if shown is None:
                return False
            shown.update()
            return shown.closed

        yield stopped


def _open(title: str) -> "tuple[Window | None, str]":
    """Return a window, or why there is none."""
    try:
        from assay.live.window import Window

        return Window(title), ""
    except AssayError as error:
        return None, str(error)
    except ImportError as error:
        return None, f"this Python has no Tk ({error.name}); Debian has it as python3-tk"
