"""The ONNX Runtime engines for CPU and CUDA."""

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from assay.core.cpu import cpu_count
from assay.inference.engine import INPUT, EngineError, ModelOutputs, ModelSignature, import_runtime

_ERRORS_ONLY = 3


class OnnxRuntimeEngine:
    """An ONNX model loaded by ONNX Runtime; `cache` is not used.

    With several streams, every call computes in its own thread, or with `threads / streams` of one shared pool. Idle
    threads then sleep instead of spinning, and leave the CPU to other calls and to decoding. Raises `EngineError` if
    ONNX Runtime is not installed or cannot run the model.
    """

    name = "onnxruntime"
    from_cache = False

    _providers: ClassVar[list[Any]] = ["CPUExecutionProvider"]

    def __init__(
        self, model: bytes, threads: int | None = None, *, streams: int = 1, cache: Path | None = None
    ) -> None:
        del cache
        runtime = _import_onnxruntime()
        self._failures = _error_types()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = max(1, (threads or cpu_count()) // streams)
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Between two runs idle threads sleep, and leave the CPU to decoding.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # The model is in memory: never read external data from a folder such as the working directory.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        options.add_session_config_entry("session.intra_op.allow_spinning", "01"[streams == 1])
        try:
            # No fallback: for a second attempt ONNX Runtime prints to standard output.
            self._session = runtime.InferenceSession(model, options, providers=self._providers, enable_fallback=0)
            # Inside the try block: names may not be valid UTF-8.
            inputs = {entry.name: _port_shape(entry) for entry in self._session.get_inputs()}
            outputs = {entry.name: _port_shape(entry) for entry in self._session.get_outputs()}
            kinds = {entry.name: str(entry.type) for entry in self._session.get_inputs()}
        except self._failures as error:
            raise EngineError.from_runtime(error) from None
        missing = ({INPUT} - set(inputs)) | (set(ModelOutputs._fields) - set(outputs))
        if missing:
            raise EngineError(f"it has no {', '.join(sorted(missing))}")
        self._signature = ModelSignature(inputs[INPUT], outputs["logits"])
        self._signature.check(kinds[INPUT])

    @property
    def signature(self) -> ModelSignature:
        """Shapes of the model."""
        return self._signature

    def run(self, images: np.ndarray) -> ModelOutputs:
        """Return the outputs for uint8 images [N, S, S, 3]; see `Engine.run`."""
        self.signature.check_batch(images)
        try:
            return ModelOutputs(*self._session.run(list(ModelOutputs._fields), {INPUT: np.ascontiguousarray(images)}))
        except self._failures as error:
            raise EngineError.from_runtime(error) from None

    def store(self) -> None:
        """Do nothing: ONNX Runtime has no compiled models."""


class CudaEngine(OnnxRuntimeEngine):
    """An ONNX model on the first NVIDIA GPU, with full 32-bit precision; `streams` and `cache` have no effect.

    `threads` is for operators without a GPU kernel. Raises `EngineError` if there is no GPU, its libraries cannot be
    loaded, or it cannot run the model.
    """

    name = "cuda"
    # The defaults round to 19 bits (TF32) and search all algorithms for every new batch size.
    _providers: ClassVar[list[Any]] = [
        ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}),
        "CPUExecutionProvider",
    ]

    def __init__(
        self, model: bytes, threads: int | None = None, *, streams: int = 1, cache: Path | None = None
    ) -> None:
        needs = "pip install onnxruntime-gpu, and the NVIDIA driver, CUDA and cuDNN"
        if "CUDAExecutionProvider" not in _import_onnxruntime().get_available_providers():
            raise EngineError(f"this ONNX Runtime has no GPU support: {needs}")
        super().__init__(model, threads, streams=streams, cache=cache)
        # A provider that cannot be loaded is skipped silently.
        if "CUDAExecutionProvider" not in self._session.get_providers():
            raise EngineError(f"the GPU cannot be used: {needs}")


def has_cuda() -> bool:
    """Return whether ONNX Runtime is installed with GPU support, without importing it."""
    found = find_spec("onnxruntime")
    folders = [] if found is None else found.submodule_search_locations or []
    names = ("libonnxruntime_providers_cuda.so", "onnxruntime_providers_cuda.dll")
    return any((Path(folder) / "capi" / name).exists() for folder in folders for name in names)


def _import_onnxruntime() -> ModuleType:
    runtime = import_runtime("onnxruntime", "ONNX Runtime")
    # The Windows build logs events in a way that `assay.core.no_telemetry` does not disable.
    runtime.disable_telemetry_events()
    return runtime


def _error_types() -> tuple[type[Exception], ...]:
    """Return the exception classes of ONNX Runtime, which have no common base."""
    module = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*kinds, RuntimeError, ValueError)


def _port_shape(entry: Any) -> tuple[int | None, ...]:
    return tuple(length if isinstance(length, int) else None for length in entry.shape)
