"""The runtimes that ship, by name, and how one of them is made."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from assay.errors import UsageError
from assay.inference.choice import usual_engine
from assay.inference.engine import Engine, EngineError, MakeEngine, Mode
from assay.inference.onnxruntime_engine import CudaEngine, OnnxRuntimeEngine
from assay.inference.openvino_engine import OpenVinoEngine

AUTO = "auto"

ENGINES: Mapping[str, MakeEngine] = MappingProxyType(
    {"openvino": OpenVinoEngine, "onnxruntime": OnnxRuntimeEngine}
)
"""From a serialised ONNX model to an engine, by the runtime's name; those of the processor."""

_ALL: Mapping[str, MakeEngine] = MappingProxyType({**ENGINES, CudaEngine.name: CudaEngine})
ENGINE_NAMES = (AUTO, *_ALL)
"""What may be asked for."""


def create_engine(
    name: str,
    model: bytes,
    threads: int | None = None,
    *,
    mode: Mode = "latency",
    cache: Path | None = None,
    bf16: bool = False,
) -> Engine:
    """Make a model ready.

    Args:
        name: one of `ENGINE_NAMES`; auto: what is usually fastest of what is installed.
        model: serialised ONNX model.
        threads: processors to use; none: all that this process may.
        mode: what to be quick at.
        cache: folder in which compiled models may be kept; none: nothing is written.
        bf16: multiply 32-bit numbers rounded to bfloat16; auto is OpenVINO then.

    Raises:
        UsageError: there is no such engine or mode, or it never rounds so.
        EngineError: the runtime cannot be loaded, cannot run the model, or cannot round so here.
    """
    if name not in ENGINE_NAMES:
        raise UsageError(f"no engine is called {name!r}: choose {', '.join(ENGINE_NAMES)}")
    if mode not in {"latency", "throughput"}:
        raise UsageError(f"there is no mode {mode!r}: choose latency or throughput")
    if bf16 and name not in {AUTO, OpenVinoEngine.name}:
        raise UsageError(
            f"{name} does not round to bfloat16: choose the engine openvino or the precision fp32"
        )
    if bf16:
        return OpenVinoEngine(model, threads, mode=mode, cache=cache, bf16=True)
    if name != AUTO:
        return _ALL[name](model, threads, mode=mode, cache=cache)
    *first, last = usual_engine()
    for one in first:
        try:
            return _ALL[one](model, threads, mode=mode, cache=cache)
        except EngineError:
            # The next one runs it, or says why it cannot.
            continue
    return _ALL[last](model, threads, mode=mode, cache=cache)
