"""Print lines, results, JSON, errors, progress bars and shell commands safely on any console."""

import codecs
import contextlib
import errno
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import typer

from assay.cli.status_line import active_line
from assay.core.event_log import environment_event_log
from assay.core.printable_text import printable, printable_json, printable_lines
from assay.core.progress import Progress, no_progress

PROGRAM_NAME = "assay"


def program_path() -> str:
    """Return how a shell in the current folder calls this program.

    `assay` if it is the one on the PATH; else its path, relative if it is below the current folder.
    """
    own = _own_executable()
    found = shutil.which(PROGRAM_NAME)
    if own is None or (found is not None and Path(found).resolve() == own.resolve()):
        return PROGRAM_NAME
    path = Path(os.path.abspath(own))  # noqa: PTH100 - keep symbolic links: a virtual environment may be one
    here = Path.cwd()
    if not path.is_relative_to(here):
        return shlex.quote(str(path))
    relative = str(path.relative_to(here))
    return shlex.quote(relative if os.sep in relative else f".{os.sep}{relative}")


def shell_command(*words: str | Path) -> str:
    """Return a command line of this program, quoted for a shell."""
    return " ".join([program_path(), *(shlex.quote(str(word)) for word in words)])


def _own_executable() -> Path | None:
    """Return the file of this program: the one called, else the one next to the Python interpreter."""
    called = Path(sys.argv[0])
    beside = Path(sys.executable).with_name(PROGRAM_NAME)
    return next((path for path in (called, beside) if path.stem == PROGRAM_NAME and path.is_file()), None)


_ASCII_SUBSTITUTES = {
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
"""ASCII substitutes for a console that cannot encode them; other characters are shown as escapes."""

_REPLACE = "assay.replace"


def prepare_streams() -> None:
    """Make standard output and standard error replace unencodable characters instead of failing."""
    codecs.register_error(_REPLACE, _replace_unencodable)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=_REPLACE)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; None is a stream closed before start-up."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def echo(*lines: str, err: bool = False, colour: str | None = None) -> None:
    r"""Print lines of text, made safe to print. Errors of the stream are not raised; see `output_error`.

    Args:
        lines: a line break inside one is shown as `\n`; without arguments an empty line is printed.
        err: print to standard error.
        colour: name of a colour, used on terminals only.
    """
    _echo("\n".join(map(printable, lines)), err=err, colour=colour)


def echo_text(text: str, *, err: bool = False) -> None:
    """Print multi-line text like `echo`; names in it must be sanitized already (`printable`)."""
    _echo(printable_lines(text), err=err)


def print_result(line: str) -> None:
    """Print one line of a result to standard output.

    Raises:
        BrokenPipeError: the reader of the output has exited, so the command should end.
    """
    _write(sys.stdout, printable(line))


def print_json_text(text: str) -> None:
    """Print JSON text, with unsafe characters escaped.

    Raises:
        BrokenPipeError: the reader of the output has exited.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    _write(sys.stdout, printable_json(text, ascii_only=not encoding.lower().startswith("utf")))


def print_json(value: object) -> None:
    """Print a value as indented JSON to standard output."""
    print_json_text(json.dumps(value, indent=2, ensure_ascii=False))


def print_error(sentence: str) -> None:
    """Print an error message to standard error, in red on a terminal."""
    if (log := environment_event_log()) is not None:
        log.write("error", message=sentence)
    echo(f"assay: {sentence}", err=True, colour="red")


def discard_output() -> None:
    """Discard further standard output, once its reader has exited."""
    _redirect_to_null(sys.stdout)


def output_error() -> OSError | None:
    """Return the first error of writing with `echo`, other than a closed pipe."""
    return _output_errors[0] if _output_errors else None


def _echo(text: str, *, err: bool, colour: str | None = None) -> None:
    stream = sys.stderr if err else sys.stdout
    try:
        _write(stream, typer.style(text, fg=colour) if colour and is_terminal(stream) else text)
    except OSError as error:
        if error.errno not in {errno.EPIPE, errno.EIO} and not err:
            _output_errors.append(error)
        _redirect_to_null(stream)


def _write(stream: TextIO | None, text: str) -> None:
    """Write and flush a line; None is a stream closed before start-up."""
    # Not typer.echo, which writes UTF-8 to an ASCII console.
    if stream is not None:
        with active_line().hidden():
            stream.write(f"{text}\n")
            stream.flush()


def _redirect_to_null(stream: TextIO | None) -> None:
    """Redirect a stream to the null device, so that neither later writes nor exit fail."""
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


_output_errors: list[OSError] = []


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_substitute(letter) for letter in letters), error.end


def _substitute(letter: str) -> str:
    shown = _ASCII_SUBSTITUTES.get(letter)
    return letter.encode("ascii", "backslashreplace").decode() if shown is None else shown


@contextmanager
def progress_bars(unit: str | None = None) -> Iterator[Progress]:
    """Yield a progress function that draws one bar per kind of work; a no-op without a terminal.

    With `ASSAY_EVENTS` it writes events instead.

    Args:
        unit: unit of the items, e.g. "photos", to also show the rate; None: no rate.
    """
    if (log := environment_event_log()) is not None:
        yield log.progress
        return
    if not is_terminal(sys.stderr):
        yield no_progress
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
