"""OpenVINO on the processor, set for the shortest time to an answer and 32-bit arithmetic.

Compiled models are not kept on the disk: measured with ResNet-18, that saves 0.05 s of 0.5 s at the start,
for 45 MB a model and a folder that several processes write to.
"""

import sys
import threading
from collections import deque
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from assay.inference.cpus import cpu_count
from assay.inference.engine import INPUT, EngineError, Outputs, Signature, check_signature, reason

_TELEMETRY = "openvino_telemetry"
_IMPORTING = threading.Lock()


class OpenVinoEngine:
    """An ONNX model compiled by OpenVINO for any batch size.

    Args:
        model: serialised ONNX model.
        threads: processors to use; none: all that this process may.

    Raises:
        EngineError: OpenVINO is not installed or cannot run the model.
    """

    name = "openvino"

    def __init__(self, model: bytes, threads: int | None = None) -> None:
        openvino = import_openvino()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or cpu_count(),
            # Where it can, OpenVINO would take bfloat16, and answers would differ between machines.
            "INFERENCE_PRECISION_HINT": "f32",
            # Two processes that each bind their threads to processors would choose the same ones.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            graph = openvino.Core().read_model(model)
            taken, given = graph.input(INPUT), graph.output("logits")
            self._signature = Signature(_shape(taken), _shape(given))
            check_signature(self._signature, str(taken.element_type))
            self._model = openvino.Core().compile_model(graph, "CPU", settings)
            self._outputs = [self._model.output(name) for name in Outputs._fields]
        except RuntimeError as error:
            raise EngineError(reason(error)) from None
        self._idle: deque[Any] = deque()

    @property
    def signature(self) -> Signature:
        """Shapes of the model."""
        return self._signature

    def run(self, images: np.ndarray) -> Outputs:
        """Return the outputs for uint8 images [N, S, S, 3]."""
        request = self._request()
        try:
            request.infer([np.ascontiguousarray(images)])
            # The request's memory holds the next answer soon.
            return Outputs(*(request.get_tensor(output).data.copy() for output in self._outputs))
        except RuntimeError as error:
            raise EngineError(reason(error)) from None
        finally:
            self._idle.append(request)

    def _request(self) -> Any:
        """Take an idle request, or make one: a request serves one thread at a time."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._model.create_infer_request()


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry.

    `import openvino` tells Google Analytics of itself, and leaves an identity in `~/intel`, unless a person
    has forbidden it before. Without the package `openvino_telemetry` it has a stub that does nothing, so that
    package is hidden while OpenVINO is imported.

    Raises:
        EngineError: OpenVINO is not installed or cannot be loaded.
    """
    with _IMPORTING:
        hidden = sys.modules.get(_TELEMETRY)
        sys.modules[_TELEMETRY] = ModuleType(_TELEMETRY)
        try:
            return import_module("openvino")
        except (ImportError, OSError) as error:
            raise EngineError(f"OpenVINO does not load ({reason(error)}): pip install openvino") from None
        finally:
            del sys.modules[_TELEMETRY]
            if hidden is not None:
                sys.modules[_TELEMETRY] = hidden


def _shape(port: Any) -> tuple[int | None, ...]:
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise EngineError("the shapes of its input and logits are open")
    return tuple(None if length.is_dynamic else length.get_length() for length in shape)
