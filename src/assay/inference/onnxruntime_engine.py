"""ONNX Runtime on the processor: runs wherever its wheel installs, and is the cross-check for OpenVINO."""

from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from assay.inference.cpus import cpu_count
from assay.inference.engine import INPUT, EngineError, Outputs, Signature, check_signature, reason

_ERRORS_ONLY = 3


class OnnxRuntimeEngine:
    """An ONNX model loaded by ONNX Runtime.

    Args:
        model: serialised ONNX model.
        threads: processors to use; none: all that this process may.

    Raises:
        EngineError: ONNX Runtime is not installed or cannot run the model.
    """

    name = "onnxruntime"

    def __init__(self, model: bytes, threads: int | None = None) -> None:
        runtime = _import()
        self._failures = _failures()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or cpu_count()
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except self._failures as error:
            raise EngineError(reason(error)) from None
        inputs = {entry.name: entry for entry in self._session.get_inputs()}
        outputs = {entry.name: entry for entry in self._session.get_outputs()}
        missing = ({INPUT} - set(inputs)) | (set(Outputs._fields) - set(outputs))
        if missing:
            raise EngineError(f"it has no {', '.join(sorted(missing))}")
        self._signature = Signature(_shape(inputs[INPUT]), _shape(outputs["logits"]))
        check_signature(self._signature, str(inputs[INPUT].type))

    @property
    def signature(self) -> Signature:
        """Shapes of the model."""
        return self._signature

    def run(self, images: np.ndarray) -> Outputs:
        """Return the outputs for uint8 images [N, S, S, 3]."""
        try:
            return Outputs(*self._session.run(list(Outputs._fields), {INPUT: np.ascontiguousarray(images)}))
        except self._failures as error:
            raise EngineError(reason(error)) from None


def _import() -> ModuleType:
    try:
        runtime = import_module("onnxruntime")
    except (ImportError, OSError) as error:
        raise EngineError(f"ONNX Runtime does not load ({reason(error)}): pip install onnxruntime") from None
    # Only its Windows build would send anything.
    runtime.disable_telemetry_events()
    return runtime


def _failures() -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises: a dozen classes without a common base."""
    module = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*kinds, RuntimeError, ValueError)


def _shape(entry: Any) -> tuple[int | None, ...]:
    return tuple(length if isinstance(length, int) else None for length in entry.shape)
