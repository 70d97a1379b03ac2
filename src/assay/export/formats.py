"""The export formats and the runtimes that write, load and run them.

torch and OpenVINO are imported when they are needed.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import numpy as np

from assay.bundle import Bundle, Precision
from assay.core.errors import AssayError, UsageError
from assay.inference import EngineError, ModelOutputs
from assay.inference.engine import INPUT
from assay.inference.onnxruntime_engine import OnnxRuntimeEngine
from assay.inference.openvino_engine import import_openvino, openvino_core

InferenceFunction = Callable[[np.ndarray], ModelOutputs]
"""From uint8 images [N, S, S, 3] to the outputs of an exported file."""


@dataclass(frozen=True, slots=True)
class ExportRuntime:
    """A runtime for exported files.

    Attributes:
        package: its name on PyPI.
        write: writes a bundle's model of one precision to a path.
        load: loads the file at a path; raises EngineError on failure.
        imports: lines of the example code that import the runtime.
        answer: lines of the example code from `images` to `logits`; `{file}` stands for the exported file.
    """

    package: str
    write: Callable[[Bundle, Precision, Path], None]
    load: Callable[[Path], InferenceFunction]
    imports: str
    answer: str


def _write_onnx(bundle: Bundle, precision: Precision, path: Path) -> None:
    path.write_bytes(bundle.model(precision))


def _load_onnx(path: Path) -> InferenceFunction:
    return OnnxRuntimeEngine(path.read_bytes()).run


def _write_openvino(bundle: Bundle, precision: Precision, path: Path) -> None:
    openvino = import_openvino()
    try:
        graph = openvino_core().read_model(bundle.model(precision))
        # By default OpenVINO compresses weights to 16 bits.
        openvino.save_model(graph, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise EngineError.from_runtime(error) from None


def _load_openvino(path: Path) -> InferenceFunction:
    try:
        model = openvino_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        raise EngineError.from_runtime(error) from None

    def run(images: np.ndarray) -> ModelOutputs:
        answer = model({INPUT: images})
        return ModelOutputs(*(np.array(answer[name]) for name in ModelOutputs._fields))

    return run


def _write_torchscript(bundle: Bundle, precision: Precision, path: Path) -> None:
    del precision
    import_module("assay.export.torchscript").write_torchscript(bundle, path)


def _load_torchscript(path: Path) -> InferenceFunction:
    torch = import_module("torch")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated", category=DeprecationWarning)
        network = torch.jit.load(str(path), map_location="cpu")

    def run(images: np.ndarray) -> ModelOutputs:
        with torch.no_grad():
            return ModelOutputs(*(tensor.numpy() for tensor in network(torch.from_numpy(images.copy()))))

    return run


RUNTIMES: Mapping[str, ExportRuntime] = MappingProxyType(
    {
        "onnx": ExportRuntime(
            "onnxruntime",
            _write_onnx,
            _load_onnx,
            'import os\n\nos.environ["ORT_DISABLE_TELEMETRY"] = "1"  # disables usage reports\nimport onnxruntime',
            'session = onnxruntime.InferenceSession(folder / "{file}", providers=["CPUExecutionProvider"])\n'
            'logits = session.run(["logits"], {"images": images})[0][0]',
        ),
        "openvino": ExportRuntime(
            "openvino",
            _write_openvino,
            _load_openvino,
            'sys.modules["openvino_telemetry"] = None  # disables usage reports\nimport openvino',
            "# fp32: on some processors OpenVINO would use bf16, and outputs would differ.\n"
            'model = openvino.compile_model(folder / "{file}", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})\n'
            'logits = model(images)["logits"][0]',
        ),
        "torchscript": ExportRuntime(
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
"""By the prefix of the format names."""


ALL_FORMATS = "all"


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """An export format.

    Attributes:
        name: as given to `--format`.
        file: name of the file; OpenVINO writes the weights to a `.bin` file beside it.
        precision: which model of the bundle is exported.
        kind: key of `RUNTIMES`.
    """

    name: str
    file: str
    precision: Precision
    kind: str

    @property
    def runtime(self) -> ExportRuntime:
        """The runtime that writes and runs the file."""
        return RUNTIMES[self.kind]

    @property
    def about(self) -> str:
        """Name of the JSON file that describes the model."""
        return f"{self.file}.json"

    @property
    def example(self) -> str:
        """Name of the file with example code."""
        return f"example_{self.name.replace('-', '_')}.py"


FORMATS: Mapping[str, ExportFormat] = MappingProxyType(
    {
        target.name: target
        for target in (
            ExportFormat("onnx", "model.onnx", "fp32", "onnx"),
            ExportFormat("onnx-int8", "model.int8.onnx", "int8", "onnx"),
            ExportFormat("openvino", "model.xml", "fp32", "openvino"),
            ExportFormat("openvino-int8", "model.int8.xml", "int8", "openvino"),
            ExportFormat("torchscript", "model.torchscript.pt", "fp32", "torchscript"),
        )
    }
)
"""All formats by name."""


def choose_formats(
    bundle: Bundle, names: Sequence[str], why: str | None = None
) -> tuple[list[ExportFormat], dict[str, str]]:
    """Select the requested formats that can be exported here.

    Args:
        bundle: the opened bundle.
        names: of `FORMATS`, or `all`, which skips unavailable formats.
        why: reason for a missing int8 model, if known.

    Returns:
        The formats in the order of `FORMATS`, and the reasons for skipped ones by name.

    Raises:
        UsageError: unknown format.
        AssayError: a format that was named is unavailable.
    """
    for name in names:
        if name not in {ALL_FORMATS, *FORMATS}:
            raise UsageError(f"no format is called {name!r}: choose {', '.join([ALL_FORMATS, *FORMATS])}")
    wanted = [target for target in FORMATS.values() if ALL_FORMATS in names or target.name in names]
    skipped = {target.name: reason for target in wanted if (reason := _unavailable_reason(bundle, target, why))}
    for name in names:
        if name in skipped:
            raise AssayError(f"{bundle.path} cannot become {name}: {skipped[name]}")
    return [target for target in wanted if target.name not in skipped], skipped


def _unavailable_reason(bundle: Bundle, one: ExportFormat, why: str | None) -> str | None:
    """Return why a format is unavailable, or None."""
    if one.precision not in bundle.precisions:
        return why or "it holds no int8 model; give --int8 labelled photos to make one"
    package = one.runtime.package
    if find_spec(package) is None:
        wanted = '"assay[train]"' if package == "torch" else package
        return f"{package} is not installed; pip install {wanted}"
    if one.kind == "torchscript" and not bundle.info.provenance.recipe:
        return "it holds no recipe to make its network from"
    return None
