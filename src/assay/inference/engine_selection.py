"""Choose precision and engine by hardware, and create the engine."""

import platform
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from assay.bundle import Precision
from assay.core.cpu import int8_instructions
from assay.core.errors import UsageError
from assay.inference.engine import Engine, EngineError, EngineFactory
from assay.inference.onnxruntime_engine import CudaEngine, OnnxRuntimeEngine, has_cuda
from assay.inference.openvino_engine import OpenVinoEngine

ComputePrecision = Literal["fp32", "bf16", "int8"]
"""Arithmetic of inference. bf16 is the fp32 model with operands rounded to bfloat16 and fp32 accumulation."""
PrecisionChoice = Literal["auto", "fp32", "bf16", "int8"]

_ROOT = Path("/")


def preferred_engines(machine: str | None = None) -> tuple[str, ...]:
    """Return the engines available on an architecture (None: this machine's), usually fastest first; never empty."""
    arm = (machine or platform.machine()).lower() in {"arm64", "aarch64"}
    # OpenVINO is optimised for x86; on ARM it computes int8 models in floating point.
    processors = ["onnxruntime", "openvino"] if arm else ["openvino", "onnxruntime"]
    if find_spec("openvino") is None:
        processors.remove("openvino")
    return (*(["cuda"] if has_cuda() else []), *processors)


def choose_precision(
    requested: PrecisionChoice, default: Precision, available: Collection[Precision], root: Path = _ROOT
) -> ComputePrecision:
    """Choose the precision; always the same on one machine, since the last digits of a prediction depend on it.

    `auto` is the bundle's `default`, unless that is int8 and the CPU has no int8 instructions or a GPU is used. An
    explicit request is returned even if the bundle has no such model. `root` is the parent of `/proc`.
    """
    if requested != "auto":
        return requested
    if default == "int8" and "int8" in available and not has_cuda() and int8_instructions(root) != frozenset():
        return "int8"
    return "fp32"


def stored_precision(precision: ComputePrecision) -> Precision:
    """Return the precision of the bundle's model that is used for a compute precision."""
    return "int8" if precision == "int8" else "fp32"


AUTO = "auto"

ENGINES: Mapping[str, EngineFactory] = MappingProxyType({"openvino": OpenVinoEngine, "onnxruntime": OnnxRuntimeEngine})
"""Factories of the CPU engines by name."""

_FACTORIES: Mapping[str, EngineFactory] = MappingProxyType({**ENGINES, CudaEngine.name: CudaEngine})
ENGINE_NAMES = (AUTO, *_FACTORIES)


def create_engine(
    name: str,
    model: bytes,
    threads: int | None = None,
    *,
    streams: int = 1,
    cache: Path | None = None,
    bf16: bool = False,
) -> Engine:
    """Load a model into an engine.

    Args:
        name: one of `ENGINE_NAMES`; auto: the first of `preferred_engines` that can run the model.
        model: serialised ONNX model.
        threads: CPU threads; None: all available.
        streams: concurrent calls that the threads are divided among.
        cache: folder for compiled models; None: no cache.
        bf16: compute in bfloat16; auto then means OpenVINO.

    Raises:
        UsageError: there is no such engine, or the engine has no bfloat16.
        EngineError: the engine cannot be loaded or cannot run the model, or the CPU has no bfloat16.
    """
    if name not in ENGINE_NAMES:
        raise UsageError(f"unknown engine {name!r}: choose {', '.join(ENGINE_NAMES)}")
    if bf16 and name not in {AUTO, OpenVinoEngine.name}:
        raise UsageError(f"{name} does not support bfloat16: choose the engine openvino or the precision fp32")
    if bf16:
        return OpenVinoEngine(model, threads, streams=streams, cache=cache, bf16=True)
    if name != AUTO:
        return _FACTORIES[name](model, threads, streams=streams, cache=cache)
    *first, last = preferred_engines()
    for engine in first:
        try:
            return _FACTORIES[engine](model, threads, streams=streams, cache=cache)
        except EngineError:
            # The next engine runs the model, or its error is raised.
            continue
    return _FACTORIES[last](model, threads, streams=streams, cache=cache)
