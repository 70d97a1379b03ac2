"""Static int8 quantization of an ONNX model: activation ranges observed on images.

Weights with a scale per channel.

Inputs and outputs stay the same, so a quantized model replaces the fp32 model anywhere. Needs `onnx`, which
`assay.bundle` never imports.

Sources: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference" (2018); Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference" (2018),
for scales per channel.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, Self

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process

from assay.bundle.container import BundleError
from assay.core.files import temporary_folder

_INPUT_NAME = "images"
_QUANTIZED_OPERATORS = ("Conv", "Add", "MaxPool", "Relu", "Clip")
"""What is worth it: a head is a thousandth of the work, and its rounding goes straight to the logits."""
_ACTIVATIONS = frozenset({"Relu", "Clip"})
_MIN_SUFFIX, _MAX_SUFFIX = "/lowest", "/highest"
_ERRORS_ONLY = 3

Ranges = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Lowest and highest value, float32 scalars, of every activation by its name."""


class Quantizer:
    """A model and the ranges of its activations: makes int8 versions of it. Make it with `observe`."""

    def __init__(self, model: onnx.ModelProto, ranges: Ranges, threads: int) -> None:
        self._model = model
        self._ranges = ranges
        self._threads = threads

    @classmethod
    def observe(cls, model: bytes, batches: Iterable[np.ndarray], threads: int = 0) -> Self:
        """Prepare a model and observe the ranges of its activations.

        A range is that of all values seen. Narrower ones (means of the photos' extremes) were tried: networks
        with activations that end at 6 lose far more by cutting off than by coarser steps.

        Args:
            model: serialised ONNX model, `images` uint8 [N, S, S, 3] to `logits`, `embedding`, `featuremap`.
            batches: photos like those it will see, uint8 [n, S, S, 3]; a few hundred suffice.
            threads: processors to use; 0: all.

        Raises:
            BundleError: the model cannot be quantised.
            ValueError: there are no photos.
        """
        with _suppress_log(), temporary_folder("assay-int8") as folder:
            source, prepared = folder / "model.onnx", folder / "prepared.onnx"
            source.write_bytes(model)
            try:
                # Shapes are known all along: only the batch is open.
                quant_pre_process(source, prepared, skip_symbolic_shape=True)
                whole = onnx.load(prepared)
            except _failures() as error:
                raise BundleError(f"the model cannot be quantised: {_first_line(error)}") from None
        return cls(whole, _observe_ranges(whole, batches, threads), threads)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that are quantised, in the order in which they calculate."""
        return tuple(node.name for node in self._model.graph.node if node.op_type in {"Conv", "Add"})

    def model(self, keep: Collection[str] = ()) -> bytes:
        """Return the quantised model, serialised; the same ranges always give the same bytes.

        Args:
            keep: names of layers that go on calculating with 32 bits.
        """
        return self._quantised(keep=keep)

    def harmful(
        self, images: np.ndarray, *, seconds: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> list[str]:
        """Return the layers, those first that change the logits most when they alone are quantised.

        Measures of single activations are cheaper and were tried: they miss the layers that matter, since
        later layers forgive some errors and not others.

        Args:
            images: uint8 [n, S, S, 3], a few dozen photos.
            seconds: after this time the layers that are left, the last ones to calculate, are not tried.
            clock: tells the time in seconds.
        """
        until = clock() + seconds
        exact = _logits(self._model, images, self._threads)
        harm = {}
        for name in self.layers:
            if clock() > until:
                break
            rounded = onnx.load_from_string(self._quantised(only=[name]))
            harm[name] = float(np.square(_logits(rounded, images, self._threads) - exact).mean())
        return sorted(harm, key=lambda name: -harm[name])

    def _quantised(self, *, only: Collection[str] = (), keep: Collection[str] = ()) -> bytes:
        with _suppress_log(), temporary_folder("assay-int8") as folder:
            prepared, result = folder / "prepared.onnx", folder / "model.onnx"
            ranges = folder / "ranges.json"
            onnx.save(self._model, prepared)
            save_tensors_data(TensorsData(CalibrationMethod.MinMax, dict(self._ranges)), ranges)
            try:
                quantize_static(
                    prepared,
                    result,
                    calibration_cache_path=ranges,
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=list(_QUANTIZED_OPERATORS),
                    nodes_to_quantize=sorted(only),
                    nodes_to_exclude=sorted(keep),
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                )
            except _failures() as error:
                raise BundleError(f"the model cannot be quantised: {_first_line(error)}") from None
            quantised = onnx.load(result)
        del quantised.metadata_props[:]
        content: bytes = quantised.SerializeToString(deterministic=True)
        return content


def _observe_ranges(model: onnx.ModelProto, batches: Iterable[np.ndarray], threads: int) -> Ranges:
    """Run a model and return the extremes of every activation over all photos."""
    # The quantiser lets what is cut off end where the activation does; so it need not be looked at.
    same = _clipped_by(model.graph)
    activations = _activation_names(model)
    names = list(dict.fromkeys(same.get(name, name) for name in activations))
    wanted = [f"{name}{end}" for name in names for end in (_MIN_SUFFIX, _MAX_SUFFIX)]
    session = _session(_with_range_outputs(model, names), threads)
    told = [session.run(wanted, {_INPUT_NAME: np.ascontiguousarray(batch)}) for batch in batches]
    if not told:
        raise ValueError("there are no photos to observe the activations on")
    lowest = np.array(told, dtype=np.float32)[:, 0::2].min(axis=0)
    highest = np.array(told, dtype=np.float32)[:, 1::2].max(axis=0)
    # Zero is in every range: padding needs it.
    ends = zip(np.minimum(lowest, 0), np.maximum(highest, 0), strict=True)
    found = {name: (np.array(low), np.array(high)) for name, (low, high) in zip(names, ends, strict=True)}
    return {name: found[same.get(name, name)] for name in activations}


def _with_range_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """Return a model that gives the extremes of some of its tensors and nothing else."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    graph = watched.graph
    del graph.output[:]
    for name in names:
        for kind, end in (("ReduceMin", _MIN_SUFFIX), ("ReduceMax", _MAX_SUFFIX)):
            graph.node.append(helper.make_node(kind, [name], [f"{name}{end}"], keepdims=0))
            graph.output.append(helper.make_tensor_value_info(f"{name}{end}", TensorProto.FLOAT, []))
    return watched


