"""What commands that predict share: which precision may be asked for, and what answers."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import is_terminal, say

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


def tell_runs(classifier: "Classifier") -> None:
    """Say on a terminal which runtime answers at which precision; programs read neither."""
    if is_terminal(sys.stderr):
        say(f"answers come from {classifier.runs}", err=True)
