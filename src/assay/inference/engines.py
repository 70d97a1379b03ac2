"""The runtimes that ship, by name, and which one to take."""

from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType

from assay.errors import UsageError
from assay.inference.engine import Engine, EngineError, MakeEngine
from assay.inference.onnxruntime_engine import OnnxRuntimeEngine
from assay.inference.openvino_engine import OpenVinoEngine, import_openvino

AUTO = "auto"

ENGINES: Mapping[str, MakeEngine] = MappingProxyType(
    {"openvino": OpenVinoEngine, "onnxruntime": OnnxRuntimeEngine}
)
"""From a serialised ONNX model to an engine, by the runtime's name; the fastest on a processor first."""


def create_engine(name: str, model: bytes, threads: int | None = None) -> Engine:
    """Make a model ready.

    Args:
        name: one of `ENGINES`, or auto: OpenVINO where it can be loaded, else ONNX Runtime.
        model: serialised ONNX model.
        threads: processors to use; none: all that this process may.

    Raises:
        UsageError: there is no such engine.
        EngineError: the runtime cannot be loaded or cannot run the model.
    """
    chosen = _fastest() if name == AUTO else name
    if chosen not in ENGINES:
        raise UsageError(f"no engine is called {name!r}: choose {', '.join([AUTO, *ENGINES])}")
    return ENGINES[chosen](model, threads)


def _fastest() -> str:
    if find_spec("openvino") is None:
        return OnnxRuntimeEngine.name
    try:
        import_openvino()
    except EngineError:
        return OnnxRuntimeEngine.name
    return OpenVinoEngine.name