def _activation_names(model: onnx.ModelProto) -> list[str]:
    """Return the float tensors that go into or come out of what is quantised."""
    graph = model.graph
    kinds = {one.name: one.type.tensor_type.elem_type for one in chain(graph.value_info, graph.output, graph.input)}
    constants = {one.name for one in graph.initializer}
    found = {
        name: None
        for node in graph.node
        if node.op_type in _QUANTIZED_OPERATORS
        for name in chain(node.input, node.output)
        if kinds.get(name) == TensorProto.FLOAT and name not in constants
    }
    return list(found)


def _clipped_by(graph: onnx.GraphProto) -> dict[str, str]:
    """Return, for every tensor whose only reader is an activation, the name of what that one gives."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return {
        name: found[0].output[0]
        for name, found in readers.items()
        if len(found) == 1 and found[0].op_type in _ACTIVATIONS
    }


def _logits(model: onnx.ModelProto, images: np.ndarray, threads: int) -> np.ndarray:
    logits: np.ndarray = _session(model, threads).run(["logits"], {_INPUT_NAME: np.ascontiguousarray(images)})[0]
    return logits


def _session(model: onnx.ModelProto, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _failures() -> tuple[type[Exception], ...]:
    """Return what onnx and ONNX Runtime raise for models that they cannot handle."""
    module = onnxruntime.capi.onnxruntime_pybind11_state
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*kinds, RuntimeError, ValueError, TypeError, KeyError, AttributeError)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


@contextmanager
def _suppress_log() -> Iterator[None]:
    """Hold back advice that the quantiser logs."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
