"""Command-line options that several commands share: data layout, engine, precision and threads."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import echo, is_terminal


class Layout(StrEnum):
    """What the folders directly in a data folder are."""

    classes = "classes"
    splits = "splits"


LayoutOption = Annotated[
    Layout | None,
    typer.Option(
        help="What the folders in DATA are: classes, or splits (train/val/test) that hold the classes. By "
        "default their names decide."
    ),
]


def layout_setting(layout: Layout | None) -> list[str]:
    """Return the override of the recipe that `--layout` stands for; none where it was not given."""
    return [] if layout is None else [f"data.layout={layout.value}"]


if TYPE_CHECKING:
    from assay.inference import Classifier


class Precision(StrEnum):
    """How finely the model calculates."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"


EngineOption = Annotated[str, typer.Option(help="auto, openvino, onnxruntime or cuda.")]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        help="auto: int8 where the model has it and the processor is made for it. bf16: fp32, rounded, on "
        "processors made for it."
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Processors to use; by default all that it may.")
]


def print_engine(classifier: "Classifier") -> None:
    """Say on a terminal which runtime answers at which precision; programs read neither."""
    if is_terminal(sys.stderr):
        echo(f"answers come from {classifier.runs}", err=True)
