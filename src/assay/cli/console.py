"""What commands share when they print: lines, results, JSON, progress on long work, errors.

Every command prints through this module. Progress goes to standard error and only to a terminal; standard
output holds results alone. Names and messages from outside are made safe to show (`assay.text`), a console
that cannot encode a character shows a replacement, and output that cannot be written never ends work.
"""

import codecs
import contextlib
import errno
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import typer

from assay.cli.status_line import active_line
from assay.progress import Progress, silent
from assay.text import printable, printable_json, printable_lines

_PLAIN = {
    **dict.fromkeys("─━═–—\u2010\u2011−", "-"),
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╞╡╪╔╗╚╝╠╣╦╩╬╶╴╸╺╾╼", "+"),
    **dict.fromkeys("█▉▊▋▌▍▎▏▓▒░■", "#"),
    **dict.fromkeys("“”„«»", '"'),
    **dict.fromkeys("\u2018\u2019\u201a", "'"),
    **dict.fromkeys("·•", "*"),
    "×": "x",
    "±": "+-",
    "…": "...",
    "→": "->",
    "←": "<-",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "✗": "x",
    "\N{NO-BREAK SPACE}": " ",
}
"""What a console shows for a sign of ours that it cannot encode; other characters stand as escapes."""

_REPLACE = "assay.replace"


def prepare_streams() -> None:
    """Have standard output and standard error replace what their encoding lacks, instead of failing."""
    codecs.register_error(_REPLACE, _replaced)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=_REPLACE)


def is_terminal(stream: TextIO | None) -> bool:
    """Say whether a stream is a terminal; one that was closed before the program began is None."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def say(*lines: str, err: bool = False, colour: str | None = None) -> None:
    r"""Print lines for people, each made safe to show. Never ends the work: what nobody reads is dropped.

    Args:
        lines: one line each; a line break inside one is shown as `\n`. None: an empty line.
        err: to standard error.
        colour: name of a colour, for terminals.
    """
    _say("\n".join(map(printable, lines)), err=err, colour=colour)


def say_text(text: str, *, err: bool = False) -> None:
    """Print a text of several lines as `say` does; names in it must be safe already (`printable`)."""
    _say(printable_lines(text), err=err)


def result(line: str) -> None:
    """Print one line of a command that does nothing but answer.

    Raises:
        BrokenPipeError: the reader of the output has gone, so that the command can end.
    """
    _write(sys.stdout, printable(line))


def result_json(text: str) -> None:
    """Print JSON text that is safe to show and holds the very same values.

    Raises:
        BrokenPipeError: the reader of the output has gone.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    _write(sys.stdout, printable_json(text, ascii_only=not encoding.lower().startswith("utf")))


def print_json(value: object) -> None:
    """Write a value as JSON to standard output, for programs to read."""
    result_json(json.dumps(value, indent=2, ensure_ascii=False))


def complain(sentence: str) -> None:
    """Print what went wrong as one line on standard error, red on a terminal."""
    say(f"assay: {sentence}", err=True, colour="red")


def drop_output() -> None:
    """Send what is still to be printed to nowhere, once the reader of standard output has gone."""
    _give_up(sys.stdout)


def lost_output() -> OSError | None:
    """Return why lines of `say` could not be written, unless their reader had gone on purpose."""
    return _failures[0] if _failures else None


def _say(text: str, *, err: bool, colour: str | None = None) -> None:
    stream = sys.stderr if err else sys.stdout
    try:
        _write(stream, typer.style(text, fg=colour) if colour and is_terminal(stream) else text)
    except OSError as error:
        if error.errno not in {errno.EPIPE, errno.EIO} and not err:
            _failures.append(error)
        _give_up(stream)


def _write(stream: TextIO | None, text: str) -> None:
    """Write a line at once; to nobody where the stream was closed before the program began."""
    # Not typer.echo, which writes UTF-8 to a console of ASCII.
    if stream is not None:
        with active_line().hidden():
            stream.write(f"{text}\n")
            stream.flush()


def _give_up(stream: TextIO | None) -> None:
    """Put the null device in the place of a stream: neither later lines nor the end of Python may fail."""
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


_failures: list[OSError] = []


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_plain(letter) for letter in letters), error.end


def _plain(letter: str) -> str:
    shown = _PLAIN.get(letter)
    return letter.encode("ascii", "backslashreplace").decode() if shown is None else shown


@contextmanager
def progress_bars(unit: str | None = None) -> Iterator[Progress]:
    """Give a progress function that draws a bar for each kind of work; silent where there is no terminal.

    Args:
        unit: what is counted, "photos": the bars then also tell how many a second; none: they do not.
    """
    if not is_terminal(sys.stderr):
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    rate = TextColumn(f"{{task.fields[speed]:.0f}} {unit}/s" if unit else "", markup=False)
    done_of = MofNCompleteColumn()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        done_of,
        rate,
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}
        began: dict[str, tuple[float, int]] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(printable(what), total=total, speed=0.0)
                began[what] = (time.monotonic(), done)
            begin, first = began[what]
            speed = (done - first) / max(time.monotonic() - begin, 1e-9)
            bars.update(tasks[what], completed=done, total=total, speed=speed)
            if done >= total:
                bars.remove_task(tasks.pop(what))

        yield report


def percent(share: float) -> str:
    """Return a share of 1 as percent with one decimal, as in `91.2 %`."""
    return f"{100 * share:.1f} %"
