"""The entry point `assay`: the list of commands, and how errors become messages and exit codes."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from assay import __version__
from assay.cli.augment import augment
from assay.cli.bench import bench
from assay.cli.check import check
from assay.cli.collect import collect
from assay.cli.console import discard_output, output_error, prepare_streams, print_error, print_result
from assay.cli.demo import demo
from assay.cli.evaluate import evaluate
from assay.cli.experiments import compare, crossval, tune, variants
from assay.cli.export import export
from assay.cli.fetch import fetch
from assay.cli.info import cache, info, recipes
from assay.cli.predict import explain, predict
from assay.cli.serve import serve
from assay.cli.server_admin import journal, keys
from assay.cli.train import train
from assay.cli.watch import watch
from assay.core.errors import AssayError
from assay.core.files import cache_folder
from assay.core.text import printable_lines

_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Start here": (demo,),
    "Data": (collect, check, augment, fetch),
    "Train": (train, crossval, variants, tune, compare, evaluate),
    "Use": (predict, explain, watch, serve, journal, info, export, bench),
}


class _Commands(TyperGroup):
    """The commands; what a wrong call echoes of its arguments is made safe to show."""

    def make_context(self, *args: Any, **settings: Any) -> Any:
        """Parse the options before the command."""
        with _safe_usage_errors():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Parse the command's arguments and run it."""
        with _safe_usage_errors():
            return super().invoke(ctx)


@contextmanager
def _safe_usage_errors() -> Iterator[None]:
    """Clean the messages of the errors that Typer prints by itself; it keeps their class to itself."""
    try:
        yield
    except Exception as error:
        message = getattr(error, "message", None)
        if isinstance(message, str) and hasattr(error, "format_message"):
            error.__dict__["message"] = printable_lines(message.replace("\t", "    "))
        raise


app = typer.Typer(
    name="assay",
    cls=_Commands,
    help="Turn a folder of photos into an image classifier you can trust, explain and serve.",
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
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    del version


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error becomes one sentence, Ctrl-C the exit code 130.

    Args:
        arguments: what was typed behind `assay`; none: the process's own.
    """
    # What Matplotlib and torch keep goes where Assay's caches are, unless the user has named another place.
    os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "torchinductor"))
    prepare_streams()
    try:
        app(arguments)
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:
            # Typer ends on Ctrl-C without a word.
            print_error("stopped")
        elif not stop.code and (failure := output_error()) is not None:
            print_error(f"standard output could not be written: {failure.strerror}; the work itself is done")
            sys.exit(1)
        raise
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; Python must not complain when it closes stdout.
        discard_output()
        sys.exit(1)
    except Exception as error:
        sentence = _error_message(error)
        if sentence is None:
            raise
        print_error(sentence)
        sys.exit(error.exit_code if isinstance(error, AssayError) else 1)


def _error_message(error: Exception) -> str | None:
    """Return what to say of an error that a person can do something about; None: it is a bug."""
    said: str | None = None
    match error:
        case AssayError():
            said = str(error)
        case ModuleNotFoundError():
            extra = _EXTRAS.get((error.name or "").partition(".")[0])
            install = f"in Assay's folder: pip install -c constraints.txt -e '.[{extra}]'"
            said = None if extra is None else f"this needs {error.name}; {install}"
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            said = f"{where}{error.strerror or error}; look at the disk, the path and its permissions"
        case UnicodeEncodeError() if error.encoding == sys.getfilesystemencoding() != "utf-8":
            advice = "set PYTHONUTF8=1 or LC_ALL=C.UTF-8"
            said = f"this locale ({error.encoding}) cannot name {error.object}: {advice}"
        case RuntimeError() if str(error).startswith(_SYMLINK_LOOP):
            said = f"a link leads back to itself ({error}): give another path, or mend the link"
        case MemoryError():
            said = "there is too little memory; give smaller photos, a smaller batch, or close other programs"
    return said


_SYMLINK_LOOP = "Symlink loop"
"""How `Path.resolve` begins its message, up to Python 3.12."""
_INTERRUPTED = 130
"""What a shell calls a program that Ctrl-C ended."""


_EXTRAS = {
    "torch": "train",
    "lightning": "train",
    "captum": "train",
    "albumentations": "train",
    "sklearn": "train",
    "matplotlib": "train",
    "pyarrow": "train",
    "jinja2": "train",
    "onnx": "train",
    "elpv_dataset": "demo",
    "fastapi": "serve",
    "paho": "live",
    "pymongo": "serve",
    "redis": "serve",
    "pydantic_settings": "serve",
    "python_multipart": "serve",
    "starlette": "serve",
    "uvicorn": "serve",
}

if __name__ == "__main__":
    main()
