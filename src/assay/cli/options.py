"""Options that several commands share."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import echo, is_terminal

if TYPE_CHECKING:
    from assay.inference import Classifier


class Layout(StrEnum):
    """What the top-level folders of a dataset are."""

    classes = "classes"
    splits = "splits"


LayoutOption = Annotated[
    Layout | None,
    typer.Option(
        help="What the folders in DATA are: classes, or splits (train/val/test) that contain classes. "
        "(default: decided by their names)"
    ),
]


def layout_setting(layout: Layout | None) -> list[str]:
    """Return the recipe override for `--layout`, or none if it was not given."""
    return [] if layout is None else [f"data.layout={layout.value}"]


class Precision(StrEnum):
    """Arithmetic precision of inference."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"


EngineOption = Annotated[str, typer.Option(help="Inference engine: auto, openvino, onnxruntime or cuda.")]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        help="auto: int8 if the model has it and the CPU supports it. bf16: the fp32 model in bfloat16, on "
        "CPUs that support it."
    ),
]
DATA_HELP = "Class folders, train/val/test folders, a table (.csv, .tsv, .jsonl, .parquet), tar files, or arrays."
ThreadsOption = Annotated[int | None, typer.Option(min=1, max=1024, help="CPU threads. (default: all available)")]


def print_engine(classifier: "Classifier") -> None:
    """Print engine and precision to standard error if it is a terminal."""
    if is_terminal(sys.stderr):
        echo(f"engine: {classifier.runtime}", err=True)
