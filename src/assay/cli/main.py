"""The entry point `assay`: the list of commands, and how errors become messages and exit codes."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from assay import __version__
from assay.cli.augment import augment
from assay.cli.bench import bench
from assay.cli.cache import cache
from assay.cli.check import check
from assay.cli.collect import collect
from assay.cli.console import discard_output, output_error, prepare_streams, print_error, print_result
from assay.cli.demo import demo
from assay.cli.evaluate import evaluate
from assay.cli.experiments import compare, crossval, tune, variants
from assay.cli.explain import explain
from assay.cli.export import export
from assay.cli.fetch import fetch
from assay.cli.help_text import use_plain_words, use_type_words
from assay.cli.info import info
from assay.cli.predict import predict
from assay.cli.recipes import recipes
from assay.cli.serve import serve
from assay.cli.server_admin import keys, request_log
from assay.cli.studio import studio
from assay.cli.train import train
from assay.cli.watch import watch
from assay.core.errors import AssayError, UsageError, missing_extra_message
from assay.core.event_log import environment_event_log
from assay.core.files import cache_folder, write_error_reason
from assay.core.printable_text import printable_lines

_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Start here": (studio, demo),
    "Data": (collect, check, augment, fetch),
    "Train": (train, crossval, variants, tune, compare, evaluate),
    "Use": (predict, explain, watch, serve, request_log, info, export, bench),
}


class _Commands(TyperGroup):
    """The command group; arguments echoed in usage errors are made safe to print."""

    def make_context(self, *args: Any, **settings: Any) -> Any:
        """Parse the options before the command."""
        with _safe_usage_errors():
            return super().make_context(*args, **settings)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of a name, with its help in plain words."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            use_plain_words(command, ctx)
        return command

    def get_params(self, ctx: Any) -> Any:
        """Return the options before the command."""
        parameters = super().get_params(ctx)
        use_type_words(parameters)
        return parameters

    def invoke(self, ctx: Any) -> Any:
        """Parse the command's arguments and run it."""
        with _safe_usage_errors():
            return super().invoke(ctx)


_LIBRARY_WORDS = (
    (re.compile(r"Input should be a valid integer(, .*)?"), "must be a whole number"),
    (re.compile(r"Input should be a valid number(, .*)?"), "must be a number"),
    (re.compile(r"Input should "), "must "),
    (re.compile(r"Value error, "), ""),
)
"""Beginnings of Pydantic's messages, which Typer prints, and what is said instead."""


def _plain(message: str) -> str:
    for pattern, words in _LIBRARY_WORDS:
        message = pattern.sub(words, message)
    return message


@contextmanager
def _safe_usage_errors() -> Iterator[None]:
    """Sanitize messages of usage errors, which Typer prints itself; their class is not public."""
    try:
        yield
    except Exception as error:
        message = getattr(error, "message", None)
        if isinstance(message, str) and hasattr(error, "format_message"):
            error.__dict__["message"] = printable_lines(_plain(message).replace("\t", "    "))
        raise


app = typer.Typer(
    name="assay",
    cls=_Commands,
    help="Train, evaluate and serve image classifiers from a folder of photos.",
    epilog="Try: assay demo · assay train PHOTOS · assay predict MODEL PHOTO",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.add_typer(recipes, name="recipes", rich_help_panel="Train")
app.add_typer(cache, name="cache", rich_help_panel="Data")
app.add_typer(keys, name="keys", rich_help_panel="Use")


def _version(wanted: bool) -> None:
    if wanted:
        print_result(f"assay {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Errors are printed as one sentence; Ctrl-C exits with 130.

    With `ASSAY_EVENTS=FILE` progress, errors and the exit code are also appended to that file as JSON lines.

    Args:
        arguments: command-line arguments; None: those of the process.
    """
    log = environment_event_log()
    if log is None:
        _run(arguments)
        return
    code: object = 1
    try:
        _run(arguments)
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
        raise
    finally:
        log.write("exit", code=code)


def _run(arguments: list[str] | None) -> None:
    prepare_streams()
    try:
        _check_not_empty(sys.argv[1:] if arguments is None else arguments)
        # Matplotlib and torch share the cache folder of Assay unless the user chose another.
        os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "torchinductor"))
        # Pydantic would read the metadata of all installed packages to look for plugins.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
        app(arguments)
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:
            # Typer exits silently on Ctrl-C.
            print_error("interrupted")
        elif not stop.code and (failure := output_error()) is not None:
            print_error(f"cannot write to standard output: {failure.strerror}; the command itself has completed")
            sys.exit(1)
        raise
    except BrokenPipeError:
        # The reader of the output (head, less) has exited; closing stdout must not fail at exit.
        discard_output()
        sys.exit(1)
    except Exception as error:
        sentence = _error_message(error)
        if sentence is None:
            raise
        print_error(sentence)
        sys.exit(error.exit_code if isinstance(error, AssayError) else 1)


def _check_not_empty(arguments: list[str]) -> None:
    """Raise UsageError if an argument is empty: as a path it would mean the current folder."""
    if "" in arguments:
        raise UsageError("an argument is empty, as from a shell variable that is not set: give it, or leave it out")


def _error_message(error: Exception) -> str | None:
    """Return the message for an error that the user can fix; None: it is a bug."""
    said: str | None = None
    match error:
        case AssayError():
            said = str(error)
        case ModuleNotFoundError():
            said = missing_extra_message(error)
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            reason = write_error_reason(error, Path(str(error.filename or "")))
            said = f"{where}{reason}; check the disk, the path and its permissions"
        case UnicodeEncodeError() if error.encoding == sys.getfilesystemencoding() != "utf-8":
            advice = "set PYTHONUTF8=1 or LC_ALL=C.UTF-8"
            said = f"the locale ({error.encoding}) cannot represent {error.object}: {advice}"
        case RuntimeError() if str(error).startswith(_SYMLINK_LOOP):
            said = f"a symbolic link points to itself ({error}): give another path, or fix the link"
        case MemoryError():
            said = "out of memory: use smaller photos or a smaller batch, or close other programs"
    return said


_SYMLINK_LOOP = "Symlink loop"
"""Prefix of the message of `Path.resolve`, up to Python 3.12."""
_INTERRUPTED = 130
"""Exit code of a program that was ended by Ctrl-C."""
