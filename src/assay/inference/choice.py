"""What `auto` stands for: which runtimes come first here, and which precision answers.

Rules alone; `assay.inference.measured` asks the clock. Knows nothing of models.
"""

import platform
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from assay.bundle import Precision
from assay.inference.cpus import int8_instructions
from assay.inference.onnxruntime_engine import has_cuda

Arithmetic = Literal["fp32", "bf16", "int8"]
"""What a model calculates with: bf16 is the 32-bit model, its numbers rounded to bfloat16 before they are
multiplied and summed with 32 bits."""
PrecisionChoice = Literal["auto", "fp32", "bf16", "int8"]
"""What may be asked for."""

_ROOT = Path("/")


def usual_engine(machine: str | None = None) -> tuple[str, ...]:
    """Return the runtimes that may run here, the one that is usually fastest first; never empty.

    Args:
        machine: the processor's architecture as `platform.machine` spells it; none: this one's.
    """
    arm = (machine or platform.machine()).lower() in {"arm64", "aarch64"}
    # OpenVINO is made for x86; on ARM its int8 models calculate with floating point.
    processors = ["onnxruntime", "openvino"] if arm else ["openvino", "onnxruntime"]
    if find_spec("openvino") is None:
        processors.remove("openvino")
    return (*(["cuda"] if has_cuda() else []), *processors)


def choose_precision(
    asked: PrecisionChoice, usual: Precision, there: Collection[Precision], root: Path = _ROOT
) -> Arithmetic:
    """Return the precision that answers.

    Always the same on one machine, since the last digits of an answer depend on it.

    Args:
        asked: fp32, bf16, int8, or auto: what the bundle is meant to answer with, unless that is int8 and the
            processor has no instructions for it, or a graphics card answers.
        usual: what the bundle is meant to answer with.
        there: precisions of the bundle's models.
        root: where `/proc` lies.

    Returns:
        What was asked for, also where the bundle does not hold it.
    """
    if asked != "auto":
        return asked
    if usual == "int8" and "int8" in there and not has_cuda() and int8_instructions(root) != frozenset():
        return "int8"
    return "fp32"


def held_precision(arithmetic: Arithmetic) -> Precision:
    """Return which of a bundle's models calculates so."""
    return "int8" if arithmetic == "int8" else "fp32"
