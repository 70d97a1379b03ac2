"""What commands that predict share: which precision may be asked for, and what answers."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from assay.inference import Classifier


class Precision(StrEnum):
    """How finely the model calculates."""

    auto = "auto"
    fp32 = "fp32"
    int8 = "int8"


def tell_runs(classifier: "Classifier") -> None:
    """Say on a terminal which runtime answers at which precision; programs read neither."""
    if sys.stderr.isatty():
        typer.echo(f"answers come from {classifier.runs}", err=True)
