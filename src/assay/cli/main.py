"""The command `assay`: its list of commands, and how errors and Ctrl-C end."""

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from assay import __version__
from assay.cli.augment import augment
from assay.cli.cache import cache
from assay.cli.check import check
from assay.cli.compare import compare
from assay.cli.crossval import crossval
from assay.cli.demo import demo
from assay.cli.evaluate import evaluate
from assay.cli.explain import explain
from assay.cli.export import export
from assay.cli.fetch import fetch
from assay.cli.info import info
from assay.cli.predict import predict
from assay.cli.recipes import recipes
from assay.cli.train import train
from assay.cli.variants import variants
from assay.errors import AssayError

_GROUPS: dict[str, tuple[Callable[..., None], ...]] = {
    "Start here": (demo,),
    "Data": (check, augment, fetch),
    "Train": (train, crossval, variants, compare, evaluate),
    "Use": (predict, explain, info, export),
}

app = typer.Typer(
    name="assay",
    help="Turn a folder of photos into an image classifier you can trust, explain and serve.",
    epilog="Try: assay demo · assay train PHOTOS · assay predict MODEL PHOTO",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _panel, _commands in _GROUPS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.add_typer(recipes, name="recipes", rich_help_panel="Train")
app.add_typer(cache, name="cache", rich_help_panel="Data")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"assay {__version__}")
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
    try:
        app(arguments)
    except AssayError as error:
        typer.secho(f"assay: {error}", err=True, fg=typer.colors.RED)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        typer.secho(
            f"assay: this needs {error.name}; install it with: pip install 'assay[{extra}]'", err=True
        )
        sys.exit(1)
    except KeyboardInterrupt:
        typer.secho("assay: stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; Python must not complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


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
}

if __name__ == "__main__":
    main()
