"""The runtimes that exports are made for: how a file is written, how it is run again, and how users run it.

Knows nothing of photos, folders or tolerances. torch and OpenVINO are imported when they are needed.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

import numpy as np

from assay.bundle import Bundle, Precision
from assay.inference import EngineError, Outputs
from assay.inference.engine import INPUT, reason
from assay.inference.onnxruntime_engine import OnnxRuntimeEngine
from assay.inference.openvino_engine import import_openvino, openvino_core

Run = Callable[[np.ndarray], Outputs]
"""From uint8 images [N, S, S, 3] to what the exported file says of them."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a user installs to run an exported file.

    Attributes:
        package: its name in the package index.
        write: writes a bundle's model of one precision to a path.
        load: makes the file at a path ready; raises EngineError where that fails.
        imports: lines of an example that import the runtime.
        answer: lines of an example from `images` to `logits`; `{file}` stands for the exported file.
    """

    package: str
    write: Callable[[Bundle, Precision, Path], None]
    load: Callable[[Path], Run]
    imports: str
    answer: str


def _write_onnx(bundle: Bundle, precision: Precision, path: Path) -> None:
    path.write_bytes(bundle.model(precision))


def _load_onnx(path: Path) -> Run:
    return OnnxRuntimeEngine(path.read_bytes()).run


def _write_openvino(bundle: Bundle, precision: Precision, path: Path) -> None:
    openvino = import_openvino()
    try:
        graph = openvino_core().read_model(bundle.model(precision))
        # Unless told otherwise, OpenVINO stores weights in 16 bits.
        openvino.save_model(graph, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise EngineError(reason(error)) from None


def _load_openvino(path: Path) -> Run:
    try:
        model = openvino_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        raise EngineError(reason(error)) from None

    def run(images: np.ndarray) -> Outputs:
        answer = model({INPUT: images})
        return Outputs(*(np.array(answer[name]) for name in Outputs._fields))

    return run


def _write_torchscript(bundle: Bundle, precision: Precision, path: Path) -> None:
    del precision
    import_module("assay.workflow.export.torchscript").write_torchscript(bundle, path)


def _load_torchscript(path: Path) -> Run:
    torch = import_module("torch")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated", category=DeprecationWarning)
        network = torch.jit.load(str(path), map_location="cpu")

    def run(images: np.ndarray) -> Outputs:
        with torch.no_grad():
            return Outputs(*(tensor.numpy() for tensor in network(torch.from_numpy(images.copy()))))

    return run


RUNTIMES: Mapping[str, Runtime] = MappingProxyType(
    {
        "onnx": Runtime(
            "onnxruntime",
            _write_onnx,
            _load_onnx,
            'import os\n\nos.environ["ORT_DISABLE_TELEMETRY"] = "1"  # or its makers learn of every use\n'
            "import onnxruntime",
            'session = onnxruntime.InferenceSession(folder / "{file}", providers=["CPUExecutionProvider"])\n'
            'logits = session.run(["logits"], {"images": images})[0][0]',
        ),
        "openvino": Runtime(
            "openvino",
            _write_openvino,
            _load_openvino,
            'sys.modules["openvino_telemetry"] = None  # or its makers learn of every use\nimport openvino',
            "# In 32 bits: where processors can, OpenVINO would take fewer, and answers would differ.\n"
            'model = openvino.compile_model(folder / "{file}", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})\n'
            'logits = model(images)["logits"][0]',
        ),
        "torchscript": Runtime(
            "torch",
            _write_torchscript,
            _load_torchscript,
            "import torch",
            'model = torch.jit.load(folder / "{file}", map_location="cpu")\n'
            "with torch.no_grad():\n"
            "    logits = model(torch.from_numpy(images))[0][0].numpy()",
        ),
    }
)
"""By the name that begins a format's name."""
